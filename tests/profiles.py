"""Where a platform may live: on files, or on servers. The same tests run on all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import servers
from tastemaker.config import Connect

Profile = Callable[[Path], Connect]


def files(home: Path) -> Connect:
    return Connect(home=str(home))


def cluster(home: Path) -> Connect:
    """Kafka, Redis before PostgreSQL, PostgreSQL, S3: what ``deploy/cluster.toml`` names."""
    database, bucket = servers.postgresql(), servers.s3()
    return Connect(
        home=str(home),
        log=servers.kafka(),
        kv=servers.redis(),
        kv_durable=database,
        lake=f"{bucket}/lake",
        tables=database.replace("postgresql://", "postgresql+psycopg://"),
        models=f"{bucket}/models",
    )


def postgres(home: Path) -> Connect:
    """PostgreSQL alone, for those who have nothing else."""
    database = servers.postgresql()
    return Connect(home=str(home), log=database, kv=database, tables=database)


def mysql(home: Path) -> Connect:
    """MySQL and Redis, with log and lake in files."""
    return Connect(home=str(home), kv=servers.redis(), tables=servers.mariadb())


PROFILES: dict[str, Profile] = {"files": files, "cluster": cluster, "mysql": mysql}


def toml(connect: Connect) -> str:
    """The section ``[connect]`` of a configuration file."""
    return "[connect]\n" + "".join(f"{name} = {json.dumps(getattr(connect, name))}\n" for name in connect.__struct_fields__)

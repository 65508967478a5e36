"""The page that leads to servers, followed word by word in an empty folder, with real servers at the addresses it names."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

import servers
from ports import free_port
from test_docs import CHECKOUT, DOCS, blocks

PAGE = DOCS / "how-to" / "go-distributed.md"


@pytest.fixture
def at_the_addresses_of_the_page() -> Iterator[None]:
    """PostgreSQL, Redis, Kafka and S3 on the ports of compose.yaml, with its database and its bucket."""
    ports = {"PostgreSQL": 15432, "Redis": 16379, "Kafka": 19092, "S3": 19000}
    for name, port in ports.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                servers.absent(f"port {port} is taken, which the page uses for {name}")
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(getattr(servers, name)(port=port))
        import boto3
        import psycopg

        with psycopg.connect("postgresql://tastemaker@127.0.0.1:15432/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE tastemaker")
        client = boto3.client("s3", endpoint_url="http://127.0.0.1:19000", region_name="us-east-1",
                              aws_access_key_id="a", aws_secret_access_key="b")  # fmt: skip
        client.create_bucket(Bucket="tastemaker")
        yield


@pytest.mark.slow
def test_followed_word_by_word_it_works(tmp_path: Path, at_the_addresses_of_the_page: None) -> None:
    port = free_port()
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n"
    script += "\n".join(f"echo '── line {line}'\n{text}" for line, text in blocks(PAGE, "bash"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TASTEMAKER_", "AWS_"))}
    environ |= {
        "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
        "TASTEMAKER_SERVING__PORT": str(port),
        "COLUMNS": "160",
    }
    with (tmp_path / "said").open("w+") as said:  # a file: a pipe would be held open by what runs in the background
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=tmp_path, env=environ, stdout=said, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(280)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
        said.seek(0)
        text = said.read()
    logs = "".join(path.read_text() for path in sorted((tmp_path / "shop").glob("*.log")))
    assert code == 0, text + logs
    parts = [part.partition("\n")[2] for part in text.split("── line ")[1:]]
    assert "✗" not in parts[2]
    assert len(re.findall("✓", parts[2])) == 6, "log, kv, kv_durable, lake, tables, models"
    assert '"rung":"personal"' in parts[4]
    first, second = parts[4].strip().splitlines()[-1], parts[5].strip().splitlines()[-1]
    assert '"accepted":1' in parts[5]
    assert re.findall(r'"item":"(f\d\d)","title"', first) != re.findall(r'"item":"(f\d\d)","title"', second)
    assert "live" in parts[6]
    assert "Traceback" not in text + logs


def test_the_page_the_template_and_compose_name_the_same_servers() -> None:
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))["services"]
    page, template = PAGE.read_text("utf-8"), (CHECKOUT / "deploy" / "cluster.toml").read_text("utf-8")
    for service in ("postgres", "redis", "kafka", "s3"):
        outside, inside = compose[service]["ports"][0].split(":")
        assert f"127.0.0.1:{outside}" in page
        assert int(outside) == int(inside) + 10_000 or service == "kafka"
        assert f"{service}:{inside}" in template or service in ("s3", "kafka")
        assert compose[service]["healthcheck"]["test"]
    for service in ("serve", "stream", "archive", "prometheus"):
        assert compose[service]["healthcheck"]["test"], service

"""Whether a PostgreSQL server is fit to be the durable online store: version, clock, and settings that lose what was written."""

from __future__ import annotations

from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.postgresql_connections import Connection

SETTINGS = {
    "fsync": "a power failure may damage it",
    "full_page_writes": "a power failure may damage it",
    "synchronous_commit": "a power failure takes the last writes, while the cache in front may still hold them",
}


def inspect(connection: Connection) -> Inspection:
    """See ``Inspectable``."""
    version, clock, replica = connection.execute(
        "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8, pg_is_in_recovery()"
    ).fetchall()[0]
    rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)]).fetchall()
    problems = [f"{name} is off: {SETTINGS[name]}; switch it on" for name, setting in sorted(rows) if setting == "off"]
    if replica:
        problems.append("it is a replica and takes no writes: give the URL of the primary")
    return Inspection(f"PostgreSQL {version}", clock, tuple(problems))

"""Forgetting a user in a log on PostgreSQL: batches with events of the user are written anew without them.

Appends and readers go on meanwhile. Two erasures may meet in one batch, so it is read once more under its lock before it is
written.
"""

from __future__ import annotations

from tastemaker import telemetry
from tastemaker.errors import StorageError
from tastemaker.storage.kv.postgresql_connections import BULK, Connection, Connections, milliseconds
from tastemaker.storage.log import batches
from tastemaker.storage.log.postgresql_tables import talking

CHUNK = 16  # batches read at a time
SILENCE = 60.0  # seconds between two of our questions, after which the server gives up on us
SOME = """SELECT first, payload FROM tastemaker_log_batches WHERE partition = %s AND first > %s
    ORDER BY first LIMIT %s"""
LOCKED = "SELECT payload FROM tastemaker_log_batches WHERE partition = %s AND first = %s FOR UPDATE"
REWRITE = """UPDATE tastemaker_log_batches SET payload = %b, version = version + 1
    WHERE partition = %b AND first = %b"""


def erase(connection: Connection, partition: int, user: str) -> int:
    """Removes a user's events from a partition in one transaction; returns how many there were."""
    total, last = 0, -1
    with talking(connection, SILENCE):
        while rows := connection.execute(SOME, (partition, last, CHUNK), binary=True).fetchall():
            for first, payload in rows:
                last = first
                if batches.without(payload, user):
                    total += rewrite(connection, partition, first, user)
    return total


def rewrite(connection: Connection, partition: int, first: int, user: str) -> int:
    [(payload,)] = connection.execute(LOCKED, (partition, first), binary=True).fetchall()
    changed = batches.without(payload, user)
    if changed is None:
        return 0
    connection.execute(REWRITE, (changed[0], partition, first))
    return changed[1]


def vacuum(connections: Connections) -> None:
    """Asks the server to clear away the old versions of batches. Where it cannot now, it does so by itself later."""

    def work(connection: Connection) -> None:
        connection.limit *= BULK
        try:
            connection.execute(f"SET statement_timeout = {milliseconds(connection.limit)}")
            connection.execute("VACUUM tastemaker_log_batches")
        finally:
            connection.close()  # it is too patient for anything else

    try:
        connections.call(work, repeat=False)
    except StorageError as error:  # the events are gone for every reader, which is what was asked for
        telemetry.log.warning("log_vacuum_failed", error=str(error))

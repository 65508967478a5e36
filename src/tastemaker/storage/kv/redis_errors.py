"""What a Redis server's errors mean: away for now, or unwilling, and then why."""

from __future__ import annotations

from redis import exceptions


class Lost(Exception):
    """A connection of the event loop that ended, was refused or was too slow."""


class Passing(Exception):
    """A server that answers, and cannot serve for now: it loads its data, or another one is taking its place."""


class Refused(Exception):
    """A server that answers, and will not do it."""


AWAY: tuple[type[Exception], ...] = (
    Lost,
    Passing,
    exceptions.ConnectionError,  # also BusyLoadingError and a sentinel's MasterNotFoundError
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterError,  # also ClusterDownError and MasterDownError
    exceptions.TryAgainError,
    exceptions.MovedError,
    exceptions.RedisClusterException,  # also SlotNotCoveredError
    OSError,
)
ANY: tuple[type[Exception], ...] = (exceptions.RedisError, *AWAY)
REMEDY = "see that the Redis server runs and can be reached; this recovers by itself when it does"
PASSING = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED")
FULL = (
    "the server's memory is full (maxmemory): raise it, or let the server evict what was not read for long "
    "(maxmemory-policy allkeys-lru), since everything here can be built again"
)
CREDENTIALS = "the server refuses the user or the password of connect.kv, or asks for one"
RIGHTS = "the user of connect.kv may not do this: allow strings, SCAN, UNLINK, MULTI and the selection of the database"


def cause_of(message: str) -> Exception:
    """What an error reply stands for.

    >>> cause_of("LOADING Redis is loading the dataset in memory")
    Passing('LOADING Redis is loading the dataset in memory')
    """
    code = message.partition(" ")[0]
    if code in PASSING:
        return Passing(message)
    if code == "OOM":
        return Refused(FULL)
    if code in ("NOAUTH", "WRONGPASS") or "AUTH" in message or "invalid password" in message:
        return Refused(CREDENTIALS)
    if code == "NOPERM":
        return Refused(f"{RIGHTS} ({message})")
    return Refused(message)


def told(error: Exception) -> Exception:
    """The same for an error of redis-py, whose messages have lost their codes."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return Refused(FULL)
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthenticationWrongNumberOfArgsError):
        return Refused(CREDENTIALS)
    if isinstance(error, exceptions.NoPermissionError):
        return Refused(f"{RIGHTS} ({error})")
    return error if isinstance(error, (*AWAY, Refused)) else Refused(str(error) or type(error).__name__)

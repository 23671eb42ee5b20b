"""Errors of the driver in our own words. What the driver says of a server never holds the password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import InvalidDocument
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from glowplug.errors import BugError, DiskFull, GlowplugError, RemoteError, SettingsError, TooLarge, Unreachable

_NOT_ALLOWED, _NOT_AUTHENTICATED, _UNSATISFIABLE = 13, 18, 100
_DISK_FULL = 14031
_TOO_LARGE = (10334, 17419, 17420)
_WRITE_TIMEOUTS = (50, 64)


@contextmanager
def translated(shown: str) -> Iterator[None]:
    """Turn what the driver raises within the block into errors of ours; `shown` names the server in messages."""
    try:
        yield
    except (PyMongoError, InvalidDocument) as error:
        raise ours(error, shown) from error


def ours(error: Exception, shown: str) -> GlowplugError:
    """Return the error of ours that stands for one of the driver's."""
    if isinstance(error, (InvalidURI, ConfigurationError)):
        return SettingsError(f"the URL of {shown} cannot be used: {_first_line(error)}")
    if isinstance(error, (DocumentTooLarge, InvalidDocument)):
        return TooLarge(f"MongoDB takes no document of more than 16 MB: {_first_line(error)}", limit_bytes=16 << 20)
    if isinstance(error, ConnectionFailure):
        return _connection(error, shown)
    if isinstance(error, (WriteConcernError, ExecutionTimeout)) or _code(error) in (*_WRITE_TIMEOUTS, _UNSATISFIABLE):
        return _unconfirmed(error, shown)
    if isinstance(error, OperationFailure):
        return _refused(error, shown)
    if isinstance(error, InvalidOperation):
        return BugError(f"the client of {shown} was used wrongly: {_first_line(error)}")
    return RemoteError(f"{shown}: {_first_line(error)}")


def _connection(error: ConnectionFailure, shown: str) -> GlowplugError:
    if isinstance(error, ServerSelectionTimeoutError):
        return Unreachable(
            f"no MongoDB to write to at {shown}: check that it runs, that the host and port are right, and that the "
            f"replica set has a primary ({_first_line(error)})"
        )
    if isinstance(error, NetworkTimeout):
        return Unreachable(f"{shown} did not answer in time")
    return Unreachable(f"the connection to {shown} was lost: {_first_line(error)}")


def _unconfirmed(error: Exception, shown: str) -> GlowplugError:
    if _code(error) == _UNSATISFIABLE:
        return SettingsError(
            f"the replica set at {shown} has too few members that hold data to confirm a write by a majority: add "
            "members, or take arbiters away"
        )
    return Unreachable(
        f"a majority of the replica set at {shown} did not confirm a write in time: see rs.status() for members that "
        "are down or far behind"
    )


def _refused(error: OperationFailure, shown: str) -> GlowplugError:
    code = error.code
    if code == _NOT_AUTHENTICATED:
        return SettingsError(
            f"{shown} refused user or password: check both, percent-encode special characters, and name the user's own "
            "database with ?authSource= if it is another one"
        )
    if code == _NOT_ALLOWED:
        return SettingsError(f"the user may not use the database of {shown}: give it the role readWrite there")
    if code == _DISK_FULL:
        return DiskFull(f"the disk of {shown} is full")
    if code in _TOO_LARGE:
        return TooLarge("MongoDB takes no document of more than 16 MB", limit_bytes=16 << 20)
    return RemoteError(f"{shown} refused: {_first_line(error)}")


def _code(error: Exception) -> int | None:
    return error.code if isinstance(error, OperationFailure) else None


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split(", Timeout:", 1)[0].split(", full error:", 1)[0][:300]

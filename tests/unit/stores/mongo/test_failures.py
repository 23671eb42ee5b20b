"""Errors of the driver in our own words."""

from __future__ import annotations

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    InvalidURI,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from glowplug.errors import BugError, DiskFull, GlowplugError, RemoteError, SettingsError, TooLarge, Unreachable
from glowplug.stores.mongo.changes import only_duplicates
from glowplug.stores.mongo.failures import ours, translated

SHOWN = "mongodb://db/jobs"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InvalidURI("bad"), SettingsError, "URL"),
        (ConfigurationError("bad"), SettingsError, "URL"),
        (ServerSelectionTimeoutError("db:27017: refused, Timeout: 5.0s, Topology Description: …"), Unreachable, "runs"),
        (NetworkTimeout("timed out"), Unreachable, "in time"),
        (AutoReconnect("reset"), Unreachable, "lost"),
        (NotPrimaryError("not primary"), Unreachable, "lost"),
        (OperationFailure("Authentication failed.", 18), SettingsError, "user or password"),
        (OperationFailure("not authorized", 13), SettingsError, "readWrite"),
        (OperationFailure("disk", 14031), DiskFull, "full"),
        (OperationFailure("BSONObj size", 10334), TooLarge, "16 MB"),
        (OperationFailure("what", 59), RemoteError, "refused"),
        (WTimeoutError("waiting for replication timed out", 64), Unreachable, "majority"),
        (WriteConcernError("too few", 100), SettingsError, "members"),
        (ExecutionTimeout("time limit", 50), Unreachable, "majority"),
        (DocumentTooLarge("big"), TooLarge, "16 MB"),
        (InvalidDocument("big"), TooLarge, "16 MB"),
        (InvalidOperation("closed"), BugError, "wrongly"),
        (PyMongoError("else"), RemoteError, "else"),
    ],
)
def test_each_error_of_the_driver_has_one_of_ours(error: Exception, kind: type[GlowplugError], words: str) -> None:
    told = ours(error, SHOWN)
    assert type(told) is kind
    assert words in told.message
    assert "\n" not in told.message
    assert "Topology" not in told.message


def test_the_cause_is_kept() -> None:
    cause = AutoReconnect("reset")
    with pytest.raises(Unreachable) as caught, translated(SHOWN):
        raise cause
    assert caught.value.__cause__ is cause
    assert SHOWN in caught.value.message


def test_what_is_no_error_of_the_driver_goes_through() -> None:
    with pytest.raises(KeyError), translated(SHOWN):
        raise KeyError("ours")
    with translated(SHOWN):
        pass


@pytest.mark.parametrize(
    ("codes", "concern", "only"),
    [([11000], [], True), ([11000, 11000], [], True), ([11000, 13], [], False), ([11000], [{"code": 64}], False)],
)
def test_that_something_is_there_already_is_told_from_real_errors(
    codes: list[int], concern: list[dict[str, int]], only: bool
) -> None:
    details = {"writeErrors": [{"code": code} for code in codes], "writeConcernErrors": concern}
    assert only_duplicates(BulkWriteError(details)) is only

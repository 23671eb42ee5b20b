"""What PostgreSQL's errors mean, how its address is read, and what is told between gateways: without a server."""

from __future__ import annotations

import json

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from glowplug.clock import ManualClock
from glowplug.errors import (
    BugError,
    Corrupt,
    DiskFull,
    GlowplugError,
    InvalidInput,
    MissingExtra,
    SettingsError,
    TooLarge,
    Unreachable,
)
from glowplug.stores import postgres
from glowplug.stores.database import Fault
from glowplug.stores.news import PAYLOAD_BYTES, payloads
from glowplug.stores.postgres import PostgresAddress, PostgresDatabase
from glowplug.stores.postgres_errors import fault_of, translated
from glowplug.stores.sql import SqlStore

URL = "postgresql://ann:open%2Fsesame@db.example:6543/jobs"


def wrapped(error: BaseException) -> DBAPIError:
    return DBAPIError("SELECT 'open/sesame'", {}, error)


def of_state(state: str, message: str = "it failed") -> DBAPIError:
    kind = psycopg.errors.lookup(state)
    return wrapped(kind(message))


# The address.


def test_an_address_is_shown_without_user_and_password() -> None:
    address = PostgresAddress.parse(URL)
    assert address.shown == "db.example:6543/jobs"
    assert (address.url.username, address.url.password) == ("ann", "open/sesame")
    assert "sesame" not in repr(address)
    assert PostgresAddress.parse("postgres://h/d").shown == "h/d"


def test_what_the_address_says_of_the_connection_counts() -> None:
    query = PostgresAddress.parse(f"{URL}?connect_timeout=30&sslmode=require&application_name=mine").url.query
    assert (query["connect_timeout"], query["sslmode"], query["application_name"]) == ("30", "require", "mine")
    assert query["keepalives_idle"] == "5"


def test_several_hosts_are_shown() -> None:
    address = PostgresAddress.parse("postgresql:///jobs?host=a:1&host=b:2&target_session_attrs=read-write")
    assert address.shown == "a:1,b:2/jobs"


@pytest.mark.parametrize(
    "url", ["postgresql://", "postgresql://ann:sesame@host", "postgresql://ann:sesame@h:port/d", "postgres:sesame"]
)
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="postgresql://user:password@host:port/database") as caught:
        SqlStore(url, clock=ManualClock())
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(caught.value.__cause__)


def test_a_store_on_a_server_is_shared_and_one_in_a_file_is_not() -> None:
    assert SqlStore(URL, clock=ManualClock()).shared
    assert not SqlStore("sqlite:///x.db", clock=ManualClock()).shared


def test_a_missing_driver_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(postgres, "create_engine", absent)
    with pytest.raises(MissingExtra, match=r"glowplug\[postgres\]"):
        PostgresDatabase(PostgresAddress.parse(URL)).prepare()


# Errors.


@pytest.mark.parametrize(
    ("state", "kind", "fix"),
    [
        ("28P01", SettingsError, "password"),
        ("28000", SettingsError, "pg_hba"),
        ("3D000", SettingsError, "createdb"),
        ("42501", SettingsError, "GRANT"),
        ("42P01", SettingsError, "glowplug migrate"),
        ("53100", DiskFull, "free some space"),
        ("53300", Unreachable, "max_connections"),
        ("53200", Unreachable, "run out"),
        ("25006", Unreachable, "target_session_attrs"),
        ("40P01", Unreachable, "try again"),
        ("40001", Unreachable, "try again"),
        ("55P03", Unreachable, "pg_stat_activity"),
        ("57014", Unreachable, "time limit"),
        ("57P01", Unreachable, "ended the connection"),
        ("57P03", Unreachable, "starting or shutting down"),
        ("08006", Unreachable, "is it running"),
        ("58030", Unreachable, "disk"),
        ("XX001", Corrupt, "backup"),
        ("XX002", Corrupt, "REINDEX"),
        ("22001", InvalidInput, "longer"),
        ("22003", TooLarge, "larger"),
        ("54000", TooLarge, "larger"),
        ("42601", BugError, "failed"),
    ],
)
def test_an_error_says_what_happened_and_the_fix(state: str, kind: type[GlowplugError], fix: str) -> None:
    error = translated(of_state(state), "db.example/jobs")
    assert type(error) is kind
    assert fix in error.message
    assert "sesame" not in error.message


@pytest.mark.parametrize(
    ("said", "kind", "fix"),
    [
        ('FATAL:  password authentication failed for user "ann"', SettingsError, "password"),
        ("fe_sendauth: no password supplied", SettingsError, "password"),
        ('FATAL:  role "ann" does not exist', SettingsError, "user"),
        ('FATAL:  database "jobs" does not exist', SettingsError, "createdb"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", no encryption', SettingsError, "pg_hba"),
        ("FATAL:  sorry, too many clients already", Unreachable, "max_connections"),
        ("FATAL:  remaining connection slots are reserved for", Unreachable, "max_connections"),
        ('FATAL:  too many connections for database "jobs"', Unreachable, "max_connections"),
        ("FATAL:  the database system is starting up", Unreachable, "starting"),
        ("FATAL:  the database system is shutting down", Unreachable, "shutting down"),
        ("FATAL:  the database system is not yet accepting connections", Unreachable, "starting"),
        ("session is read-only", Unreachable, "standby"),
        ("connection refused", Unreachable, "is it running"),
        ("FATAL:  Passwort-Authentifizierung fehlgeschlagen", Unreachable, "fehlgeschlagen"),
    ],
)
def test_a_refused_connection_is_understood_by_the_server_s_words(
    said: str, kind: type[GlowplugError], fix: str
) -> None:
    error = translated(wrapped(psycopg.OperationalError(f"connection failed:\n  {said}")), "db.example/jobs")
    assert type(error) is kind
    assert fix in error.message
    assert "\n" not in error.message


def test_what_is_not_the_server_s_is_said_too() -> None:
    surrogate = translated(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "d")
    assert isinstance(surrogate, InvalidInput)
    assert isinstance(translated(ValueError("odd"), "d"), BugError)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (of_state("40P01"), Fault.UNDONE),
        (of_state("40001"), Fault.UNDONE),
        (of_state("23505"), Fault.UNDONE),
        (of_state("57P01"), Fault.LOST),
        (of_state("25P03"), Fault.LOST),
        (of_state("25006"), Fault.LOST),
        (of_state("08006"), Fault.LOST),
        (wrapped(psycopg.OperationalError("server closed the connection unexpectedly")), Fault.LOST),
        (of_state("53100"), Fault.OWN),
        (of_state("57014"), Fault.OWN),
        (of_state("55P03"), Fault.OWN),
        (of_state("22001"), Fault.OWN),
        (SettingsError("no"), Fault.OWN),
        (ValueError("odd"), Fault.OWN),
    ],
)
def test_an_error_means_something_for_its_transaction(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) is fault


# News.


def test_news_of_few_jobs_are_one_message() -> None:
    assert [json.loads(one) for one in payloads("me", {"a": "m.t", "b": "m.ü"})] == [
        ["me", [["a", "m.t"], ["b", "m.ü"]]]
    ]
    assert list(payloads("me", {})) == []


def test_news_of_many_jobs_are_several_messages_that_fit() -> None:
    told = {f"{number:024x}": "model." + "ü" * 190 for number in range(100)}
    messages = list(payloads("me", told))
    assert all(len(message.encode()) <= PAYLOAD_BYTES + 200 for message in messages)
    assert [pair for message in messages for pair in json.loads(message)[1]] == [list(pair) for pair in told.items()]

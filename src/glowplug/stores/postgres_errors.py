"""What PostgreSQL's errors mean: for the transaction that met them, and in words with the fix."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError

from glowplug.errors import (
    BugError,
    Corrupt,
    DiskFull,
    GlowplugError,
    InvalidInput,
    SettingsError,
    TooLarge,
    Unreachable,
)
from glowplug.stores.database import Fault

READ_ONLY = (
    "PostgreSQL at {address} takes no writes, it is a standby or set to read only: name the primary, "
    "or several hosts with ?target_session_attrs=read-write"
)
_FULL = "PostgreSQL at {address} has no free connection: raise max_connections, or end connections that nobody uses"
_STARTING = "PostgreSQL at {address} is starting or shutting down"
_DOWN = "PostgreSQL at {address} does not answer: is it running, and does the network let us through? ({cause})"

# By SQLSTATE, or by its first two characters for a whole class.
_STATES: dict[str, tuple[type[GlowplugError], str]] = {
    "28P01": (SettingsError, "PostgreSQL at {address} refuses the password: correct it in the store's URL"),
    "28": (SettingsError, "PostgreSQL at {address} refuses the user: check user and password, and pg_hba.conf"),
    "3D000": (SettingsError, "there is no database {address}: make it with createdb, or correct the store's URL"),
    "42501": (
        SettingsError,
        "the user may not do that in {address}: GRANT ALL ON DATABASE and ON SCHEMA public to it ({cause})",
    ),
    "42P01": (SettingsError, "tables are missing in {address}: run `glowplug migrate`, or bring back a backup"),
    "42703": (SettingsError, "columns are missing in {address}: run `glowplug migrate`"),
    "53100": (DiskFull, "no room to write on the disk of PostgreSQL at {address}: free some space and try again"),
    "53300": (Unreachable, _FULL),
    "53": (Unreachable, "PostgreSQL at {address} has run out of something: {cause}"),
    "25006": (Unreachable, READ_ONLY),
    "40P01": (Unreachable, "operations kept meeting deadlocks in {address}: try again"),
    "40": (Unreachable, "operations kept getting into each other's way in {address}: try again"),
    "23505": (Unreachable, "two wrote the same at once in {address}, again and again: try again"),
    "55P03": (Unreachable, "another session has held rows of {address} for too long: look at pg_stat_activity"),
    "57014": (Unreachable, "PostgreSQL at {address} was too slow: a statement ran into its time limit"),
    "57P03": (Unreachable, _STARTING),
    "57P": (Unreachable, "PostgreSQL at {address} ended the connection: {cause}"),
    "08": (Unreachable, _DOWN),
    "XX001": (Corrupt, "the database {address} is damaged ({cause}): bring back a backup"),
    "XX002": (Corrupt, "an index of {address} is damaged ({cause}): REINDEX it, or bring back a backup"),
    "58030": (Unreachable, "the disk below PostgreSQL at {address} failed: {cause}"),
    "22001": (InvalidInput, "a value is longer than its column in {address}: {cause}"),
    "22003": (TooLarge, "a number is larger than the database can hold"),
    "54": (TooLarge, "a value is larger than the database can hold: {cause}"),
    "22021": (InvalidInput, "not a text that PostgreSQL can hold: {cause}"),
}
# A refused connection has no SQLSTATE, only the server's words (in other languages it is a server that is not there).
_WORDS: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    (r"no pg_hba\.conf entry", "28"),
    ("authentication failed", "28"),
    (r'role ".*" (does not exist|is not permitted)', "28"),
    (r'database ".*" does not exist', "3D000"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("too many connections", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("in recovery mode", "57P03"),
    ("not yet accepting connections", "57P03"),
    ("session is read-only", "25006"),
    ("session is not read-only", "25006"),
    ("server is in hot standby mode", "25006"),
    ("invalid connection option", "option"),
    ("invalid sslmode value", "option"),
)
_LOST_STATES = ("08", "57P", "25P03", "25006", "53300")
_UNDONE_STATES = ("40", "23505")


def fault_of(error: BaseException) -> Fault:
    """Say what an error means for its transaction."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        # Two gateways that write the same key at once: the second finds it when it looks again.
        if state.startswith(_UNDONE_STATES):
            return Fault.UNDONE
        return Fault.LOST if state.startswith(_LOST_STATES) else Fault.OWN
    # The driver's own word for a connection that broke has no SQLSTATE, since no server said it.
    return Fault.LOST if _is_operational(cause) else Fault.OWN


def translated(error: BaseException, address: str) -> GlowplugError:
    """Return the error of ours that says what happened to the database at `address`, and what to do."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, UnicodeEncodeError):
        return InvalidInput(f"not Unicode text: {cause.reason}")
    said = " ".join(str(cause).split())
    state = getattr(cause, "sqlstate", None) or _state_in(said)
    if state == "option":
        return SettingsError(f"the store's URL has an option of no meaning: {said}")
    if "NUL" in said and type(cause).__name__ == "DataError":
        return InvalidInput("a text may not hold the character NUL")
    for known in (state[:5], state[:3], state[:2]) if state else ():
        if known in _STATES:
            kind, words = _STATES[known]
            return kind(words.format(address=address, cause=said))
    if _is_operational(cause):
        return Unreachable(_DOWN.format(address=address, cause=said))
    return BugError(f"an operation on {address} failed: {said}")


def _state_in(said: str) -> str:
    return next((state for words, state in _WORDS if re.search(words, said)), "")


def _is_operational(cause: object) -> bool:
    return type(cause).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")

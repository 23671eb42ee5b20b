"""Bringing a database to the schema of `tables.py`: a new one at once, an older one by its migrations.

A database that only this gateway has is migrated as it is opened; one that others may have open, when somebody says
so. Alembic is only imported when there is something to migrate, because that import takes longer than all else here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, insert, inspect, select

from glowplug.errors import SettingsError
from glowplug.stores.database import Database
from glowplug.stores.tables import REVISION, metadata, revisions

MIGRATIONS = Path(__file__).parent / "migrations"
_OURS = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class Migration:
    """From which revision to which a database is, or was, to be brought; `before` is None for an empty one."""

    before: str | None
    after: str = REVISION

    @property
    def needed(self) -> bool:
        """Say whether there is anything to do."""
        return self.before != self.after


def ensure_schema(connection: Connection, database: Database | None = None) -> None:
    """Create the tables in an empty database, and migrate an older one if the database migrates itself.

    Raises:
        SettingsError: the database is older and shared, or belongs to a newer Glowplug, or to something else.
    """
    if _stored(connection) == REVISION:
        return
    # Two gateways that begin on an empty database at once: the second finds it made.
    if database is not None:
        database.lock_schema(connection)
    migration = look(connection)
    waits = database is not None and not database.migrates_itself
    if migration.before is not None and migration.needed and waits:
        raise SettingsError(
            f"the database has schema {migration.before} and this Glowplug needs {REVISION}: "
            "stop the gateways that use it and run `glowplug migrate`"
        )
    _bring(connection, migration)


def look(connection: Connection) -> Migration:
    """Say what there is to migrate. Raises `SettingsError` for a newer database or another program's."""
    tables = _tables(connection)
    stored = _stored(connection)
    if tables and (revisions.name not in tables or (stored is not None and not _OURS.fullmatch(stored))):
        raise SettingsError("the database belongs to another program; give Glowplug one of its own")
    if stored is not None and stored > REVISION:
        raise SettingsError(
            f"the database has schema {stored}, newer than {REVISION} of this Glowplug: install the newer version "
            "again, or give this one a database of its own"
        )
    return Migration(stored)


def migrate(connection: Connection, database: Database) -> Migration:
    """Bring a database to the current schema; return what was done. Raises `SettingsError` as `look` does."""
    database.lock_schema(connection)
    migration = look(connection)
    _bring(connection, migration)
    return migration


def _bring(connection: Connection, migration: Migration) -> None:
    if not _tables(connection):
        _create(connection)
    elif migration.needed:
        _migrate(connection)


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def _stored(connection: Connection) -> str | None:
    if not inspect(connection).has_table(revisions.name):
        return None
    return cast("str | None", connection.execute(select(revisions.c.version_num)).scalar())


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    revisions.create(connection)
    connection.execute(insert(revisions), {"version_num": REVISION})


def _migrate(connection: Connection, revision: str = "head") -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)

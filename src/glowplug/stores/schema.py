"""Bringing a database to the schema of `tables.py`: a new one at once, an older one by its migrations.

Alembic is only imported when there is something to migrate, because that import takes longer than all else here.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sqlalchemy import Connection, insert, inspect, select

from glowplug.errors import SettingsError
from glowplug.stores.tables import REVISION, metadata, revisions

MIGRATIONS = Path(__file__).parent / "migrations"


def ensure_schema(connection: Connection) -> None:
    """Create or migrate the tables, within the transaction of `connection`.

    Raises:
        SettingsError: the database belongs to a newer Glowplug, or to something else.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        _create(connection)
        return
    if revisions.name not in tables:
        raise SettingsError("the database belongs to another program; give Glowplug a file of its own")
    stored = cast("str | None", connection.execute(select(revisions.c.version_num)).scalar())
    if stored != REVISION:
        _migrate(connection, stored)


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    revisions.create(connection)
    connection.execute(insert(revisions), {"version_num": REVISION})


def _migrate(connection: Connection, stored: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if stored is not None and stored not in known:
        raise SettingsError(
            f"the database has schema {stored}, newer than {REVISION} of this Glowplug: install the newer version "
            "again, or give this one a database of its own"
        )
    command.upgrade(config, "head")

"""`glowplug migrate`: bring the store's database to the schema of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glowplug.cli.ending import NOT_READY
from glowplug.cli.output import Json, say, say_json
from glowplug.cli.session import load_settings

if TYPE_CHECKING:
    from glowplug.stores.database import Database
    from glowplug.stores.schema import Migration

SQL_SCHEMES = ("sqlite", "postgresql", "postgres")


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing: exit with 3 if there is work to do.")] = False,
    json: Json = False,
) -> None:
    """Bring the store's database to the schema of this version.

    A gateway does that by itself on SQLite. On PostgreSQL stop the gateways first, run this once, and
    start the new ones; a second run finds nothing to do.
    """
    from glowplug.data_folder import DataFolder
    from glowplug.stores.sql import database_of

    settings = load_settings()
    url = settings.store_url
    if url.partition(":")[0] not in SQL_SCHEMES:
        if json:
            say_json({"from": None, "to": None, "needed": False, "migrated": False})
        else:
            say("This store has no schema: there is nothing to migrate.")
        return
    if settings.store is None and not check:
        DataFolder(settings.data).prepare()
    database = database_of(url)
    migration = _looked_at(database) if check else _migrated(database)
    if json:
        done = migration.needed and not check
        needed = migration.needed and check
        say_json({"from": migration.before, "to": migration.after, "needed": needed, "migrated": done})
    else:
        say(_in_words(migration, check=check))
    if check and migration.needed:
        raise typer.Exit(NOT_READY)


def _looked_at(database: Database) -> Migration:
    from glowplug.stores.schema import Migration, look

    if not database.exists():
        return Migration(None)
    with database.transaction(writes=False) as connection:
        return look(connection)


def _migrated(database: Database) -> Migration:
    from glowplug.stores import schema

    database.prepare()
    with database.transaction(writes=True) as connection:
        return schema.migrate(connection, database)


def _in_words(migration: Migration, *, check: bool) -> str:
    before, after = migration.before, migration.after
    if not migration.needed:
        return f"The database has schema {after}: there is nothing to do."
    if before is None:
        return f"The database is empty; schema {after} {'is to be made' if check else 'was made'}."
    if check:
        return f"The database has schema {before} and needs {after}: run `glowplug migrate`."
    return f"The database was migrated from schema {before} to {after}."

"""Statements in bulk, and those that write a row over the one with the same key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    String,
    Table,
    Update,
    any_,
    bindparam,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.compiler import SQLCompiler

from glowplug.stores.tables import jobs

_IN_LIST = jobs.c.id.in_(bindparam("ids", expanding=True))
_IN_ARRAY = jobs.c.id == any_(bindparam("ids", type_=ARRAY(String)))


def write_many(connection: Connection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run a statement for rows that have the same columns, and return how many it met.

    SQLAlchemy's own way prepares the parameters of each row anew, which takes longer than the writing.
    """
    if not rows:
        return 0
    compiled = _compiled(statement, tuple(rows[0]), connection.dialect)
    if compiled.positiontup is None:
        return connection.exec_driver_sql(compiled.string, list(rows)).rowcount
    pick = itemgetter(*compiled.positiontup)
    return connection.exec_driver_sql(compiled.string, [pick(row) for row in rows]).rowcount


def rows_by_id(
    connection: Connection, statement: Select[Any], ids: Collection[str], asked: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """Return the rows whose id is among `ids`; `statement` has those in its parameter `ids`.

    On PostgreSQL past SQLAlchemy's results, which describe every column anew at each look: with forty of them that
    takes longer than all else in a claim.
    """
    given = {**asked, "ids": list(ids)}
    if connection.dialect.name != "postgresql":
        return connection.execute(statement.where(_IN_LIST), given).all()
    compiled = _looked_up(statement, connection.dialect)
    cursor = connection.connection.cursor()
    try:
        cursor.execute(compiled.string, given)
        return cursor.fetchall()
    finally:
        cursor.close()


@lru_cache(maxsize=16)
def _looked_up(statement: Select[Any], dialect: Dialect) -> SQLCompiler:
    compiled = statement.where(_IN_ARRAY).compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled


@lru_cache(maxsize=64)
def _compiled(statement: Insert | Update | Delete, columns: tuple[str, ...], dialect: Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect, column_keys=list(columns))


def upsert(
    table: Table, *, columns: Collection[str] | None = None, where: ColumnElement[bool] | None = None
) -> postgresql.Insert:
    """Return an insert that writes `columns` (all but the key) over the row that is there, if it is as `where` says.

    It is PostgreSQL's statement; SQLite has the same one.
    """
    key = list(table.primary_key.columns)
    statement = postgresql.insert(table)
    written = columns if columns is not None else [column.name for column in table.columns if column not in set(key)]
    values = {name: statement.excluded[name] for name in written}
    return statement.on_conflict_do_update(index_elements=key, set_=values, where=where)

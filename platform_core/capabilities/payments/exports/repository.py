"""All queries of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
from sqlalchemy import literal, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from platform_core.capabilities.payments.exports.exportables import Exportable
from platform_core.capabilities.payments.exports.models import Export, ExportPart
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of

RUN: Final = "payments.export"  # due: go on with an export
_SET_TENANT: Final = "SELECT set_config('arsenal.merchant', $1, true), set_config('statement_timeout', '0', true)"


def query_of(
    exportable: Exportable,
    *,
    merchant_id: str,
    filters: Mapping[str, Any],
    as_of: datetime,
    stores: Sequence[str] | None,
    after: Sequence[Any] | None,
) -> tuple[str, list[Any]]:
    """The one query of a run: the rows behind `after`, in the order of their keys. Any: parameters of all types."""
    arguments: list[Any] = [merchant_id, as_of]
    conditions = [f"{exportable.merchant} = $1", f"{exportable.created_at} <= $2"]

    def add(condition: str, *values: Any) -> None:
        conditions.append(condition)
        arguments.extend(values)

    for name, value in sorted(filters.items()):
        if name == "types":
            add(f"t.type = ANY (${len(arguments) + 1}::text[])", value)
        else:
            found = exportable.filters[name]
            add(found.sql(len(arguments) + 1), found.value(value))
    if stores is not None:
        assert exportable.of_stores is not None, "refused when it was asked for"
        add(exportable.of_stores.format(f"${len(arguments) + 1}::text[]"), list(stores))
    if after is not None:
        n = len(arguments)
        add(
            f"({exportable.created_at}, {exportable.id}) > (${n + 1}::timestamptz, ${n + 2}::{exportable.id_type})",
            datetime.fromisoformat(after[0]),
            after[1],
        )
    sql = (
        f"SELECT {exportable.select}, {exportable.created_at} AS key_created_at, {exportable.id} AS key_id "
        f"FROM {exportable.source} WHERE {' AND '.join(conditions)} "
        f"ORDER BY {exportable.created_at}, {exportable.id}"
    )
    return sql, arguments


class RowsOfExport:
    """The rows of one run, in pages."""

    def __init__(self, cursor: Any) -> None:  # Any: asyncpg's cursor, which it types so itself
        self._cursor = cursor

    async def page(self, limit: int) -> list[Mapping[str, Any]]:
        """The next rows, fewer than `limit` at the end."""
        return [dict(row) for row in await self._cursor.fetch(limit)]


class ExportRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def reading(self, export: Export, exportable: Exportable) -> AsyncIterator[RowsOfExport]:
        """One repeatable read under the tenant's own row-level security, on a connection of its own."""
        connection = await self._database.connect("app")
        try:
            await _json_as_values(connection)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.fetchrow(_SET_TENANT, export.merchant_id)
                sql, arguments = query_of(
                    exportable,
                    merchant_id=export.merchant_id,
                    filters=export.filters,
                    as_of=export.as_of,
                    stores=export.stores,
                    after=export.progress,
                )
                yield RowsOfExport(await connection.cursor(sql, *arguments))
        finally:
            await connection.close()

    async def export(self, merchant_id: str, export_id: str) -> Export | None:
        """One export."""
        query = select(table_of(Export)).where(col(Export.merchant_id) == merchant_id, col(Export.id) == export_id)
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Export(**row)

    async def slots(self, merchant_id: str) -> set[int]:
        """The slots that are taken."""
        query = select(col(Export.slot)).where(col(Export.merchant_id) == merchant_id, col(Export.slot).is_not(None))
        async with self._database.read(merchant_id) as connection:
            return {slot for slot in (await connection.execute(query)).scalars() if slot is not None}

    async def page(
        self,
        merchant_id: str,
        *,
        nouns: Iterable[str],
        stores: Iterable[str] | None,
        is_personal: bool,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[Export]:
        """Exports of these nouns, newest first; `stores`: that cover no others, `is_personal`: personal ones too."""
        exports = table_of(Export)
        query = select(exports).where(exports.c.merchant_id == merchant_id, exports.c.noun.in_(list(nouns)))
        if stores is not None:
            query = query.where(exports.c.stores.contained_by(literal(sorted(stores), JSONB)))
        if not is_personal:
            query = query.where(exports.c.is_personal.is_(False))
        if before is not None:
            query = query.where(tuple_(exports.c.created_at, exports.c.id) < tuple_(*map(literal, before)))
        query = query.order_by(exports.c.created_at.desc(), exports.c.id.desc()).limit(limit)
        async with self._database.read(merchant_id) as connection:
            return [Export(**row) for row in (await connection.execute(query)).mappings()]

    async def parts(self, merchant_id: str, export_id: str) -> list[ExportPart]:
        """What is known of an export's files, without their content."""
        parts = table_of(ExportPart)
        columns = [column for column in parts.c if column.name != "content"]
        query = (
            select(*columns)
            .where(parts.c.merchant_id == merchant_id, parts.c.export_id == export_id)
            .order_by(parts.c.number)
        )
        async with self._database.read(merchant_id) as connection:
            return [ExportPart(**row, content=b"") for row in (await connection.execute(query)).mappings()]

    async def part(self, merchant_id: str, export_id: str, number: int) -> ExportPart | None:
        """One file; None when there is none, or no longer."""
        parts = table_of(ExportPart)
        query = select(parts).where(
            parts.c.merchant_id == merchant_id, parts.c.export_id == export_id, parts.c.number == number
        )
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else ExportPart(**row)


async def _json_as_values(connection: asyncpg.Connection[Any]) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_text, decoder=msgspec.json.decode, format="text"
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()

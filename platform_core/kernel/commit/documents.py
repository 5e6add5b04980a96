"""Rows of the capabilities' own tables, inserted, changed and removed set-based, whatever the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import ARRAY, String, Table
from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

from platform_core.kernel.commit.plan import (
    Duplicate,
    Look,
    Missing,
    Plan,
    Refusal,
    Statement,
    TenantViolation,
    VersionConflict,
    lock_key,
)
from platform_core.kernel.database.tables import table_of

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy ships it untyped
Key = tuple[Any, ...]  # values of a unique key, of the column types
GONE = -1  # the staged version of a removed row


class DocumentTable:
    """How a table takes part in plans; a constant beside the model.

    `tenant` is the column that names the merchant (None: only plans of the platform itself may write here), `version`
    the integer column that a `Change` expects and raises, `unique` the natural keys that an `Insert` claims.
    `admits_tenants`: a tenant's plan, too, may insert a row that belongs to nobody. The primary key is `id`. Columns
    that the database counts or computes itself stand in no row. Arrays cannot travel in an array of rows.
    """

    def __init__(
        self,
        model: type[SQLModel] | Table,
        *,
        tenant: str | None = "merchant_id",
        version: str | None = None,
        unique: Sequence[tuple[str, ...]] = (),
        admits_tenants: bool = False,
    ) -> None:
        table = model if isinstance(model, Table) else table_of(model)
        self.table = table
        self.name = table.name
        self.tenant = tenant
        self.version = version
        assert tenant is None or not admits_tenants, f"{table.name}: a tenant's rows are written by its own plans"
        self.unique = tuple(unique)
        self.admits_tenants = admits_tenants
        self._updates: dict[tuple[str, ...], str] = {}
        own = [column for column in table.columns if column.identity is None and column.computed is None]
        assert not any(isinstance(column.type, ARRAY) for column in own), f"{table.name}: keep lists as JSON"
        self.columns = tuple(column.name for column in own)

    def __repr__(self) -> str:
        return f"DocumentTable({self.name})"

    @cached_property
    def casts(self) -> dict[str, str]:
        """PostgreSQL's name of each column's type; text for all text: a cast to varchar(n) cuts in silence."""
        return {
            column.name: "text" if isinstance(column.type, String) else column.type.compile(dialect=_DIALECT)
            for column in self.table.columns
        }

    @cached_property
    def insert_sql(self) -> str:
        """One row per element of the arrays; the last array holds the tenants that the plans were authorised for."""
        names = ", ".join(f'"{name}"' for name in self.columns)
        arrays = ", ".join(f"{{{n}}}::{self.casts[name]}[]" for n, name in enumerate(self.columns))
        if self.tenant is None:
            return f"INSERT INTO {self.name} ({names}) SELECT * FROM unnest({arrays}) RETURNING 1"
        return (
            f"INSERT INTO {self.name} ({names}) SELECT {names} "
            f"FROM unnest({arrays}, {{{len(self.columns)}}}::text[]) AS v({names}, plan_tenant) "
            f'WHERE v."{self.tenant}" IS NOT DISTINCT FROM v.plan_tenant RETURNING 1'
        )

    def update_sql(self, names: Sequence[str]) -> str:
        """Set `names` of the rows in the arrays, of the plans' own tenants only."""
        sql = self._updates.get(tuple(names))
        if sql is None:
            self._updates[tuple(names)] = sql = self._update_sql(names)
        return sql

    def _update_sql(self, names: Sequence[str]) -> str:
        arrays = ", ".join(f"{{{n + 2}}}::{self.casts[name]}[]" for n, name in enumerate(names))
        sets = ", ".join(f'"{name}" = v."{name}"' for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        return (
            f"UPDATE {self.name} AS t SET {sets} FROM unnest({{0}}::text[], {{1}}::text[], {arrays}) "
            f"AS v(key_id, plan_tenant, {columns}) WHERE t.id = v.key_id{self._same_tenant} RETURNING 1"
        )

    @cached_property
    def delete_sql(self) -> str:
        """Remove the rows in the arrays, of the plans' own tenants only."""
        return (
            f"DELETE FROM {self.name} AS t USING unnest({{0}}::text[], {{1}}::text[]) AS v(key_id, plan_tenant) "
            f"WHERE t.id = v.key_id{self._same_tenant} RETURNING 1"
        )

    @cached_property
    def look_sql(self) -> str:
        """Lock the rows to be changed, in the order of their ids, and say where they stand."""
        version = f't."{self.version}"' if self.version else "0"
        tenant = f't."{self.tenant}"' if self.tenant else "NULL"
        return (
            f"SELECT t.id, {version}, {tenant} FROM {self.name} AS t "
            "WHERE t.id = ANY({0}::text[]) ORDER BY t.id FOR UPDATE"
        )

    def existing_sql(self, columns: tuple[str, ...]) -> str:
        """Which of the wanted keys are taken, and by which id."""
        names = ", ".join(f't."{name}"' for name in columns)
        arrays = ", ".join(f"{{{n}}}::{self.casts[name]}[]" for n, name in enumerate(columns))
        wanted = ", ".join(f"k{n}" for n in range(len(columns)))
        on = " AND ".join(f't."{name}" = v.k{n}' for n, name in enumerate(columns))
        return f"SELECT t.id, {names} FROM unnest({arrays}) AS v({wanted}) JOIN {self.name} AS t ON {on}"

    @property
    def _same_tenant(self) -> str:
        return f' AND t."{self.tenant}" IS NOT DISTINCT FROM v.plan_tenant' if self.tenant else ""


class Insert(msgspec.Struct, frozen=True):
    """A new document. `row` holds every column; JSON columns as encoded text."""

    table: DocumentTable
    row: Mapping[str, Any]


class Change(msgspec.Struct, frozen=True):
    """New values for some columns of one document. `expected` is the version decided on; the writer raises it by one.

    `raise_to` sets a version that moves by more than one, for a plan that emits several events of one object. Without
    `expected` the version stays, and of two such changes of one column the later stands.
    """

    table: DocumentTable
    id: str
    values: Mapping[str, Any]
    expected: int | None = None
    raise_to: int | None = None


class Remove(msgspec.Struct, frozen=True):
    """A document that is no history, such as a finished piece of work, is taken away."""

    table: DocumentTable
    id: str
    expected: int | None = None


class Unchanged(msgspec.Struct, frozen=True):
    """Nothing is written to the document; the plan is refused unless it still stands at the version decided on."""

    table: DocumentTable
    id: str
    expected: int


Unique = tuple[DocumentTable, tuple[str, ...]]
Slot = tuple[DocumentTable, str]
Standing = tuple[int, str | None]  # version and tenant of a row


class DocumentApplier:
    """Applies `Insert`, `Change`, `Remove` and `Unchanged` for every `DocumentTable`."""

    part_types: tuple[type, ...] = (Insert, Change, Remove, Unchanged)

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> DocumentWork:
        """Start on a batch."""
        return DocumentWork(plans)


class DocumentWork:
    """Documents of one batch."""

    def __init__(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> None:
        self._touched: dict[DocumentTable, set[str]] = {}
        self._wanted: dict[Unique, set[Key]] = {}
        for _, parts in plans:
            for part in parts:
                if isinstance(part, Insert):
                    for columns in part.table.unique:
                        key = _key(part, columns)
                        if None not in key:  # SQL: NULLs are distinct
                            self._wanted.setdefault((part.table, columns), set()).add(key)
                else:
                    assert isinstance(part, Change | Remove | Unchanged)
                    self._touched.setdefault(part.table, set()).add(part.id)
        self._taken: dict[tuple[Unique, Key], str] = {}
        self._seen: dict[Slot, Standing] = {}
        self._staged_parts: list[Insert | Change | Remove] = []
        self._staged_keys: dict[tuple[Unique, Key], str] = {}
        self._staged_seen: dict[Slot, Standing] = {}
        self._staged_tenant: str | None = None
        self._inserts: dict[DocumentTable, list[tuple[str | None, Mapping[str, Any]]]] = {}
        self._changes: dict[Slot, tuple[str | None, dict[str, Any]]] = {}
        self._removals: dict[Slot, str | None] = {}

    def lock_keys(self) -> Iterable[int]:
        """One lock per natural key to be claimed."""
        for (table, columns), keys in self._wanted.items():
            kind = f"{table.name}:{','.join(columns)}"
            for key in keys:
                yield lock_key(kind, key)

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Nothing stands ahead of a document."""

    def looks(self) -> Sequence[Look]:
        """Natural keys that exist, and the versions of the rows to change, locked by table name and id."""
        looks = []
        for (table, columns), keys in self._wanted.items():
            arrays = tuple(list(values) for values in zip(*keys, strict=True))
            looks.append(Look(table.existing_sql(columns), arrays, partial(self._take_keys, (table, columns))))
        for table in sorted(self._touched, key=lambda table: table.name):
            looks.append(Look(table.look_sql, (sorted(self._touched[table]),), partial(self._take_rows, table)))
        return looks

    def _take_keys(self, unique: Unique, rows: Sequence[tuple[Any, ...]]) -> None:
        for id_, *key in rows:
            self._taken[unique, tuple(key)] = id_

    def _take_rows(self, table: DocumentTable, rows: Sequence[tuple[Any, ...]]) -> None:
        for id_, version, tenant in rows:
            self._seen[table, id_] = (version, tenant)

    @property
    def has_seen_all(self) -> bool:
        """At once."""
        return True

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """Duplicate, missing, moved on, or of another tenant."""
        self._staged_tenant = plan.merchant_id
        for part in parts:
            assert isinstance(part, Insert | Change | Remove | Unchanged)
            refusal = self._judge_insert(plan, part) if isinstance(part, Insert) else self._judge_existing(plan, part)
            if refusal is not None:
                return refusal
            if not isinstance(part, Unchanged):
                self._staged_parts.append(part)
        return None

    def keep(self) -> None:
        """Staged keys and versions count for later plans; what several plans do to one row becomes one write."""
        self._taken |= self._staged_keys
        self._seen |= self._staged_seen
        tenant = self._staged_tenant
        for part in self._staged_parts:
            if isinstance(part, Insert):
                self._inserts.setdefault(part.table, []).append((tenant, part.row))
            elif isinstance(part, Remove):
                self._changes.pop((part.table, part.id), None)
                self._removals[part.table, part.id] = tenant
            else:
                _, values = self._changes.setdefault((part.table, part.id), (tenant, {}))
                values.update(part.values)
                if part.expected is not None:
                    assert part.table.version is not None, "judged"
                    values[part.table.version] = part.raise_to or part.expected + 1
        self.drop()

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged_parts = []
        self._staged_keys = {}
        self._staged_seen = {}

    def statements(self) -> list[Statement]:
        """One insertion per table, one update per table and set of columns, one deletion per table."""
        changes: dict[tuple[DocumentTable, tuple[str, ...]], list[tuple[str | None, str, Mapping[str, Any]]]] = {}
        for (table, id_), (tenant, values) in self._changes.items():
            changes.setdefault((table, tuple(sorted(values))), []).append((tenant, id_, values))
        removals: dict[DocumentTable, list[tuple[str | None, str]]] = {}
        for (table, id_), tenant in self._removals.items():
            removals.setdefault(table, []).append((tenant, id_))
        return [
            *(_insert(table, rows) for table, rows in self._inserts.items()),
            *(_update(table, names, rows) for (table, names), rows in changes.items()),
            *(_delete(table, rows) for table, rows in removals.items()),
        ]

    def _judge_insert(self, plan: Plan, part: Insert) -> Refusal | None:
        table = part.table
        tenant = part.row[table.tenant] if table.tenant else None
        if tenant != plan.merchant_id and not table.admits_tenants:
            return TenantViolation(f"{table.name} {part.row['id']}")
        for columns in table.unique:
            key = _key(part, columns)
            if None in key:
                continue
            slot = ((table, columns), key)
            existing = self._taken.get(slot) or self._staged_keys.get(slot)
            if existing is not None:
                return Duplicate(table.name, columns, existing)
            self._staged_keys[slot] = part.row["id"]
        return None

    def _judge_existing(self, plan: Plan, part: Change | Remove | Unchanged) -> Refusal | None:
        table, slot = part.table, (part.table, part.id)
        assert part.expected is None or table.version is not None, f"{table.name} has no version to expect"
        if isinstance(part, Change):
            assert part.values or part.expected is not None, f"{part.id}: nothing to change"
        if table.tenant is None and plan.merchant_id is not None:
            return TenantViolation(f"{table.name} {part.id}")
        seen = self._staged_seen.get(slot) or self._seen.get(slot)
        if seen is None or seen[0] == GONE or (table.tenant is not None and seen[1] != plan.merchant_id):
            return Missing(table.name, part.id)
        if part.expected is not None and seen[0] != part.expected:
            return VersionConflict(table.name, part.id, part.expected, seen[0])
        if isinstance(part, Remove):
            self._staged_seen[slot] = (GONE, seen[1])
        elif isinstance(part, Change) and part.expected is not None:
            self._staged_seen[slot] = (part.raise_to or part.expected + 1, seen[1])
        return None


def _key(part: Insert, columns: tuple[str, ...]) -> Key:
    return tuple(part.row[name] for name in columns)


def _insert(table: DocumentTable, rows: Sequence[tuple[str | None, Mapping[str, Any]]]) -> Statement:
    arrays: list[object] = [[row[name] for _, row in rows] for name in table.columns]
    if table.tenant is not None:
        arrays.append([tenant for tenant, _ in rows])
    return Statement(table.insert_sql, tuple(arrays), len(rows))


def _update(
    table: DocumentTable, names: Sequence[str], rows: Sequence[tuple[str | None, str, Mapping[str, Any]]]
) -> Statement:
    columns: list[object] = [[values[name] for _, _, values in rows] for name in names]
    tenants = [tenant for tenant, _, _ in rows]
    return Statement(table.update_sql(names), ([id_ for _, id_, _ in rows], tenants, *columns), len(rows))


def _delete(table: DocumentTable, rows: Sequence[tuple[str | None, str]]) -> Statement:
    return Statement(table.delete_sql, ([id_ for _, id_ in rows], [tenant for tenant, _ in rows]), len(rows))

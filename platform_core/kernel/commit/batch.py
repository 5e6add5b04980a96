"""One batch as one transaction: lock, look, judge in order of arrival, write set-based."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.columns import columnar
from platform_core.kernel.commit.plan import Applier, BatchWork, Look, Plan, Refusal, Statement

Shape = tuple[str, ...]  # the fragments that a statement is composed of
Shares = dict[int, list[object]]  # a plan's parts by the number of their applier
SHAPES_MAX = 512

_NOTE = "INSERT INTO commit_batch (id, plans, committed_at) VALUES ({0}, {1}, {2}) RETURNING 1"


@dataclass(slots=True, eq=False)
class Entry:
    """A plan on its way, and its caller."""

    plan: Plan
    shares: Shares
    done: asyncio.Future[Any]
    queued_at: float
    outcome: Refusal | Exception | None = None


class RowsMiscounted(Exception):  # a finding; `Committer` corners the plan that caused it
    """A statement wrote another number of rows than its plans hold: a part broke a rule that only the database knew."""


class BatchTransaction:
    """Runs batches up to, and not including, their COMMIT."""

    def __init__(self, appliers: Sequence[Applier], clock: Clock) -> None:
        self._appliers = list(appliers)
        self._applier_of = {part: n for n, applier in enumerate(appliers) for part in applier.part_types}
        self._clock = clock
        self._sql: dict[Shape, str] = {}

    def shares(self, plan: Plan) -> Shares:
        """The parts of a plan by applier, in their order. Raises TypeError for a part that nobody applies."""
        shares: Shares = {}
        for part in plan.parts:
            number = self._applier_of.get(type(part))
            if number is None:
                raise TypeError(f"no applier takes a {type(part).__name__}; bootstrap wires them")
            share = shares.get(number)
            if share is None:
                shares[number] = [part]
            else:
                share.append(part)
        return shares

    async def write(self, connection: asyncpg.Connection, batch_id: str, entries: Sequence[Entry]) -> bool:
        """Judge and write; the caller commits. False: every plan was refused, and the transaction is over already."""
        works = self._begin(entries)
        for work in works:
            await work.prepare(connection)
        keys = sorted({key for work in works for key in work.lock_keys()})
        await connection.execute(_begin_sql(keys))
        await self._look(connection, works)
        kept = _judge(entries, works)
        if not kept:
            await connection.execute("ROLLBACK")
            return False
        statements = [Statement(_NOTE, (batch_id, kept, self._clock.now()), 1)]
        for work in works:
            statements += work.statements()
        await self._apply(connection, statements)
        return True

    async def _look(self, connection: asyncpg.Connection, works: Sequence[BatchWork]) -> None:
        """Everything that the works want to see, in as few round trips as they allow: one, but for pending transfers.

        Each look is an array of rows in one row; PostgreSQL computes them one after another, so locks are taken in
        the order of the works.
        """
        left = deque(works)
        while left:
            looks: list[Look] = []
            while left:
                looks += left[0].looks()
                if not left[0].has_seen_all:
                    break
                left.popleft()
            if looks:
                sql = self._composed(tuple(look.sql for look in looks), _look_sql)
                values = (columnar(value) for look in looks for value in look.arguments)
                found = await connection.fetchrow(sql, *values)
                assert found is not None, "a SELECT of arrays has one row"
                for look, rows in zip(looks, found, strict=True):
                    look.take(rows)

    def _begin(self, entries: Sequence[Entry]) -> list[BatchWork]:
        plans: list[list[tuple[Plan, Sequence[object]]]] = [[] for _ in self._appliers]
        for entry in entries:
            entry.outcome = None
            for number, parts in entry.shares.items():
                plans[number].append((entry.plan, parts))
        return [applier.begin(share) for applier, share in zip(self._appliers, plans, strict=True)]

    async def _apply(self, connection: asyncpg.Connection, statements: Sequence[Statement]) -> None:
        """All writes of the batch as one statement of common table expressions: one round trip, all counted."""
        sql = self._composed(tuple(statement.sql for statement in statements), _write_sql)
        values = (columnar(value) for statement in statements for value in statement.arguments)
        counts = await connection.fetchrow(sql, *values)
        assert counts is not None, "a SELECT of scalars has one row"
        for statement, count in zip(statements, counts, strict=True):
            if statement.rows_expected is not None and count != statement.rows_expected:
                raise RowsMiscounted(f"wrote {count} of {statement.rows_expected} rows: {statement.sql[:80]}")

    def _composed(self, shape: Shape, compose: Callable[[Sequence[str]], str]) -> str:
        """The one statement that several fragments become, with their arguments numbered through."""
        sql = self._sql.get(shape)
        if sql is None:
            if len(self._sql) >= SHAPES_MAX:  # shapes are few; this only bounds what a strange load could pile up
                self._sql.clear()
            self._sql[shape] = sql = compose(_numbered(shape))
        return sql


def _write_sql(fragments: Sequence[str]) -> str:
    expressions = ", ".join(f"w{n} AS ({fragment})" for n, fragment in enumerate(fragments))
    counted = ", ".join(f"(SELECT count(*) FROM w{n})" for n in range(len(fragments)))
    return f"WITH {expressions} SELECT {counted}"


def _look_sql(fragments: Sequence[str]) -> str:
    return "SELECT " + ", ".join(f"ARRAY(SELECT ROW(q.*) FROM ({fragment}) AS q)" for fragment in fragments)


def _numbered(shape: Shape) -> list[str]:
    fragments: list[str] = []
    number = 0
    for fragment in shape:
        places = _places(fragment)
        fragments.append(fragment.format(*(f"${number + i + 1}" for i in range(places))))
        number += places
    return fragments


def _judge(entries: Sequence[Entry], works: Sequence[BatchWork]) -> int:
    """In order of arrival; a plan is in only if every applier takes all its parts. Returns how many are in."""
    kept = 0
    for entry in entries:
        involved = [(works[number], parts) for number, parts in sorted(entry.shares.items())]
        for work, parts in involved:
            entry.outcome = work.judge(entry.plan, parts)
            if entry.outcome is not None:
                break
        else:
            kept += 1
            for work, _ in involved:
                work.keep()
            continue
        for work, _ in involved:
            work.drop()
    return kept


def _begin_sql(keys: Sequence[int]) -> str:
    """BEGIN and all advisory locks in one message; what is read afterwards has a snapshot taken under the locks."""
    if not keys:
        return "BEGIN"
    listed = ",".join(map(str, keys))
    return f"BEGIN; SELECT count(pg_advisory_xact_lock(k)) FROM unnest('{{{listed}}}'::bigint[]) AS k"


def _places(fragment: str) -> int:
    """How many arguments a statement takes: they are numbered without a gap."""
    count = 0
    while f"{{{count}}}" in fragment:
        count += 1
    return count

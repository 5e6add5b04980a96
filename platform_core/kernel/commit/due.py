"""Work with a due time: rows, never countdowns of a broker. Written in plans, leased by workers, finished in plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from platform_core.kernel.commit.plan import Look, Plan, Refusal, Statement


@dataclass(frozen=True, slots=True)
class Due:
    """Do `kind` for `subject_id` at `due_at`; a second one for the same subject moves it. `tries` counts from 0."""

    kind: str
    subject_id: str
    due_at: datetime
    tries: int = 0


@dataclass(frozen=True, slots=True)
class DueDone:
    """Nothing of `kind` is left to do for `subject_id`; no harm if there was nothing."""

    kind: str
    subject_id: str


@dataclass(frozen=True, slots=True)
class DueWork:
    """A leased row, as a worker gets it."""

    kind: str
    subject_id: str
    merchant_id: str | None
    due_at: datetime
    tries: int


class DueApplier:
    """Writes `Due` and `DueDone`; they refuse nothing."""

    part_types: tuple[type, ...] = (Due, DueDone)

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> DueBatch:
        """Start on a batch."""
        return DueBatch()


_UPSERT = (
    "INSERT INTO due (kind, subject_id, merchant_id, due_at, tries) "
    "SELECT * FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::timestamptz[], {4}::int[]) "
    "ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = excluded.due_at, tries = excluded.tries, "
    "leased_until = NULL RETURNING 1"
)
_DELETE = (
    "DELETE FROM due AS t USING unnest({0}::text[], {1}::text[]) AS v(kind, subject_id) "
    "WHERE t.kind = v.kind AND t.subject_id = v.subject_id RETURNING 1"
)

LEASE_SQL = """
UPDATE due SET leased_until = $3::timestamptz WHERE (kind, subject_id) IN (
  SELECT kind, subject_id FROM due
  WHERE kind = $1 AND due_at <= $2 AND (leased_until IS NULL OR leased_until <= $2)
  ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING kind, subject_id, merchant_id, due_at, tries
"""


async def lease_due(
    connection: asyncpg.Connection, *, kind: str, now: datetime, lease_s: int = 60, limit: int = 100
) -> list[DueWork]:
    """Take at most `limit` due rows of a kind, oldest first, for `lease_s` seconds. A row has one holder at a time.

    The worker ends a row by a plan with `DueDone`, or moves it with `Due`; a worker that dies lets its lease run out.
    This is the one statement outside plans: it moves only the lease.
    """
    rows = await connection.fetch(LEASE_SQL, kind, now, now + timedelta(seconds=lease_s), limit)
    return sorted((DueWork(*row) for row in rows), key=lambda work: work.due_at)


class DueBatch:
    """Due rows of one batch."""

    def __init__(self) -> None:
        self._staged: list[tuple[str | None, Due | DueDone]] = []
        self._kept: dict[tuple[str, str], tuple[str | None, Due | DueDone]] = {}

    def lock_keys(self) -> Iterable[int]:
        """Rows of one subject are written under the subject's own lock."""
        return ()

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Nothing to prepare."""

    def looks(self) -> Sequence[Look]:
        """Nothing to see."""
        return ()

    @property
    def has_seen_all(self) -> bool:
        """At once."""
        return True

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """Always in."""
        for part in parts:
            assert isinstance(part, Due | DueDone)
            self._staged.append((plan.merchant_id, part))
        return None

    def keep(self) -> None:
        """The last word on a subject stays."""
        for merchant_id, part in self._staged:
            self._kept[part.kind, part.subject_id] = (merchant_id, part)
        self._staged = []

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged = []

    def statements(self) -> list[Statement]:
        """One upsert, one deletion, in the order of the keys."""
        ordered = [self._kept[key] for key in sorted(self._kept)]
        due = [(merchant_id, part) for merchant_id, part in ordered if isinstance(part, Due)]
        done = [part for _, part in ordered if isinstance(part, DueDone)]
        statements = []
        if due:
            arrays = (
                [part.kind for _, part in due],
                [part.subject_id for _, part in due],
                [merchant_id for merchant_id, _ in due],
                [part.due_at for _, part in due],
                [part.tries for _, part in due],
            )
            statements.append(Statement(_UPSERT, arrays, len(due)))
        if done:
            arguments = ([part.kind for part in done], [part.subject_id for part in done])
            statements.append(Statement(_DELETE, arguments, None))
        return statements

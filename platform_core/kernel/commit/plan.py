"""What a service hands to the writer, and what the writer may answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg


@dataclass(slots=True)
class Plan:
    """Everything that one decision wants written, all or none of it.

    `merchant_id` is the tenant that the decision was authorised for; None is the platform itself. A part that touches
    another tenant's row or account refuses the plan. `parts` are applied in their order; `answer` is handed back once
    they are durable.
    """

    merchant_id: str | None
    parts: list[object] = field(default_factory=list)
    answer: Any = None  # whatever the service promised its caller; the writer never looks at it

    def add(self, *parts: object) -> Plan:
        """Append parts and return the plan itself."""
        self.parts.extend(parts)
        return self


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a plan was left out of its batch; subclasses carry what the service needs to answer."""


@dataclass(frozen=True, slots=True)
class Duplicate(Refusal):
    """A unique key is taken: by a committed row, or by a plan of the same batch that came first."""

    table: str
    columns: tuple[str, ...]
    existing_id: str


@dataclass(frozen=True, slots=True)
class VersionConflict(Refusal):
    """The row has moved on since it was read; decide anew. `found` is its version now."""

    table: str
    id: str
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class Missing(Refusal):
    """The row to change is not there, or belongs to another tenant: the two look alike on purpose."""

    table: str
    id: str


@dataclass(frozen=True, slots=True)
class TenantViolation(Refusal):
    """A part names another tenant than the plan was authorised for: a bug of the service, never a user's mistake."""

    what: str


class PlanRefused(Exception):  # a refusal is an expected answer, not an error
    """Raised by `Committer.commit` for the refused plan alone; nothing of it was written."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Statement:
    """One set-based write. `sql` has `{0}`, `{1}` ... where its arguments stand and returns one row per row written.

    Another number than `rows_expected` undoes the batch; None where any number is right.
    """

    sql: str
    arguments: tuple[object, ...]
    rows_expected: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """One query of what a batch must see or lock. `sql` has `{0}`, `{1}` ... where its arguments stand.

    `take` is handed the rows as tuples. Each plan of a batch may bring rows to a look, so arguments are arrays.
    """

    sql: str
    arguments: tuple[object, ...]
    take: Callable[[Sequence[tuple[Any, ...]]], None]


class BatchWork(Protocol):
    """One applier's work on one batch. Made anew for every batch and every repetition of it."""

    def lock_keys(self) -> Iterable[int]:
        """Advisory locks for unique keys that this batch wants to claim (see `lock_key`)."""
        ...

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """What may be committed ahead of the batch because it is harmless alone, such as opening an empty account."""
        ...

    def looks(self) -> Sequence[Look]:
        """What `judge` needs to see and to lock, in one order for all processes. Asked until `has_seen_all`.

        Looks of all works go out together where nobody waits for an answer. They see what is committed once the
        batch holds its advisory locks, and run in their order.
        """
        ...

    @property
    def has_seen_all(self) -> bool:
        """Whether the looks given so far are the last; locks of later works wait for them."""
        ...

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """Decide on a plan's parts by what was seen and what earlier plans of the batch did; stage, change nothing."""
        ...

    def keep(self) -> None:
        """The plan judged last is in: make what was staged count for the plans after it."""
        ...

    def drop(self) -> None:
        """The plan judged last was refused by somebody: forget what was staged."""
        ...

    def statements(self) -> list[Statement]:
        """The writes of all plans that were kept."""
        ...


class Applier(Protocol):
    """Writes one kind of part. Bootstrap wires the appliers, in the order in which their locks are taken."""

    part_types: tuple[type, ...]

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> BatchWork:
        """Start on a batch: each plan with those of its parts that are this applier's."""
        ...


def lock_key(kind: str, values: Iterable[object]) -> int:
    """The signed 64-bit advisory lock of a unique key. Two keys may share one: they then merely wait for each other."""
    text = kind + "\x1f" + "\x1f".join(map(str, values))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

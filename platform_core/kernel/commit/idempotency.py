"""A client's Idempotency-Key, claimed and answered in the plan that it protects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from platform_core.kernel.commit.plan import Look, Plan, Refusal, Statement, lock_key


class IdempotencyClaim(msgspec.Struct, frozen=True):
    """Claim `key` of a client for this act, with the answer if the act is complete, else (`status` None) in flight.

    `fingerprint` is the SHA-256 of method, path and canonical body; `body` the encoded JSON of the answer.
    """

    client_id: str
    key: str
    fingerprint: bytes
    object_id: str | None
    created_at: datetime
    status: int | None = None
    body: str | None = None


class IdempotencyAnswer(msgspec.Struct, frozen=True):
    """The answer to an act that was claimed in flight by an earlier plan."""

    client_id: str
    key: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Replayed(Refusal):
    """The key is taken. `status` is None while the first request is in flight; compare `fingerprint` first."""

    fingerprint: bytes
    status: int | None
    body: str | None
    object_id: str | None
    created_at: datetime


class IdempotencyApplier:
    """Applies claims and answers. First among the appliers: a repeated request is a replay before it is a duplicate."""

    part_types: tuple[type, ...] = (IdempotencyClaim, IdempotencyAnswer)

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> IdempotencyWork:
        """Start on a batch."""
        return IdempotencyWork(plans)


_Slot = tuple[str, str, str]
_LOOK = (
    "SELECT t.client_id, t.merchant_id, t.key, t.fingerprint, t.status, t.body, t.object_id, t.created_at "
    "FROM unnest({0}::text[], {1}::text[], {2}::text[]) AS v(client_id, merchant_id, key) "
    "JOIN idempotency AS t ON t.client_id = v.client_id AND t.merchant_id = v.merchant_id AND t.key = v.key"
)
_INSERT = (
    "INSERT INTO idempotency (client_id, merchant_id, key, fingerprint, object_id, created_at, status, body) "
    "SELECT * FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::bytea[], {4}::text[], {5}::timestamptz[], "
    "{6}::int[], {7}::text[]) RETURNING 1"
)
_ANSWER = (
    "UPDATE idempotency AS t SET status = v.status, body = v.body "
    "FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::int[], {4}::text[]) "
    "AS v(client_id, merchant_id, key, status, body) "
    "WHERE t.client_id = v.client_id AND t.merchant_id = v.merchant_id AND t.key = v.key AND t.status IS NULL "
    "RETURNING 1"
)


class IdempotencyWork:
    """Keys of one batch."""

    def __init__(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> None:
        self._wanted = sorted(
            {_slot(plan, part) for plan, parts in plans for part in parts if isinstance(part, IdempotencyClaim)}
        )
        self._taken: dict[_Slot, Replayed] = {}
        self._staged: list[tuple[_Slot, IdempotencyClaim | IdempotencyAnswer]] = []
        self._kept: list[tuple[_Slot, IdempotencyClaim | IdempotencyAnswer]] = []

    def lock_keys(self) -> Iterable[int]:
        """One lock per key."""
        return (lock_key("idempotency", slot) for slot in self._wanted)

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Nothing to prepare."""

    def looks(self) -> Sequence[Look]:
        """Which keys are taken, and what they were answered."""
        return [Look(_LOOK, _slot_arrays(self._wanted), self._take)] if self._wanted else []

    def _take(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for client_id, merchant_id, key, *answered in rows:
            self._taken[client_id, merchant_id, key] = Replayed(*answered)

    @property
    def has_seen_all(self) -> bool:
        """At once."""
        return True

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """A claim is refused with what the key stands for already."""
        for part in parts:
            assert isinstance(part, IdempotencyClaim | IdempotencyAnswer)
            slot = _slot(plan, part)
            if isinstance(part, IdempotencyClaim) and (taken := self._taken.get(slot)) is not None:
                return taken
            self._staged.append((slot, part))
        return None

    def keep(self) -> None:
        """Staged claims count for the plans after this one."""
        for slot, part in self._staged:
            self._kept.append((slot, part))
            if isinstance(part, IdempotencyClaim):
                self._taken[slot] = Replayed(part.fingerprint, part.status, part.body, part.object_id, part.created_at)
        self._staged = []

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged = []

    def statements(self) -> list[Statement]:
        """One insertion, one update."""
        claims = [(slot, part) for slot, part in self._kept if isinstance(part, IdempotencyClaim)]
        answers = [(slot, part) for slot, part in self._kept if isinstance(part, IdempotencyAnswer)]
        statements = []
        if claims:
            arrays = (
                *_slot_arrays([slot for slot, _ in claims]),
                [part.fingerprint for _, part in claims],
                [part.object_id for _, part in claims],
                [part.created_at for _, part in claims],
                [part.status for _, part in claims],
                [part.body for _, part in claims],
            )
            statements.append(Statement(_INSERT, arrays, len(claims)))
        if answers:
            arguments = (
                *_slot_arrays([slot for slot, _ in answers]),
                [part.status for _, part in answers],
                [part.body for _, part in answers],
            )
            # A key answered already keeps its first answer; the row may also be past its 30 days.
            statements.append(Statement(_ANSWER, arguments, None))
        return statements


def _slot(plan: Plan, part: IdempotencyClaim | IdempotencyAnswer) -> _Slot:
    return (part.client_id, plan.merchant_id or "", part.key)


def _slot_arrays(slots: Sequence[_Slot]) -> tuple[list[str], list[str], list[str]]:
    clients, merchants, keys = (list(values) for values in zip(*slots, strict=True))
    return clients, merchants, keys

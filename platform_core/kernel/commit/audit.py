"""Who did what: a row of the audit log in the plan of the act itself, so that neither is there without the other.

Writing a row claims nothing and waits for nobody: rows are put in order and chained after their commit, once a second,
by `governance.audit`. No role may change or remove a row, and a trigger refuses it even to the owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import asyncpg
import msgspec

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.plan import Look, Plan, Refusal, Statement, TenantViolation
from platform_core.kernel.telemetry import current_correlation

Stream = Literal["act", "access", "call"]
PLATFORM: Final = "platform"
"""The actor of what the platform does of itself, or its operator does on the command line."""


def _request_id() -> str | None:
    correlation = current_correlation()
    return correlation.request_id if correlation is not None else None


@dataclass(frozen=True, slots=True)
class Audit:
    """One act, for those who must account for it later.

    `kind` is `noun.verb_past`; `actor` and `subject` are ids (of a person, client, app, grant, key ...) or the name of
    a part of the platform. `merchant_id` is whom it concerns: the plan's tenant or, where it concerns none, None.
    `facts` are ids, codes, counts and digests that JSON holds: nothing secret and nothing personal, because a row is
    never erased. `stream`: an act, a look at somebody's data, or a plugin's call. The request that runs is noted.
    """

    kind: str
    actor: str
    subject: str
    merchant_id: str | None
    facts: Mapping[str, object] = field(default_factory=dict)
    stream: Stream = "act"
    on_behalf_of: str | None = None
    reason: str | None = None
    rule: str | None = None
    before_digest: bytes | None = None
    after_digest: bytes | None = None
    request_id: str | None = field(default_factory=_request_id)


class AuditApplier:
    """Writes audit rows; refuses only a row about another tenant than the plan's. Moments come from `clock`."""

    part_types: tuple[type, ...] = (Audit,)

    def __init__(self, clock: Clock) -> None:
        """`clock` is the real one also where business time can be moved."""
        self._clock = clock

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> AuditWork:
        """Start on a batch."""
        return AuditWork(self._clock)


_INSERT = (
    "INSERT INTO audit_row (at, stream, kind, actor, on_behalf_of, subject, merchant_id, reason, rule, request_id, "
    "before_digest, after_digest, facts) "
    "SELECT * FROM unnest({0}::timestamptz[], {1}::text[], {2}::text[], {3}::text[], {4}::text[], {5}::text[], "
    "{6}::text[], {7}::text[], {8}::text[], {9}::text[], {10}::bytea[], {11}::bytea[], {12}::text[]) RETURNING 1"
)
_encoder = msgspec.json.Encoder(order="deterministic")


class AuditWork:
    """Audit rows of one batch."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._staged: list[tuple[datetime, Audit]] = []
        self._kept: list[tuple[datetime, Audit]] = []

    def lock_keys(self) -> Iterable[int]:
        """Rows claim nothing."""
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
        """A row names the plan's tenant or none."""
        now = self._clock.now()
        for part in parts:
            assert isinstance(part, Audit)
            if part.merchant_id is not None and part.merchant_id != plan.merchant_id:
                return TenantViolation(f"audit row {part.kind} of {part.subject}")
            self._staged.append((now, part))
        return None

    def keep(self) -> None:
        """Take the staged rows."""
        self._kept += self._staged
        self._staged = []

    def drop(self) -> None:
        """Forget them."""
        self._staged = []

    def statements(self) -> list[Statement]:
        """One insertion for all."""
        if not self._kept:
            return []
        rows = [part for _, part in self._kept]
        arrays: tuple[object, ...] = (
            [at for at, _ in self._kept],
            [row.stream for row in rows],
            [row.kind for row in rows],
            [row.actor for row in rows],
            [row.on_behalf_of for row in rows],
            [row.subject for row in rows],
            [row.merchant_id for row in rows],
            [row.reason for row in rows],
            [row.rule for row in rows],
            [row.request_id for row in rows],
            [row.before_digest for row in rows],
            [row.after_digest for row in rows],
            [_encoder.encode(row.facts).decode() for row in rows],
        )
        return [Statement(_INSERT, arrays, len(rows))]

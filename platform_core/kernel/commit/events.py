"""The outbox: what must follow a commit is written in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg
import msgspec

from platform_core.kernel.commit.plan import Look, Plan, Refusal, Statement
from platform_core.kernel.telemetry import current_traceparent


class Event(msgspec.Struct, frozen=True):
    """Something that happened, in the words of its capability (`payment.captured`).

    `id` is also the webhook's id; `sequence` counts the object's events from 1 without gaps and is set by the service
    together with the object's version. `body` is the encoded JSON of the object as of this commit, stored once and
    sent unchanged.
    """

    id: str
    type: str
    object_id: str
    sequence: int
    occurred_at: datetime
    body: str
    traceparent: str | None = msgspec.field(default_factory=current_traceparent)
    """The trace of the request or task that made the event, which relay, consumers and webhooks continue."""


class EventApplier:
    """Writes events; they refuse nothing."""

    part_types: tuple[type, ...] = (Event,)

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> EventWork:
        """Start on a batch."""
        return EventWork()


_INSERT = (
    "INSERT INTO outbox (id, merchant_id, type, object_id, sequence, occurred_at, body, traceparent) "
    "SELECT * FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::text[], {4}::bigint[], {5}::timestamptz[], "
    "{6}::text[], {7}::text[]) RETURNING 1"
)


class EventWork:
    """Events of one batch."""

    def __init__(self) -> None:
        self._staged: list[tuple[str | None, Event]] = []
        self._kept: list[tuple[str | None, Event]] = []

    def lock_keys(self) -> Iterable[int]:
        """Events claim nothing."""
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
            assert isinstance(part, Event)
            self._staged.append((plan.merchant_id, part))
        return None

    def keep(self) -> None:
        """Take the staged events."""
        self._kept += self._staged
        self._staged = []

    def drop(self) -> None:
        """Forget them."""
        self._staged = []

    def statements(self) -> list[Statement]:
        """One insertion for all."""
        if not self._kept:
            return []
        events = [event for _, event in self._kept]
        return [
            Statement(
                _INSERT,
                (
                    [event.id for event in events],
                    [merchant_id for merchant_id, _ in self._kept],
                    [event.type for event in events],
                    [event.object_id for event in events],
                    [event.sequence for event in events],
                    [event.occurred_at for event in events],
                    [event.body for event in events],
                    [event.traceparent for event in events],
                ),
                len(events),
            )
        ]

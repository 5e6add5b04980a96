"""Scripted faults of one app: what is to go wrong, how often, and where it did. They reach no other app.

A fault is used up in a plan, so of two processes that meet the same request's turn only one uses it, and every use is a
row before it has any effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import func, select

from platform_core.delivery.webhooks.dispatch import Meddling
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from sandbox.testbed.models import FAULT_USES, FAULTS
from sandbox.testbed.trigger_scenarios import value_at

log = structlog.get_logger(__name__)

WEBHOOK: Final = "webhook"
SHOWN_MAX: Final = 200
Effect = Literal[
    "http_status",
    "latency",
    "drop_before",
    "drop_after",
    "truncated",
    "decline",
    "user_paying",
    "webhook_before_answer",
    "webhook_lose",
    "webhook_twice",
    "webhook_late",
]
MEANING: Final[Mapping[str, tuple[str, str]]] = {
    "http_status": ("503", "Answered with this status; nothing is done."),
    "latency": ("1000", "Done so many milliseconds later."),
    "drop_before": ("", "The connection is cut; nothing is done."),
    "drop_after": ("", "Done, and the connection is cut without an answer."),
    "truncated": ("", "Done; half of the answer arrives, then the connection is cut."),
    "decline": ("decline_balance", "The simulated acquirer goes by this scenario for the order."),
    "user_paying": ("2", "The customer types a password until the acquirer is asked so often."),
    "webhook_before_answer": ("1000", "Done, and answered so many milliseconds later: webhooks come first."),
    "webhook_lose": ("", "An attempt to deliver is lost on its way; the schedule tries again."),
    "webhook_twice": ("", "A webhook is delivered twice."),
    "webhook_late": ("5", "A webhook is sent so many seconds later."),
}
"""By effect: its argument unless another is given, and what happens. Written into docs/how-to/testbed.md's table."""
_NUMBERS: Final[Mapping[str, range]] = {
    "http_status": range(400, 600),
    "latency": range(1, 60_001),
    "user_paying": range(1, 100_000),
    "webhook_before_answer": range(1, 30_001),
    "webhook_late": range(1, 31),
}
_faults = FAULTS.table
_uses = FAULT_USES.table


class FaultCreate(BaseModel):
    """What is to go wrong. `operation`: a method and path, `*` standing for anything (`POST /v1/payments/*/refunds`),
    or `webhook` for what happens to webhooks. `match`: dotted paths of the request's body, or of the event (`type`),
    and what they must hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str = Field(pattern=r"^((GET|POST|PATCH|DELETE) /v1/[!-~]{1,100}|webhook)$")
    match: Mapping[str, str | int | bool] = Field(default={}, max_length=10)
    effect: Effect
    argument: str = Field(default="", pattern=r"^[a-z0-9_-]{0,64}$")
    times: int = Field(default=1, strict=True, ge=1, le=1_000)

    @model_validator(mode="after")
    def _fits(self) -> FaultCreate:
        is_told = self.effect in ("webhook_lose", "webhook_twice", "webhook_late")
        if is_told != (self.operation == WEBHOOK):
            raise ValueError(
                "webhook_lose, webhook_twice and webhook_late go with operation webhook, and no other does"
            )
        bounds = _NUMBERS.get(self.effect)
        if bounds is not None and self.argument and not (self.argument.isdecimal() and int(self.argument) in bounds):
            raise ValueError(f"argument is a number from {bounds.start} to {bounds.stop - 1}")
        return self


class FaultRead(BaseModel):
    """A fault, and how often it is left."""

    model_config = ConfigDict(frozen=True)

    id: str
    operation: str
    match: dict[str, Any]
    effect: str
    argument: str
    times_left: int
    uses: int
    created_at: datetime


class FaultUseRead(BaseModel):
    """Once that it did go wrong."""

    model_config = ConfigDict(frozen=True)

    fault_id: str
    effect: str
    subject: str
    used_at: datetime


class FaultList(BaseModel):
    """Faults that are left, and the latest uses of the app's."""

    data: list[FaultRead]
    uses: list[FaultUseRead]


@dataclass(frozen=True, slots=True)
class Fault:
    """One that applies now."""

    id: str
    effect: str
    argument: str

    @property
    def number(self) -> int:
        """The argument as a number."""
        return int(self.argument)


@dataclass(frozen=True, slots=True)
class Faults:
    """Adds, lists, clears and uses faults. `clock`: real time."""

    database: Database
    committer: Committer
    clock: Clock
    ids: Ids

    async def add(self, who: Principal, wanted: FaultCreate, *, parts: Sequence[object] = ()) -> FaultRead:
        """A fault of the caller's app; `parts` are written with it."""
        row = {
            "id": self.ids.mint("flt"),
            "app_id": who.app_id,
            "operation": wanted.operation,
            "match": json.dumps(dict(wanted.match)),
            "effect": wanted.effect,
            "argument": wanted.argument or MEANING[wanted.effect][0],
            "times_left": wanted.times,
            "version": 1,
            "created_at": self.clock.now(),
        }
        await self.committer.commit(Plan(None, [Insert(FAULTS, row), *parts]))
        return FaultRead.model_validate({**row, "match": dict(wanted.match), "uses": 0})

    async def listed(self, who: Principal) -> FaultList:
        """The app's faults that are left, the oldest first, and its latest uses, the newest first."""
        uses = select(func.count()).where(_uses.c.fault_id == _faults.c.id).scalar_subquery()
        query = select(*_faults.c, uses.label("uses")).where(_faults.c.app_id == who.app_id, _faults.c.times_left > 0)
        latest = select(_uses).where(_uses.c.app_id == who.app_id).order_by(_uses.c.used_at.desc(), _uses.c.id.desc())
        async with self.database.read_all() as connection:
            rows = (await connection.execute(query.order_by(_faults.c.created_at).limit(SHOWN_MAX))).mappings().all()
            used = (await connection.execute(latest.limit(SHOWN_MAX))).mappings().all()
        return FaultList(
            data=[FaultRead.model_validate(dict(row)) for row in rows],
            uses=[FaultUseRead.model_validate(dict(row)) for row in used],
        )

    async def clear(self, who: Principal, *, parts: Sequence[object] = ()) -> None:
        """End all faults of the caller's app; what was used stays to be seen."""
        plan = Plan(None, [*parts])
        for row in await self._left(who.app_id):
            plan.add(Change(FAULTS, row["id"], {"times_left": 0}, expected=row["version"]))
        await self.committer.commit(plan)

    async def waiting(self, app_id: str, operation: str) -> bool:
        """Whether the app has any fault for an operation, whatever the body: a body need be read only then."""
        return any(fnmatchcase(operation, row["operation"]) for row in await self._left(app_id))

    async def use(self, app_id: str, operation: str, body: Any, *, subject: str) -> Fault | None:  # Any: JSON
        """The oldest fault of the app that fits, used up by one and noted; None when there is none."""
        for row in await self._left(app_id):
            if not fnmatchcase(operation, row["operation"]) or not _fits(row["match"], body):
                continue
            use = {
                "id": self.ids.mint("flu"),
                "fault_id": row["id"],
                "app_id": app_id,
                "effect": row["effect"],
                "subject": subject[:256],
                "used_at": self.clock.now(),
            }
            left = Change(FAULTS, row["id"], {"times_left": row["times_left"] - 1}, expected=row["version"])
            try:
                await self.committer.commit(Plan(None, [left, Insert(FAULT_USES, use)]))
            except PlanRefused:  # somebody else's request used it; the next one may be left
                continue
            log.info("sandbox.fault_used", fault=row["id"], effect=row["effect"], app=app_id, subject=subject[:256])
            return Fault(row["id"], row["effect"], row["argument"])
        return None

    async def meddle(self, app_id: str, event_type: str, event_id: str) -> Meddling | None:
        """What happens to an attempt to deliver a webhook of the app."""
        fault = await self.use(app_id, WEBHOOK, {"type": event_type}, subject=f"{event_type} {event_id}")
        if fault is None:
            return None
        is_late = fault.effect == "webhook_late"
        return Meddling(fault.effect.removeprefix("webhook_"), fault.number if is_late else 0)

    async def _left(self, app_id: str) -> Sequence[Any]:  # Any: rows by column
        query = select(_faults).where(_faults.c.app_id == app_id, _faults.c.times_left > 0)
        async with self.database.read_all() as connection:
            return list((await connection.execute(query.order_by(_faults.c.created_at, _faults.c.id))).mappings().all())


def _fits(match: Mapping[str, Any], body: Any) -> bool:  # Any: JSON
    try:
        return all(value_at(body, path) == wanted for path, wanted in match.items())
    except KeyError:
        return False

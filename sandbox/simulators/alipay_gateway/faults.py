"""Faults that an app scripts for itself: what goes wrong, how often, and with which requests.

Effects on money act in the wallet: the payment code is exchanged for one that makes the wallet do as told. Effects on
the wire act on the answer's way out. Effects on notices are taken by whoever sends them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Row, select

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Change, Committer, Insert, Plan, PlanRefused, Remove, VersionConflict
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from sandbox.simulators.alipay_gateway.models import FAULTS
from sandbox.simulators.alipay_gateway.protocol import GatewayError

log = structlog.get_logger(__name__)
TIMES_MAX: Final = 1000
LATENCY_MS_MAX: Final = 30_000
MONEY: Final = frozenset({"user_paying", "decline", "system_error", "drop_before"})
WIRE: Final = frozenset({"drop_after", "latency", "bad_signature", "http_status", "truncated"})
NOTICES: Final = frozenset({"notify_lose", "notify_twice", "notify_late", "notify_before_answer"})
BILLS: Final = frozenset({"bill_row_missing", "bill_amount", "bill_late"})
EFFECTS: Final = MONEY | WIRE | NOTICES | BILLS
_SCENARIOS: Final = {
    "ACQ.BUYER_BALANCE_NOT_ENOUGH": "decline_balance",
    "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR": "decline_limit",
}
_faults = FAULTS.table


class FaultRefused(ValueError):
    """A fault that cannot be played, in words for a person."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One use of a fault."""

    id: str
    effect: str
    argument: str

    def before(self, business: dict[str, Any]) -> dict[str, Any]:
        """The request as the fault lets it arrive. Raises what system_error says; nothing is done then."""
        if self.effect in ("system_error", "drop_before"):
            raise GatewayError("20000", "isp.unknow-error", f"未知错误（沙箱故障 {self.id}）")
        if "auth_code" not in business:
            return business
        if self.effect == "user_paying":
            return business | {"auth_code": f"sim:paying-{self.argument or '2'}:{secrets.token_hex(8)}"}
        if self.effect == "decline":
            scenario = _SCENARIOS.get(self.argument, "decline_balance")
            return business | {"auth_code": f"sim:{scenario}:{secrets.token_hex(8)}"}
        return business


class Faults:
    """Keeps and takes faults. Each use is counted on the row and logged."""

    def __init__(self, *, database: Database, committer: Committer, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._ids = ids

    async def add(
        self,
        app_id: str,
        *,
        effect: str,
        method: str = "",
        match: Mapping[str, Any] | None = None,
        argument: str = "",
        times: int = 1,
    ) -> str:
        """Script a fault; returns its id. Raises FaultRefused."""
        if effect not in EFFECTS:
            raise FaultRefused(f"There is no effect {effect!r}; choose one of: {', '.join(sorted(EFFECTS))}.")
        if not 1 <= times <= TIMES_MAX:
            raise FaultRefused(f"A fault is played 1 to {TIMES_MAX} times.")
        if effect in ("user_paying", "latency", "http_status") and not (argument or "0").isdecimal():
            raise FaultRefused(f"{effect} takes a number.")
        if effect == "latency" and int(argument or "0") > LATENCY_MS_MAX:
            raise FaultRefused(f"latency is at most {LATENCY_MS_MAX} ms.")
        if effect == "http_status" and not 400 <= int(argument or "0") <= 599:
            raise FaultRefused("http_status takes 400 to 599.")
        row = {
            "id": self._ids.mint("saf"),
            "app_id": app_id,
            "method": method,
            "match": msgspec.json.encode(dict(match or {})).decode(),
            "effect": effect,
            "argument": argument,
            "times_left": times,
            "used": 0,
            "version": 1,
            "created_at": self._clock.now(),
        }
        await self._committer.commit(Plan(None, [Insert(FAULTS, row)]))
        return str(row["id"])

    async def take(
        self, app_id: str, method: str, fields: Mapping[str, Any], *, effects: frozenset[str] = MONEY | WIRE
    ) -> Fault | None:
        """The oldest fault that fits, used up by one; None if nothing is to go wrong."""
        for row in await self.open(app_id):
            if row.effect not in effects or row.method not in ("", method) or not _fits(row.match, fields):
                continue
            values = {"times_left": row.times_left - 1, "used": row.used + 1}
            try:
                await self._committer.commit(Plan(None, [Change(FAULTS, row.id, values, expected=row.version)]))
            except PlanRefused as refused:
                if isinstance(refused.refusal, VersionConflict):
                    return await self.take(app_id, method, fields, effects=effects)
                raise
            log.info("alipay_gateway.fault", fault=row.id, effect=row.effect, app=app_id, method=method)
            return Fault(row.id, row.effect, row.argument)
        return None

    async def open(self, app_id: str) -> Sequence[Row[Any]]:
        """What is still to go wrong, the oldest first."""
        query = select(_faults).where(_faults.c.app_id == app_id, _faults.c.times_left > 0)
        async with self._database.read_auth() as connection:
            return (await connection.execute(query.order_by(_faults.c.created_at, _faults.c.id))).all()

    async def clear(self, app_id: str) -> int:
        """Forget what is still to go wrong; returns how many."""
        rows = await self.open(app_id)
        if rows:
            await self._committer.commit(Plan(None, [Remove(FAULTS, row.id) for row in rows]))
        return len(rows)


def _fits(match: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(str(fields.get(name, "")) == str(value) for name, value in match.items())

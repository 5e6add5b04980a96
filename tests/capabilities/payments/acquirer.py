"""The simulated acquirer's own book and rules, called in process: its faults at will, its clock the test's, no network.

What crosses the border is the acquirer's encoded words, read by the plugin's own reader, so that nothing of the plugin
but its HTTP and signatures is left out; those are tested over real HTTP elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import (
    DisputeNotice,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    ProviderDescription,
)
from platform_core.kernel.clock import Clock
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.registry import Registry, build
from plugins import cash
from plugins.simulated_acquirer.client import AnswerLost, Channel, NotSent
from plugins.simulated_acquirer.provider import SimulatedAcquirerProvider, notice_of
from sandbox.simulators.acquirer.book import TOLD_ONLY, Book, StoredNotice
from sandbox.simulators.acquirer.disputes import Step
from sandbox.simulators.acquirer.replies import Reply, encoded
from sandbox.simulators.acquirer.requests import (
    DisputeAct,
    DisputeQuestion,
    Evidence,
    FollowUp,
    Order,
    Part,
    PayoutOrder,
    Question,
    Scan,
    Settle,
)
from sandbox.simulators.acquirer.scenarios import named
from sandbox.simulators.acquirer.wallet import Wallet

REQUESTS = {
    "pay": Order,
    "authorize": Order,
    "precreate": Order,
    "capture": Part,
    "void": Part,
    "refund": Part,
    "settle": Settle,
    "cancel": FollowUp,
    "close": FollowUp,
    "query": Question,
    "query_refund": Question,
    "payout": PayoutOrder,
    "query_payout": Question,
    "query_dispute": DisputeQuestion,
    "submit_evidence": Evidence,
    "accept_dispute": DisputeAct,
}
DISPUTES = {"query_dispute": "query", "submit_evidence": "submit", "accept_dispute": "accept"}
Interruption = Callable[[], Awaitable[None]]


class Crash(BaseException):
    """The process dies here; as a BaseException it passes every handler that a living process has."""


class Acquirer:
    """Stands in for the HTTP client of the provider's plugin."""

    def __init__(self, clock: Clock) -> None:
        self.book = Book()
        self.wallet = Wallet(self.book, clock.now)
        self.before: dict[str, Interruption] = {}  # by operation: once, before the acquirer hears of it
        self.after: dict[str, Interruption] = {}  # once, before its answer arrives
        self.is_down = False
        self.calls: list[tuple[str, str]] = []  # operation and key, as they arrived

    async def post(
        self, channel: Channel, operation: str, body: Mapping[str, object], *, now: datetime, deadline_s: float
    ) -> bytes:
        if self.is_down:
            raise NotSent("The acquirer could not be reached.")
        await self._interrupt(self.before, operation)
        self.calls.append((operation, str(body.get("key") or body["reference"])))
        asked = REQUESTS[operation].model_validate_json(json.dumps(body))
        with self.book.transaction():
            reply = self._act(operation)(channel.setting("merchant_no"), asked)
        await self._interrupt(self.after, operation)
        return spoiled(encoded(reply.payload), reply.scenario.answer, reply.payload)

    def _act(self, operation: str) -> Callable[[str, Any], Reply]:
        act: Callable[[str, Any], Reply]
        if operation in DISPUTES:
            act = getattr(self.wallet.disputes, DISPUTES[operation])
        else:
            act = getattr(self.wallet, "query" if operation in ("query_refund", "query_payout") else operation)
        return act

    def dispute(self, key: str, amount_minor: int = 0, *, decides: str = "", reason: str = "not_received") -> str:
        """A buyer disputes what was paid under a key; returns the reference, empty if nothing is left of it."""
        with self.book.transaction():
            entry = next(entry for entry in self.book.entries() if entry.key == key)
            return self.wallet.disputes.open(entry, amount_minor=amount_minor, decides=decides, reason=reason)

    def step(self, reference: str, step: Step) -> None:
        """What the acquirer does next in a dispute."""
        with self.book.transaction():
            dispute = next(one for one in self.book.disputes() if one.reference == reference)
            self.wallet.disputes.step(dispute, step)

    async def _interrupt(self, at: dict[str, Interruption], operation: str) -> None:
        interruption = at.pop(operation, None)
        if interruption is not None:
            await interruption()

    def script(self, scenario: str, *, operation: str = "", subject: str = "", times: int = 1) -> None:
        """The next calls go by a scenario."""
        named(scenario)
        self.book.add_script(operation=operation, subject=subject, scenario=scenario, times=times)

    def forget_faults(self) -> None:
        """No script and no interruption waits any more."""
        self.before.clear()
        self.after.clear()
        self.book._db.execute("DELETE FROM script")  # the book has no word of its own for this

    def scan(self, code: str, scenario: str = "success") -> str:
        """The buyer scans a QR code; returns the status shown."""
        with self.book.transaction():
            reply = self.wallet.scan(Scan(qr_code=code, scenario=scenario))
        return str(reply.payload["status"])

    def notices(self) -> list[StoredNotice]:
        """What the acquirer wants to tell and has not told."""
        return self.book.open_notices()

    def moved(self, *kinds: str) -> dict[str, int]:
        """How often each key moved money."""
        moved: dict[str, int] = {}
        for movement in self.book.movements():
            if movement.kind not in TOLD_ONLY and (not kinds or movement.kind in kinds):
                moved[movement.key] = moved.get(movement.key, 0) + 1
        return moved

    def collected(self, keys: set[str]) -> int:
        """What the acquirer owes by its own book for these transactions: taken less returned."""
        signs = {"sale": 1, "capture": 1, "refund": -1, "cancel": -1, "refund_bounce": 1}
        signs |= {"dispute_withdrawn": -1, "dispute_won": 1}
        entries = {entry.key: entry for entry in self.book.entries()}
        total = 0
        for movement in self.book.movements():
            original = entries.get(entries[movement.key].original_key)
            is_frozen = movement.kind == "cancel" and original is not None and original.kind == "authorize"
            if movement.key in keys and not is_frozen:
                total += signs.get(movement.kind, 0) * movement.amount_minor
        return total


def spoiled(body: bytes, mode: str, payload: Mapping[str, object]) -> bytes:
    """The answer as the scenario lets it arrive."""
    if mode in ("dropped", "forged"):
        raise AnswerLost("connection_lost", "The connection ended early.")
    if mode == "broken":
        return body[: len(body) // 2]
    if mode == "wrong_amount" and isinstance(payload.get("amount_minor"), int):
        return encoded({**payload, "amount_minor": int(str(payload["amount_minor"])) + 1})
    return body


class DirectProvider(SimulatedAcquirerProvider):
    """The plugin's provider on an acquirer in process; several may be registered, each with an id of its own."""

    __slots__ = ("_id", "acquirer", "features")

    def __init__(self, id_: str, acquirer: Acquirer, *, lacks: str = "") -> None:
        """`lacks`: a feature that this one does not have."""
        super().__init__(acquirer)  # type: ignore[arg-type]  # the client's one method that is used
        self._id = id_
        self.acquirer = acquirer
        self.features = frozenset(super().describe().features - {lacks})

    def describe(self) -> ProviderDescription:
        base = super().describe()
        changed: dict[str, Any] = {name: getattr(base, name) for name in base.__dataclass_fields__}
        return ProviderDescription(**{**changed, "id": self._id, "features": self.features})

    async def parse_notice(self, notice: Notice) -> NoticeOutcome | DisputeNotice:
        """Signatures are the real plugin's matter; here the header says whether the notice is genuine."""
        if notice.headers.get("x-genuine") != "yes":
            raise NoticeRefused("bad_signature", "The notice has no valid signature.")
        return notice_of(notice.raw_body)


def registry_of(providers: list[DirectProvider]) -> Registry:
    """Cash and these providers, as plugins that were found."""

    def plugin(provider: DirectProvider) -> Plugin:
        @hookimpl
        def register_payment_provider() -> DirectProvider:
            return provider

        return Plugin(provider.describe().id, SimpleNamespace(register_payment_provider=register_payment_provider))

    registry = build([Plugin("cash", cash), *(plugin(provider) for provider in providers)])
    assert not registry.problems, registry.problems
    return registry

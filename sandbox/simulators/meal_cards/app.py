"""The network's interface: four operations by POST, each once for a key.

    /v1/charges {"key", "card", "amount_minor", "currency"}      /v1/refunds {"key", "charge", "amount_minor"}
    /v1/cancels {"key", "charge", "is_close"}                    /v1/lookups {"key"}

Requests carry `x-mealcard-shop`, `x-mealcard-time` (Unix seconds, within 300 s) and `x-mealcard-signature`, the
hexadecimal HMAC-SHA256 of path and time, each followed by a line feed, and the body. Answers carry the last over
`answer`, the request's signature and the status, each followed by a line feed, and the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.simulators.serving import Script, body_of, is_mac, lost, mac, running

WINDOW_S: Final = 300
CARD: Final = re.compile(r"66[0-9]{16}")
FAULTS: Final = frozenset(
    {"lost_after", "lost_before", "declined", "customer_paying", "unsure", "other_amount", "broken_body", "busy"}
)


def system_time() -> datetime:
    """The operating system's time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Entry:
    """One key in the network's book."""

    key: str
    kind: str
    state: str
    """DONE, PENDING, UNSURE, REFUSED or CANCELED."""
    amount_minor: int
    currency: str
    reference: str
    occurred_at: str
    code: str = "OK"
    charge: str = ""
    waits: int = 0
    """Lookups that still find it pending or unsure."""


@dataclass(slots=True)
class MealCards:
    """The network with one shop."""

    shop: str
    key: bytes = field(repr=False)
    clock: Callable[[], datetime] = system_time
    entries: dict[str, Entry] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    """How often money moved under a key."""
    script: Script = field(default_factory=lambda: Script(FAULTS))

    def routes(self) -> list[Route]:
        """Its routes."""
        return [Route("/v1/{operation}", self._serve, methods=["POST"])]

    def book(self) -> dict[str, Any]:
        """For tests. Any: JSON."""
        return {"moved": self.moved, "entries": {key: asdict(entry) for key, entry in self.entries.items()}}

    async def _serve(self, request: Request) -> Response:
        operation, raw = request.path_params["operation"], await body_of(request)
        fault = self.script.take(operation)
        if fault == "lost_before":
            return await lost(request)
        refusal = self._refusal(request, raw)
        if refusal is not None:
            return self._answer(request, 401, {"state": "REFUSED", "code": refusal, "key": ""})
        if fault == "busy":
            return self._answer(request, 429, {"state": "REFUSED", "code": "BUSY", "key": ""})
        acts = {"charges": self._charge, "refunds": self._refund, "cancels": self._cancel, "lookups": self._lookup}
        if operation not in acts:
            return self._answer(request, 404, {"state": "REFUSED", "code": "NO_OPERATION", "key": ""})
        said = acts[operation](json.loads(raw or b"{}"), fault)
        if fault == "lost_after":
            return await lost(request)
        if fault == "other_amount":
            said["amount_minor"] += 1
        return self._answer(request, 200, said, is_broken=fault == "broken_body")

    def _refusal(self, request: Request, raw: bytes | None) -> str | None:
        heads, time = request.headers, request.headers.get("x-mealcard-time", "")
        text = f"{request.url.path}\n{time}\n".encode() + (raw or b"")
        is_known = heads.get("x-mealcard-shop") == self.shop
        if raw is None or not is_known or not is_mac(self.key, text, heads.get("x-mealcard-signature", "")):
            return "SIGNATURE"
        if not time.isdigit() or abs(int(time) - self.clock().timestamp()) > WINDOW_S:
            return "TIME"
        return None

    def _charge(self, told: dict[str, Any], fault: str | None) -> dict[str, Any]:  # Any: JSON
        before = self.entries.get(told["key"])
        if before is not None:
            asked = ("charge", told["amount_minor"], told["currency"])
            same = (before.kind, before.amount_minor, before.currency) == asked
            return self._said(before) if same or before.state == "CANCELED" else _refused(told["key"], "KEY_REUSED")
        entry = self._entry(told["key"], "charge", told["amount_minor"], currency=told["currency"])
        if fault == "declined" or not CARD.fullmatch(told["card"]):
            entry.state, entry.code = "REFUSED", "BALANCE" if fault == "declined" else "CARD_UNKNOWN"
        elif fault in {"customer_paying", "unsure"}:
            entry.state, entry.waits = {"customer_paying": "PENDING", "unsure": "UNSURE"}[fault], 1
        else:
            self._move(entry.key)
        return self._said(entry)

    def _refund(self, told: dict[str, Any], _: str | None) -> dict[str, Any]:  # Any: JSON
        before = self.entries.get(told["key"])
        if before is not None:
            return self._said(before)
        charge = self.entries.get(told["charge"])
        if charge is None or charge.state != "DONE":
            return _refused(told["key"], "NOT_CHARGED")
        if told["amount_minor"] > self._left(charge):
            return _refused(told["key"], "AMOUNT")
        entry = self._entry(told["key"], "refund", told["amount_minor"], currency=charge.currency, charge=charge.key)
        self._move(entry.key)
        return self._said(entry)

    def _cancel(self, told: dict[str, Any], _: str | None) -> dict[str, Any]:  # Any: JSON
        """Undo a charge: paid it is returned, pending it is ended, unseen it is barred. A close returns no money."""
        before = self.entries.get(told["key"])
        if before is not None:
            return self._said(before)
        charge = self.entries.get(told["charge"])
        if charge is None:
            charge = self._entry(told["charge"], "charge", 0, currency="CNY")
            charge.state = "CANCELED"
        if charge.state == "DONE" and told["is_close"]:
            return _refused(told["key"], "PAID")
        returned = self._left(charge) if charge.state == "DONE" else 0
        charge.state = "CANCELED" if charge.state != "REFUSED" else charge.state
        entry = self._entry(told["key"], "cancel", returned, currency=charge.currency, charge=charge.key)
        if returned:
            self._move(entry.key)
        return self._said(entry)

    def _lookup(self, told: dict[str, Any], _: str | None) -> dict[str, Any]:  # Any: JSON
        entry = self.entries.get(told["key"])
        if entry is None:
            return {"state": "UNSEEN", "code": "UNSEEN", "key": told["key"]}
        if entry.state in {"PENDING", "UNSURE"}:
            if entry.waits == 0:
                entry.state = "DONE"
                self._move(entry.key)
            entry.waits = max(0, entry.waits - 1)
        return self._said(entry)

    def _entry(self, key: str, kind: str, amount_minor: int, *, currency: str, charge: str = "") -> Entry:
        entry = Entry(
            key=key,
            kind=kind,
            state="DONE",
            amount_minor=amount_minor,
            currency=currency,
            reference=f"mc-{len(self.entries) + 1}",
            occurred_at=self.clock().isoformat(),
            charge=charge,
        )
        self.entries[key] = entry
        return entry

    def _left(self, charge: Entry) -> int:
        refunds = (each for each in self.entries.values() if each.kind == "refund" and each.charge == charge.key)
        return charge.amount_minor - sum(each.amount_minor for each in refunds)

    def _move(self, key: str) -> None:
        self.moved[key] = self.moved.get(key, 0) + 1

    @staticmethod
    def _said(entry: Entry) -> dict[str, Any]:  # Any: JSON
        told = asdict(entry)
        if entry.state == "CANCELED":
            told |= {"state": "REFUSED", "code": "CANCELED"}
        return {name: told[name] for name in told.keys() - {"kind", "charge", "waits"}}

    def _answer(self, request: Request, status: int, said: dict[str, Any], *, is_broken: bool = False) -> Response:
        body = json.dumps(said).encode() if not is_broken else b'{"state": "DO'
        signed = f"answer\n{request.headers.get('x-mealcard-signature', '')}\n{status}\n".encode() + body
        return Response(body, status_code=status, headers={"x-mealcard-signature": mac(self.key, signed)})


def _refused(key: str, code: str) -> dict[str, Any]:  # Any: JSON
    return {"state": "REFUSED", "code": code, "key": key, "amount_minor": 0}


@contextmanager
def running_network(network: MealCards) -> Iterator[str]:
    """Run it beside a test; gives its URL."""
    with running(network.routes(), script=network.script, book=network.book) as url:
        yield url

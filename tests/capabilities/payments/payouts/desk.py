"""What tests of payouts do: destinations, payouts over HTTP, and what stands where."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import httpx

from platform_core.identity.principal import Principal
from platform_core.identity.schemas_people import DestinationPropose
from platform_core.identity.sessions import ACR_MFA
from platform_core.kernel.clock import SystemClock
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

ACCOUNT = "6222021234567890"
numbers = itertools.count(1)


def person(till: Till, person_id: str) -> Principal:
    """Somebody of the merchant's at a console, who has just given the second factor."""
    return Principal(
        kind="person",
        client_id=person_id,
        app_id="",
        merchant_id=till.merchant_id,
        standing="active",
        mode="test",
        scopes=frozenset({"payouts:write", "ledger:read", "payout_destinations:write"}),
        stores=None,
        grant_id=None,
        grant_version=0,
        token_id="ses_test",
        key_id="",
        expires_at=2**31,
        api_version="2026-11-22",
        acr=ACR_MFA,
        auth_time=int(SystemClock().now().timestamp()),
    )


async def confirm_destination(shop: Shop, till: Till, account: str = ACCOUNT) -> str:
    """One person proposes a destination, another one confirms it, and its 24 hours go by."""
    destinations = shop.platform.people.services.destinations
    wanted = DestinationPropose(currency="CNY", holder="Hutong Coffee", bank="ICBC", account=account)
    first, second = person(till, "per_first"), person(till, "per_second")
    made = await destinations.propose(first, destinations.drafted(first, wanted), wanted)
    confirmed = await destinations.decide(second, made.id, is_confirmed=True)
    assert confirmed.usable_from is not None
    if shop.clock.now() < confirmed.usable_from:
        shop.clock.advance(confirmed.usable_from - shop.clock.now() + timedelta(seconds=1))
    return made.id


async def pay_out(till: Till, amount: int = 5_000, *, key: str | None = None, **fields: Any) -> httpx.Response:
    """POST /v1/payouts."""
    body = {"out_payout_no": f"po_{next(numbers)}", "amount_minor": amount, "currency": "CNY", **fields}
    return await till.post("/payouts", body, key=key)


async def paid_out(till: Till, amount: int = 5_000, **fields: Any) -> dict[str, Any]:
    """A payout that was taken."""
    answer = await pay_out(till, amount, **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def read(till: Till, payout: dict[str, Any]) -> dict[str, Any]:
    answer = await till.get(f"/payouts/{payout['id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def janitor(shop: Shop, till: Till, *, rounds: int = 8) -> None:
    """Let the due questions be asked until the payouts have ended, at their own times."""
    for _ in range(rounds):
        open_ones = await shop.fetch(
            "SELECT 1 FROM pay_payout WHERE merchant_id = $1 AND ended_at IS NULL", till.merchant_id
        )
        due = [row for row in await shop.due_rows(till) if row.kind == "payments.payout"]
        if not open_ones or not due:
            return
        if due[0].due_at > shop.clock.now():
            shop.clock.advance(due[0].due_at - shop.clock.now())
        await shop.work_for(till)


async def events(shop: Shop, payout: dict[str, Any]) -> list[str]:
    """The payout's events; their sequence has no gap."""
    rows = await shop.fetch("SELECT sequence, type FROM outbox WHERE object_id = $1 ORDER BY sequence", payout["id"])
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["type"] for row in rows]


def sent(shop: Shop, payout_id: str) -> int:
    """How often money left for the payout, by the acquirer's own book."""
    return shop.acquirer.moved("payout").get(payout_id, 0)

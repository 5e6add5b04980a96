"""Above the policy's amount a second person decides."""

from __future__ import annotations

import httpx
import pytest

from platform_core.identity.staff import Party
from platform_core.kernel.clock import SystemClock
from tests.capabilities.payments.payouts.desk import confirm_destination, events, paid_out, pay_out, read, sent
from tests.capabilities.payments.payouts.test_payouts import stands
from tests.capabilities.payments.settlement.money import give
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refused
from tests.support.people import AtConsole, at_console
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
LARGE = 10_001


async def somebody(shop: Shop, till: Till, name: str) -> AtConsole:
    """A finance clerk of the merchant's at the console."""
    email = f"{name}.{till.merchant_id[-8:]}@shop.example"
    party = Party(kind="merchant", id=till.merchant_id)
    return await at_console(shop.platform.people, party, "finance", email=email, clock=SystemClock())


async def asks(till: Till, who: AtConsole, path: str, body: dict[str, object], key: str) -> httpx.Response:
    return await till.client.post(f"/v1{path}", json=body, headers={**who.headers(), "Idempotency-Key": key})


async def policy(shop: Shop, till: Till, above: int | None = 10_000) -> None:
    await shop.platform.payments.payout_terms.set_policy(
        till.merchant_id, currency="CNY", approval_above_minor=above, by="terminal:ops"
    )


async def test_a_large_payout_waits_for_a_second_person(shop: Shop, payee: Till) -> None:
    await policy(shop, payee)
    await give(shop, payee, 50_000)
    asking, deciding = await somebody(shop, payee, "asks"), await somebody(shop, payee, "decides")
    wanted: dict[str, object] = {"out_payout_no": "big", "amount_minor": LARGE, "currency": "CNY"}
    answer = await asks(payee, asking, "/payouts", wanted, "one")
    assert answer.status_code == 201, answer.text
    payout = answer.json()
    assert (payout["state"], payout["approval"], payout["requested_by"]) == ("created", "waiting", asking_id(payout))
    assert (await asks(payee, asking, "/payouts", wanted, "one")).json() == payout
    assert await stands(shop, payee) == (50_000 - LARGE, LARGE, 0)
    assert [row.kind for row in await shop.due_rows(payee)] == []
    path = f"/payouts/{payout['id']}/decide"
    await refused(shop, asks(payee, asking, path, {"is_approved": True}, "a"), "identity.second_person_needed", 403)
    await refused(shop, payee.post(path, {"is_approved": True}), "identity.second_person_needed", 403)
    decided = await asks(payee, deciding, path, {"is_approved": True}, "b")
    assert decided.status_code == 200, decided.text
    assert (decided.json()["state"], decided.json()["approval"]) == ("paid", "approved")
    assert decided.json()["decided_by"] not in (None, payout["requested_by"])
    assert (await asks(payee, deciding, path, {"is_approved": True}, "b")).json() == decided.json()
    await refused(shop, asks(payee, deciding, path, {"is_approved": False}, "c"), "payments.payout_not_waiting")
    assert sent(shop, payout["id"]) == 1
    assert await stands(shop, payee) == (50_000 - LARGE, 0, LARGE)
    kinds = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY position", payout["id"])
    assert [row["kind"] for row in kinds] == ["payout.created", "payout.approved"]


def asking_id(payout: dict[str, str]) -> str:
    """Whoever asked is a person."""
    assert payout["requested_by"].startswith("per_")
    return payout["requested_by"]


async def test_a_refused_payout_gives_its_money_back_unsent(shop: Shop, payee: Till) -> None:
    await policy(shop, payee)
    await give(shop, payee, 50_000)
    payout = await paid_out(payee, LARGE)
    deciding = await somebody(shop, payee, "decides")
    path, calls = f"/payouts/{payout['id']}/decide", len(shop.acquirer.calls)
    decided = await asks(payee, deciding, path, {"is_approved": False}, "b")
    assert (decided.json()["state"], decided.json()["approval"]) == ("failed", "refused")
    assert decided.json()["last_error"]["code"] == "approval_refused"
    assert (await asks(payee, deciding, path, {"is_approved": False}, "b")).json() == decided.json()
    assert len(shop.acquirer.calls) == calls
    assert await stands(shop, payee) == (50_000, 0, 0)
    assert await events(shop, payout) == ["payout.created", "payout.failed"]
    kinds = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY position", payout["id"])
    assert [row["kind"] for row in kinds] == ["payout.created", "payout.refused"]


async def test_a_payout_to_a_destination_that_was_changed_is_not_approved(shop: Shop, payee: Till) -> None:
    await policy(shop, payee)
    await give(shop, payee, 50_000)
    payout = await paid_out(payee, LARGE)
    await confirm_destination(shop, payee, "6222000000000000")
    deciding = await somebody(shop, payee, "decides")
    path = f"/payouts/{payout['id']}/decide"
    approve = asks(payee, deciding, path, {"is_approved": True}, "b")
    await refused(shop, approve, "payments.payout_destination_missing")
    assert (await asks(payee, deciding, path, {"is_approved": False}, "c")).json()["state"] == "failed"


async def test_the_policys_amount_itself_needs_nobody_and_no_policy_never_does(shop: Shop, payee: Till) -> None:
    await policy(shop, payee)
    await give(shop, payee, 50_000)
    assert (await paid_out(payee, 10_000))["approval"] == "not_needed"
    await policy(shop, payee, None)
    assert (await paid_out(payee, 20_000))["state"] == "paid"
    other = await pay_out(payee, 20_000, out_payout_no="default")
    assert (await read(payee, other.json()))["state"] == "paid"
    kinds = await shop.fetch(
        "SELECT count(*) FROM audit_row WHERE kind = 'payout_terms.set' AND merchant_id = $1", payee.merchant_id
    )
    assert kinds[0][0] == 2

"""Operations of payments as plugins use them: same service, scopes, limits and errors as over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from platform_core.contracts.rar import Detail, Limit
from platform_core.identity.schemas import GrantNarrow
from platform_core.kernel.commit import Plan
from tests.plugin_host.gate_support import Asker, enabled, facts, manifest, scopes
from tests.support.world import Till, World

pytestmark = pytest.mark.database
SCOPES = ("payments:read", "refunds:read", "refunds:write")
PLUGIN = manifest(hooks=[{"name": "on_payment_captured"}], scopes=scopes(*SCOPES))
Open = Callable[..., Asker]


@pytest.fixture
async def open_call(world: World) -> Open:
    def open_call(till: Till, *, hook_name: str = "on_payment_captured") -> Asker:
        about = facts(
            enabled(PLUGIN, grant_id=till.grant_id),
            clock=world.platform.clock,
            merchant_id=till.merchant_id,
            hook_name=hook_name,
        )
        return Asker(world.platform.plugin_host.gate.calls.open(about))

    return open_call


async def refunds(world: World) -> int:
    async with world.platform.database.read_all() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM pay_refund"))).scalar() or 0)


async def paid(till: Till, **fields: Any) -> dict[str, Any]:
    answer = await till.pay(**fields)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_reads_show_what_rest_shows(world: World, till: Till, open_call: Open) -> None:
    payment = await paid(till)
    call = open_call(till, hook_name="check_payment")
    assert await call.value("payments.get", id=payment["id"]) == (await till.get(f"/payments/{payment['id']}")).json()
    assert await call.value("payments.get", id=f"out_trade_no:{payment['out_trade_no']}") == await call.value(
        "payments.get", id=payment["id"]
    )
    listed = await call.value("payments.list", state="captured", limit=1, created_from="2020-01-01T00:00:00Z")
    over_http = (await till.get("/payments?state=captured&limit=1&created_from=2020-01-01T00:00:00Z")).json()
    assert listed["data"] == over_http["data"]
    assert await call.code("payments.list", created_from="yesterday") == "kernel.validation_failed"
    assert await call.code("payments.get", id="pay_none") == "payments.not_found"


async def test_a_refund_by_a_plugin_happens_once_under_its_key(world: World, till: Till, open_call: Open) -> None:
    payment = await paid(till)
    asked = {"payment_id": payment["id"], "out_request_no": "r1", "amount_minor": 1_000}
    first = await open_call(till).value("refunds.create", **asked, key="evt_1")
    again = await open_call(till).value("refunds.create", **asked, key="evt_1")
    assert (first["state"], first["amount_minor"], again) == ("succeeded", 1_000, first)
    assert await refunds(world) == 1
    other = open_call(till)
    assert (
        await other.code("refunds.create", **{**asked, "amount_minor": 2}, key="evt_1")
        == "kernel.idempotency_key_reused"
    )
    shown = await other.value("refunds.get", id=first["id"])
    assert shown["id"] == first["id"]
    assert await refunds(world) == 1


async def test_a_refusal_of_the_service_is_the_same_as_over_http_and_writes_nothing(
    world: World, till: Till, open_call: Open
) -> None:
    payment = await paid(till)
    asked = {"payment_id": payment["id"], "out_request_no": "r1", "amount_minor": 999_999}
    told = await open_call(till).ask("refunds.create", **asked, key="k")
    over_http = await till.post(
        f"/payments/{payment['id']}/refunds", {k: v for k, v in asked.items() if k != "payment_id"}
    )
    assert told.code == over_http.json()["code"] == "payments.refund_exceeds_refundable"
    assert await refunds(world) == 0


async def test_another_merchants_payment_is_not_there(world: World, till: Till, open_call: Open) -> None:
    theirs = await world.new_till()
    payment = await paid(theirs)
    call = open_call(till)
    assert await call.code("payments.get", id=payment["id"]) == "payments.not_found"
    asked = {"payment_id": payment["id"], "out_request_no": "r1", "is_full": True, "key": "k"}
    assert await call.code("refunds.create", **asked) == "payments.not_found"
    assert await call.code("payments.get", id=payment["id"], merchant_id=theirs.merchant_id) == "plugin.merchant_named"
    assert await refunds(world) == 0


async def test_two_calls_at_once_cannot_overspend_a_limit(world: World, open_call: Open) -> None:
    limit = Limit(per="day", amount_minor=1_000, currency="CNY")
    till = await world.new_till(details=(Detail(type="payment_refund", limits=(limit,)),))
    payment = await paid(till)

    def refund(number: int) -> Awaitable[str | None]:
        return open_call(till).code(
            "refunds.create", payment_id=payment["id"], out_request_no=f"r{number}", amount_minor=600, key=f"k{number}"
        )

    codes = await asyncio.gather(refund(1), refund(2))
    assert sorted(codes, key=str) == [None, "identity.limit_exceeded"]
    assert await refunds(world) == 1
    audits = world.platform.plugin_host.gate.audits
    assert await audits.flush()
    async with world.platform.database.read_all() as connection:
        rows = await connection.execute(
            text("SELECT facts::jsonb -> 'asks' -> 0 FROM audit_row WHERE kind = 'plugin.call_asked'")
        )
        asks = [row[0] for row in rows]
    assert sorted((ask[4], ask[5]) for ask in asks) == [("identity.limit_exceeded", None), ("ok", "payment_refund")]


async def test_a_narrowed_or_revoked_grant_is_seen_within_a_poll(world: World, till: Till, open_call: Open) -> None:
    payment = await paid(till)
    assert await open_call(till).code("payments.get", id=payment["id"]) is None
    grants, ours = world.platform.grants, {"merchant_id": till.merchant_id, "by": "per_owner"}
    await grants.narrow(till.grant_id, GrantNarrow(scopes=frozenset({"refunds:read"})), **ours)
    await world.platform.feed.poll()
    assert await open_call(till).code("payments.get", id=payment["id"]) == "identity.scope_missing"
    await grants.revoke(till.grant_id, **ours, why="requested")
    await world.platform.feed.poll()
    assert await open_call(till).code("refunds.get", id="ref_x") == "plugin.grant_needed"


async def test_without_a_grant_there_is_no_operation(world: World, till: Till) -> None:
    payment = await paid(till)
    for grant_id in (None, "gra_none"):
        about = facts(
            enabled(PLUGIN, grant_id=grant_id),
            clock=world.platform.clock,
            merchant_id=till.merchant_id,
            hook_name="on_payment_captured",
        )
        call = Asker(world.platform.plugin_host.gate.calls.open(about))
        assert await call.code("payments.get", id=payment["id"]) == "plugin.grant_needed"


async def test_a_grant_of_another_merchant_is_none(world: World, till: Till) -> None:
    theirs = await world.new_till()
    payment = await paid(till)
    about = facts(
        enabled(PLUGIN, grant_id=theirs.grant_id),
        clock=world.platform.clock,
        merchant_id=till.merchant_id,
        hook_name="on_payment_captured",
    )
    call = Asker(world.platform.plugin_host.gate.calls.open(about))
    assert await call.code("payments.get", id=payment["id"]) == "plugin.grant_needed"


async def test_a_store_of_a_plugin_is_kept_with_the_payment_or_not_at_all(
    world: World, till: Till, open_call: Open
) -> None:
    call = open_call(till, hook_name="check_payment")
    assert await call.value("state.increment", key="paid") == 1
    await world.platform.committer.commit(
        Plan(till.merchant_id, list(world.platform.plugin_host.gate.calls.close(call.handle).parts))
    )
    assert await open_call(till).value("state.get", key="paid") == {"key": "paid", "value": 1, "version": 1}

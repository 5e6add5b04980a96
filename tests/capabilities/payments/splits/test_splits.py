"""Splits over HTTP: what moves, what is refused, and what a repetition does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platform_core.kernel.commit import DueDone, Plan
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import accounts, bind, drained, plain, receivers, share, split
from tests.capabilities.payments.test_acts import refused
from tests.capabilities.payments.test_sales import read
from tests.capabilities.payments.test_settlement import settle
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_shares_are_settled_at_once_and_move_on_with_their_day(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one, two = await bind(till), await bind(till)
    answer = await split(till, payment, "s1", share(one, 1_000), share(two, bp=500))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["state"], made["amount_minor"], made["settled_minor"]) == ("settled", 1_410, 1_410)
    assert [(each["receiver_id"], each["state"], each["settled_minor"]) for each in made["shares"]] == [
        (one, "settled", 1_000),
        (two, "settled", 410),
    ]
    assert await till.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_pending": 8_151 - 1_410,
        "receiver_pending": 1_410,
        "platform_fee": 49,
    }
    amounts = (await read(till, payment))["amounts"]
    assert (amounts["split_minor"], amounts["net_minor"]) == (1_410, 8_151 - 1_410)
    assert (await shop.events(till, payment["id"]))[2:] == ["split.settled"]
    await settle(shop, till)
    assert await accounts(shop, till, "receiver_pending", "receiver_available") == {
        f"receiver_available/{one}": 1_000,
        f"receiver_available/{two}": 410,
    }
    assert (await till.balances(shop.platform))["merchant_available"] == 8_151 - 1_410
    assert await shop.due_rows(till) == []
    shown = await till.get(f"/splits/{made['id']}")
    assert shown.json() == made
    assert shown.headers["etag"]
    page = (await till.get(f"/payments/{payment['id']}/splits")).json()
    assert (page["data"], page["next_cursor"]) == ([made], None)
    expanded = await read(till, payment, "splits")
    assert expanded["splits"] == [made]


async def test_a_settled_payment_is_split_out_of_what_is_available(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    await settle(shop, till)
    one = await bind(till)
    assert (await split(till, payment, "s1", share(one, 1_000))).status_code == 201
    assert await accounts(shop, till, "merchant_available", "receiver_available", "receiver_pending") == {
        "merchant_available/": 7_151,
        f"receiver_available/{one}": 1_000,
    }


async def test_the_same_number_is_one_split_and_another_body_a_conflict(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    first = await split(till, payment, "s1", share(one, 500))
    again = await split(till, payment, "s1", share(one, 500))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    await refused(shop, split(till, payment, "s1", share(one, 501)), "payments.out_request_no_taken")
    assert await receivers(shop, till) == {one: 500}


async def test_refusals_tell_both_figures_and_write_nothing(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one, two = await bind(till), await bind(till)
    problem = await refused(
        shop, split(till, payment, "s1", share(one, 2_000), share(two, 461)), "payments.split_limit_exceeded"
    )
    assert "24.61" in problem["detail"]
    assert "24.60" in problem["detail"]
    stranger = "rcv_" + "0" * 26
    await refused(shop, split(till, payment, "s1", share(one, 1), share(stranger, 1)), "payments.receiver_not_bound")
    assert (await split(till, payment, "s1", share(one, 100))).status_code == 201
    await refused(shop, split(till, payment, "s2", share(one, 1), mode="partial"), "payments.split_mode_mixed")
    six = [share("rcv_" + str(n) * 26, 1) for n in range(6)]
    await refused(shop, split(till, payment, "s3", *six), "kernel.validation_failed", 422)
    await refused(shop, split(till, payment, "s3", share(one, 1), share(one, 1)), "kernel.validation_failed", 422)
    both = {"receiver_id": one, "amount_minor": 1, "percent_bp": 1}
    await refused(shop, split(till, payment, "s3", both), "kernel.validation_failed", 422)
    cash = (await till.pay()).json()
    await refused(shop, split(till, cash, "s1", share(one, 100)), "payments.split_needs_channel")
    other = await shop.new_till()
    await refused(shop, split(other, payment, "s4", share(one, 1)), "payments.not_found", 404)
    await refused(shop, other.get(f"/splits/{'spl_' + '0' * 26}"), "payments.not_found", 404)


async def test_partial_tells_the_result_of_each_share(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one, two, three = await bind(till), await bind(till), await bind(till)
    await till.client.delete(f"/v1/split-receivers/{two}", headers=till.headers())
    answer = await split(till, payment, "s1", share(one, 2_000), share(two, 100), share(three, 500), mode="partial")
    made = answer.json()
    assert answer.status_code == 201, answer.text
    told = [(each["state"], each["settled_minor"], (each["error"] or {}).get("code")) for each in made["shares"]]
    assert told == [
        ("settled", 2_000, None),
        ("failed", 0, "payments.receiver_not_bound"),
        ("failed", 0, "payments.split_limit_exceeded"),
    ]
    assert (made["state"], made["amount_minor"]) == ("settled", 2_000)
    assert await receivers(shop, till) == {one: 2_000}
    await refused(shop, split(till, payment, "s2", share(two, 1), mode="partial"), "payments.receiver_not_bound")


async def test_a_raised_cap_lets_more_through(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    await refused(shop, split(till, payment, "s1", share(one, 2_461)), "payments.split_limit_exceeded")
    await shop.platform.payments.receivers.set_share_cap(till.merchant_id, 10_000)
    problem = await refused(shop, split(till, payment, "s1", share(one, 8_152)), "payments.split_limit_exceeded")
    assert "unspent" in problem["detail"]
    assert (await split(till, payment, "s1", share(one, 8_151))).status_code == 201
    assert (await read(till, payment))["amounts"]["net_minor"] == 0


async def test_money_that_is_gone_refuses_a_split(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    await drained(shop, till, 8_000)
    await split(till, payment, "s1", share(one, 152))  # opens the empty accounts that it looks at
    problem = await refused(shop, split(till, payment, "s1", share(one, 152)), "payments.split_limit_exceeded")
    assert "1.52" in problem["detail"]
    assert "balance" in problem["detail"]
    assert (await split(till, payment, "s1", share(one, 151))).status_code == 201


async def test_frozen_shares_are_released_in_parts_and_the_rest_given_back(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one, two = await bind(till), await bind(till)
    made = (await split(till, payment, "s1", share(one, 1_000), share(two, 600), is_frozen=True)).json()
    assert (made["state"], made["frozen_minor"], made["gives_back_at"] is not None) == ("frozen", 1_600, True)
    assert (await till.balances(shop.platform))["merchant_split_hold"] == 1_600
    path = f"/splits/{made['id']}/release"
    too_much = {"shares": [{"receiver_id": one, "amount_minor": 1_001}], "is_final": False}
    problem = await refused(shop, till.post(path, too_much), "payments.split_release_exceeds")
    assert "10.01" in problem["detail"]
    assert "10.00" in problem["detail"]
    part = (await till.post(path, {"shares": [{"receiver_id": one, "amount_minor": 400}], "is_final": False})).json()
    assert (part["state"], part["frozen_minor"], part["settled_minor"]) == ("frozen", 1_200, 400)
    last = (await till.post(path, {"shares": [{"receiver_id": two}]})).json()
    assert [(s["state"], s["settled_minor"], s["given_back_minor"]) for s in last["shares"]] == [
        ("settled", 400, 600),
        ("settled", 600, 0),
    ]
    assert await till.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_pending": 8_151 - 1_000,
        "receiver_pending": 1_000,
        "platform_fee": 49,
    }
    await refused(shop, till.post(path, {}), "payments.split_state_conflict")
    assert (await shop.events(till, payment["id"]))[2:] == [
        "split.frozen",
        "split.released",
        "split.released",
        "split.returned",
    ]
    assert {row.kind for row in await shop.due_rows(till)} == {"payments.settle", "payments.split_settle"}
    await settle(shop, till)
    shop.later(hours=2)
    await shop.work_for(till, rounds=2)
    assert await shop.due_rows(till) == []
    assert await receivers(shop, till) == {one: 400, two: 600}
    assert (await till.balances(shop.platform))["merchant_available"] == 8_151 - 1_000


async def test_a_release_after_the_days_settlement_is_settled_too(shop: Shop, plain_seller: Till) -> None:
    """It was decided while the day was open and committed when its settlement was over: the later row finds it."""
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    made = (await split(till, payment, "s1", share(one, 1_000), is_frozen=True)).json()
    [due] = [row for row in await shop.due_rows(till) if row.kind == "payments.settle"]
    await till.post(f"/splits/{made['id']}/release", {})
    await shop.platform.committer.commit(Plan(till.merchant_id, [DueDone(due.kind, due.subject_id)]))
    shop.clock.advance(due.due_at - shop.clock.now() + timedelta(hours=1))
    await shop.work_for(till, rounds=2)
    assert await accounts(shop, till, "receiver_pending", "receiver_available") == {f"receiver_available/{one}": 1_000}


async def test_what_stays_frozen_for_30_days_goes_back(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    made = (await split(till, payment, "s1", share(one, 1_000), is_frozen=True)).json()
    await settle(shop, till)
    [due] = await shop.due_rows(till)
    assert due.due_at - shop.clock.now() < timedelta(days=30)
    shop.clock.advance(due.due_at - shop.clock.now() - timedelta(seconds=1))
    assert await shop.work_for(till) == 0
    shop.later(seconds=1)
    assert await shop.work_for(till) == 1
    shown = (await till.get(f"/splits/{made['id']}")).json()
    assert (shown["state"], shown["frozen_minor"], shown["given_back_minor"]) == ("returned", 0, 1_000)
    assert await till.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_available": 8_151,
        "platform_fee": 49,
    }
    assert (await read(till, payment))["amounts"]["split_minor"] == 0
    assert await shop.due_rows(till) == []

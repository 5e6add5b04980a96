"""Who is offered a payment: rules by hour and weight, as data that merchants change; what attempts keep of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from platform_core.capabilities.payments.channels.schemas import RoutingRuleCreate
from platform_core.capabilities.payments.routing import Wish, _rule_fits, drawn
from platform_core.capabilities.payments.terms import Rule
from platform_core.contracts.payments import ErrorClass, ProviderResult
from tests.capabilities.payments.plugins import Script
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_forms import show
from tests.capabilities.payments.test_sales import read, scan
from tests.support.world import SCOPES, Till

MAY = (*SCOPES, "channels:read", "channels:write")
database = [pytest.mark.api, pytest.mark.database]


@pytest.fixture
async def keeper(shop: Shop) -> Till:
    """A merchant's app that may change routing."""
    return await shop.new_till(scopes=MAY)


async def rule(till: Till, *accounts: str, **fields: Any) -> dict[str, Any]:
    answer = await till.post("/routing-rules", {"position": 1, "channel_account_ids": list(accounts), **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def routed(till: Till) -> dict[str, Any]:
    """Why a new payment went where it went, and where."""
    payment = await read(till, await show(till, "page"), "attempts")
    [attempt] = payment["attempts"]
    return {**attempt["route"], "account": attempt["channel_account_id"]}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [((9, 17), (9, 16), (8, 17)), ((22, 6), (22, 23, 0, 5), (6, 21)), ((0, 1), (0,), (1, 23))],
)
def test_hours_run_from_up_to_without(hours: tuple[int, int], inside: Any, outside: Any) -> None:
    window = Rule("r", None, None, None, None, (), (), *hours)
    for hour in range(24):
        expected = hour in inside if hour in (*inside, *outside) else None
        wish = Wish(form="page", currency="CNY", amount_minor=1, is_capture=True, hour=hour)
        assert expected is None or _rule_fits(window, wish) is expected, hour


@pytest.mark.unit
def test_weights_draw_every_payment_the_same_order_and_all_in_proportion() -> None:
    ids, weights = ("a", "b", "c", "d"), (700, 200, 100, 0)
    orders = {number: drawn(ids, weights, by=f"pay_{number}") for number in range(10_000)}
    assert orders == {number: drawn(ids, weights, by=f"pay_{number}") for number in range(10_000)}
    assert all(sorted(order) == list(ids) and order[-1] == "d" for order in orders.values())
    first = Counter(order[0] for order in orders.values())
    assert {id_: round(count / 100) for id_, count in first.items()} == {"a": 70, "b": 20, "c": 10}
    second = Counter(order[1] for order in orders.values() if order[0] == "a")
    assert 60 <= second["b"] * 100 / second.total() <= 73, "two thirds of what is left"


class TestRules:
    pytestmark = database

    async def test_rule_by_hour_decides_and_stays_on_the_attempt(self, shop: Shop, keeper: Till) -> None:
        second = await shop.add_second(keeper)
        hour = shop.clock.now().astimezone(ZoneInfo("Asia/Shanghai")).hour
        later = {"from": (hour + 1) % 24, "until": (hour + 2) % 24}
        made = await rule(keeper, second, keeper.channel_account_id, hours=later)
        assert (made["hours"], made["valid_until"]) == (later, None)
        now = await routed(keeper)
        assert (now["rule_id"], now["account"]) == (None, keeper.channel_account_id)
        shop.later(hours=1)
        then = await routed(keeper)
        assert then["rule_id"] == made["id"]
        assert then["account"] == second
        assert then["offered"] == [second, keeper.channel_account_id]
        assert then["inputs"] == {
            "form": "page",
            "amount_minor": 8_200,
            "currency": "CNY",
            "store_id": None,
            "hour": (hour + 1) % 24,
        }

    async def test_rule_is_replaced_in_one_moment_and_ended(self, shop: Shop, keeper: Till) -> None:
        second = await shop.add_second(keeper)
        first = await rule(keeper, second)
        assert (await routed(keeper))["rule_id"] == first["id"]
        other = await rule(keeper, keeper.channel_account_id, second, weights=[1, 0], replaces=first["id"])
        assert [one["id"] for one in (await keeper.get("/routing-rules")).json()["data"]] == [other["id"]]
        assert (await routed(keeper))["rule_id"] == other["id"]
        gone = await keeper.post(
            "/routing-rules", {"position": 1, "channel_account_ids": [second], "replaces": first["id"]}
        )
        assert gone.status_code == 404
        shown = await keeper.get(f"/routing-rules/{other['id']}")
        path, headers = f"/v1/routing-rules/{other['id']}", {"Authorization": f"Bearer {keeper.token}"}
        assert (await shop.client.delete(path, headers=headers)).status_code == 428
        stale = await shop.client.delete(path, headers={**headers, "If-Match": '"7"'})
        assert stale.status_code == 412
        ended = await shop.client.delete(path, headers={**headers, "If-Match": shown.headers["etag"]})
        assert ended.status_code == 204
        assert (await keeper.get("/routing-rules")).json()["data"] == []
        assert (await routed(keeper))["rule_id"] is None
        kinds = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY kind", other["id"])
        assert [row["kind"] for row in kinds] == ["routing_rule.added", "routing_rule.ended"]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"channel_account_ids": ["cha_" + "0" * 26]}, "payments.channel_account_unknown"),
            ({"weights": [1, 2]}, "payments.routing_rule_contradicts"),
            ({"weights": [0]}, "payments.routing_rule_contradicts"),
            ({"hours": {"from": 3, "until": 3}}, "payments.routing_rule_contradicts"),
            ({"amount_minor_min": 2, "amount_minor_max": 1}, "payments.routing_rule_contradicts"),
            ({"store_id": "sto_" + "0" * 26}, "payments.store_unknown"),
            ({"hours": {"from": 24, "until": 3}}, "kernel.validation_failed"),
            ({"form": "carrier_pigeon"}, "kernel.validation_failed"),
        ],
    )
    async def test_rule_that_fits_nothing_is_refused(
        self, shop: Shop, keeper: Till, fields: dict[str, Any], code: str
    ) -> None:
        body = {"position": 1, "channel_account_ids": [keeper.channel_account_id], **fields}
        before = await shop.counts()
        answer = await keeper.post("/routing-rules", body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert await shop.counts() == before


class TestAccounts:
    pytestmark = database

    async def test_account_is_added_changed_and_rests(self, shop: Shop, keeper: Till) -> None:
        body = {
            "provider_id": "second_acquirer",
            "name": "Second",
            "settings": {"gateway_url": "http://acquirer.invalid", "merchant_no": "M2"},
            "secrets": {"signing_key": {"value": "c2VjcmV0LXNlY3JldC1zZWNyZXQ=", "encoding": "base64"}},
        }
        made = await keeper.post("/channel-accounts", body)
        assert made.status_code == 201, made.text
        account = made.json()
        assert (account["secret_names"], account["is_active"]) == (["signing_key"], True)
        assert "c2VjcmV0" not in made.text
        shown = await keeper.get(f"/channel-accounts/{account['id']}")
        assert shown.json() == account
        listed = (await keeper.get("/channel-accounts")).json()["data"]
        assert [one["provider_id"] for one in listed] == ["simulated_acquirer", "cash", "second_acquirer"]
        await rule(keeper, account["id"])
        assert (await routed(keeper))["account"] == account["id"]
        headers = {"Authorization": f"Bearer {keeper.token}", "If-Match": shown.headers["etag"]}
        path = f"/v1/channel-accounts/{account['id']}"
        change = {"is_active": False, "secrets": {"signing_key": {"value": "another-secret-0123456789"}}}
        resting = await shop.client.patch(path, json=change, headers=headers)
        assert (resting.status_code, resting.json()["is_active"]) == (200, False)
        assert (await shop.client.patch(path, json=change, headers=headers)).status_code == 412
        [stored] = await shop.fetch("SELECT secrets FROM pay_channel_account WHERE id = $1", account["id"])
        assert "another-secret" not in stored["secrets"]
        assert stored["secrets"].count('", "') == 1, "the one before still verifies"
        refused = await keeper.pay(form="page")
        assert (refused.status_code, refused.json()["code"]) == (409, "payments.no_route")
        kinds = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY kind", account["id"])
        assert [row["kind"] for row in kinds] == ["channel_account.added", "channel_account.changed"]

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"provider_id": "nobody"}, "payments.provider_unknown"),
            ({"settings": {"gateway_url": "http://acquirer.invalid"}}, "/settings/merchant_no"),
            ({"settings": {"gateway_url": "x", "merchant_no": "M", "more": 1}}, "/settings/more"),
            ({"secrets": {"signing_key": {"value": "%%%", "encoding": "base64"}}}, "channel_secret_unreadable"),
        ],
    )
    async def test_account_that_its_provider_cannot_use_is_refused(
        self, shop: Shop, keeper: Till, fields: dict[str, Any], where: str
    ) -> None:
        settings = {"gateway_url": "http://acquirer.invalid", "merchant_no": "M2"}
        body = {"provider_id": "second_acquirer", "name": "Second", "settings": settings, **fields}
        before = await shop.counts()
        answer = await keeper.post("/channel-accounts", body)
        assert answer.status_code == 422
        assert where in answer.text
        assert await shop.counts() == before

    async def test_others_see_and_change_nothing(self, shop: Shop, keeper: Till) -> None:
        other, poor = await shop.new_till(scopes=MAY), await shop.new_till()
        made = await rule(other, other.channel_account_id)
        before = await shop.counts()
        for path in (f"/channel-accounts/{other.channel_account_id}", f"/routing-rules/{made['id']}"):
            assert (await keeper.get(path)).status_code == 404
            assert (await poor.get(path)).status_code == 403
        body = {"position": 1, "channel_account_ids": [other.channel_account_id]}
        assert (await keeper.post("/routing-rules", body)).json()["code"] == "payments.channel_account_unknown"
        assert await shop.counts() == before


class TestRetries:
    pytestmark = database

    async def test_order_that_exists_there_is_asked_about_at_once(
        self, shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Class duplicate: the provider's own word on the order counts, without waiting for the janitor."""
        provider = shop.platform.payments.service._desk.tools.providers.get("simulated_acquirer")
        real = type(provider).pay

        async def exists(self: Any, call: Any) -> ProviderResult:
            await real(self, call)
            return ProviderResult.unknown("KEY_REUSED", "It exists.", error_class=ErrorClass.DUPLICATE)

        monkeypatch.setattr(type(provider), "pay", exists)
        payment = await scan(seller)
        assert payment["state"] == "captured"
        assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]

    async def test_switch_over_follows_the_ranking_of_the_first_attempt(self, shop: Shop, seller: Till) -> None:
        """And not the merchant's own order, which a plugin had turned round; a wrong setting also calls a person."""
        second, third = await shop.add_second(seller), await shop.add_second(seller)
        ranking = [second, third, seller.channel_account_id]
        shop.plugins.scripts[seller.merchant_id] = Script(rank=lambda question: ranking)
        shop.second.script("misconfigured", operation="precreate")
        payment = await read(seller, await show(seller, "page"), "attempts")
        assert [(one["channel_account_id"], one["state"]) for one in payment["attempts"]] == [
            (second, "failed"),
            (third, "waiting_customer"),
        ]
        assert payment["attempts"][0]["error"]["class"] == "configuration"
        assert payment["attempts"][0]["route"]["ranked"] == ranking


class TestLists:
    pytestmark = database

    async def test_payments_are_found_by_customer_degradation_and_ranges(self, shop: Shop, seller: Till) -> None:
        customer = "cus_" + "0" * 26
        mine = (await seller.pay(order_minor=100, customer={"id": customer}, terminal_id="T7")).json()
        shop.later(seconds=2)
        other = (await seller.pay(order_minor=300)).json()
        await shop.fetch("UPDATE pay_payment SET degraded = '[]' WHERE id = $1", other["id"])
        moment = (shop.clock.now() - timedelta(seconds=1)).isoformat().replace("+00:00", "Z")

        async def found(query: str) -> list[str]:
            answer = await seller.get(f"/payments?{query}")
            assert answer.status_code == 200, answer.text
            return [one["id"] for one in answer.json()["data"]]

        assert await found(f"customer_id={customer}") == [mine["id"]]
        assert await found("is_degraded=true") == [other["id"]]
        assert await found("is_degraded=false") == [mine["id"]]
        assert await found("terminal_id=T7") == [mine["id"]]
        assert await found("amount_min_minor=101&amount_max_minor=300") == [other["id"]]
        assert await found(f"captured_from={moment}") == [other["id"]]
        assert await found(f"updated_to={moment}") == [mine["id"]]
        assert await found("customer_id=x") == []


@pytest.mark.unit
def test_rules_body_is_strict() -> None:
    with pytest.raises(ValueError, match="extra"):
        RoutingRuleCreate.model_validate({"position": 1, "channel_account_ids": ["cha_" + "0" * 26], "more": 1})

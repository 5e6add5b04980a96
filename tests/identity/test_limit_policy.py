"""How much money apps may be let move: a setting by currency, and what it means for a grant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from platform_core.bootstrap.platform import assemble
from platform_core.contracts.rar import LIMITS_MAX, Detail
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import GRANT_REFUSED
from platform_core.identity.grants import Grants
from platform_core.identity.limit_policy import LimitPolicy, limit_policy
from platform_core.identity.parties import Parties
from platform_core.identity.rar import DetailsRefused
from platform_core.identity.schemas import AppCreate, GrantCreate, IsvCreate
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.settings import MoneyLimits, Settings
from tests.identity.conftest import Shop, open_shop

YUAN = MoneyLimits(request_minor=100, day_minor=1_000, ceiling_minor=10_000)
DOLLAR = MoneyLimits(day_minor=200, ceiling_minor=2_000)
REFUNDS = frozenset({"refunds:write"})


def refund(*limits: tuple[str, int, str], **more: Any) -> Detail:
    """`("day", 500, "CNY")`: at most 500 fen a day."""
    found = [{"per": per, "amount_minor": value, "currency": currency} for per, value, currency in limits]
    return Detail.model_validate({"type": "payment_refund", "limits": found, **more})


def said(detail: Detail) -> set[tuple[str, int, str | None]]:
    return {(limit.per, limit.value, limit.currency) for limit in detail.limits}


@pytest.fixture
def policy() -> LimitPolicy:
    """Yuan and dollars, refunds in dollars less than the rest."""
    less = MoneyLimits(day_minor=50, ceiling_minor=500)
    return limit_policy({"CNY": {"other": YUAN}, "USD": {"other": DOLLAR, "payment_refund": less}})


@pytest.mark.unit
def test_an_app_that_asks_for_nothing_gets_the_default_of_every_currency(policy: LimitPolicy) -> None:
    [completed] = policy.complete(REFUNDS, [])
    assert said(completed) == {("request", 100, "CNY"), ("day", 1_000, "CNY"), ("day", 50, "USD")}
    [payments] = policy.complete({"payments:write"}, [])
    assert said(payments) == {
        ("request", 100, "CNY"),
        ("day", 1_000, "CNY"),
        ("day", 200, "USD"),
        ("day", 10_000, None),
    }


@pytest.mark.unit
def test_a_currency_that_was_not_asked_for_is_not_given(policy: LimitPolicy) -> None:
    [completed] = policy.complete(REFUNDS, [refund(("request", 5, "CNY"))])
    assert said(completed) == {("request", 5, "CNY"), ("day", 10_000, "CNY")}
    stores = [f"sto_{n:026}" for n in range(2)]
    apart = [refund(("day", 9_000, "CNY"), stores=stores[:1]), refund(("day", 400, "USD"), stores=stores[1:])]
    assert policy.complete(REFUNDS, apart) == tuple(apart)
    with pytest.raises(DetailsRefused):
        policy.complete(REFUNDS, [apart[0], refund(("day", 1_001, "CNY"), stores=stores[1:])])


@pytest.mark.unit
def test_a_detail_that_only_counts_is_bounded_in_every_currency(policy: LimitPolicy) -> None:
    counts = Detail.model_validate({"type": "payment_refund", "limits": [{"per": "day", "quantity": 3}]})
    [completed] = policy.complete(REFUNDS, [counts])
    assert said(completed) == {("day", 3, None), ("day", 10_000, "CNY"), ("day", 500, "USD")}


@pytest.mark.unit
@pytest.mark.parametrize("money", [{"CNY": {"other": YUAN}}, {"EUR": {"payment_create": YUAN}}, {}])
def test_a_currency_or_type_without_a_ceiling_is_refused_by_the_settings_name(
    money: dict[str, dict[str, MoneyLimits]],
) -> None:
    for wanted in (refund(("day", 1, "EUR")), refund(("day", 1, "EUR"), ("day", 1, "CNY"))):
        with pytest.raises(DetailsRefused, match=r"no ceiling for it \(ARSENAL_MONEY_LIMITS\)") as refused:
            limit_policy(money).complete(REFUNDS, [wanted])
        assert str(refused.value).isascii()
        assert "ARSENAL_MONEY_LIMITS" in refused.value.zh


@pytest.mark.unit
def test_where_no_money_is_offered_counts_alone_grant_nothing() -> None:
    counts = Detail.model_validate({"type": "payment_refund", "limits": [{"per": "day", "quantity": 3}]})
    for wanted in ([], [counts]):
        with pytest.raises(DetailsRefused, match="ARSENAL_MONEY_LIMITS"):
            limit_policy({}).complete(REFUNDS, wanted)


@pytest.mark.unit
def test_a_detail_never_outgrows_what_its_row_may_hold(policy: LimitPolicy) -> None:
    periods = ("request", "week", "month", "grant")
    full = [(per, 9, currency) for per in periods for currency in ("CNY", "USD")]
    more = [{"per": per, "quantity": 9} for per in periods[: LIMITS_MAX - len(full)]]
    wanted = refund(*full).model_dump(exclude_none=True)
    wanted["limits"] = [*wanted["limits"], *more]
    with pytest.raises(DetailsRefused, match="too many limits"):
        policy.complete(REFUNDS, [Detail.model_validate(wanted)])


@pytest.mark.unit
@pytest.mark.parametrize(
    ("money", "says"),
    [
        ({"CNY": {"payment_refunds": YUAN}}, "payment_refunds, which is no type that counts money"),
        ({"CNY": {"points_grant": YUAN}}, "points_grant, which is no type that counts money"),
        ({c: {"other": YUAN} for c in ("CNY", "USD", "EUR", "GBP", "HKD", "JPY", "SGD")}, "at most 12 limits"),
    ],
)
def test_what_cannot_be_stops_the_start(money: dict[str, dict[str, MoneyLimits]], says: str) -> None:
    with pytest.raises(ValueError, match="ARSENAL_MONEY_LIMITS.*" + says):
        limit_policy(money)


@pytest.mark.unit
def test_an_unknown_currency_stops_the_start() -> None:
    with pytest.raises(ValueError, match="ARSENAL_MONEY_LIMITS: YUAN is no currency"):
        limit_policy({"YUAN": {"other": YUAN}})


@pytest.mark.unit
@pytest.mark.parametrize(
    "value",
    [
        {"CNY": {"other": {"day_minor": 5}}},
        {"CNY": {"other": {"day_minor": 5, "ceiling_minor": 4}}},
        {"CNY": {"other": {"request_minor": 6, "day_minor": 5, "ceiling_minor": 7}}},
        {"CNY": {"other": {"day_minor": 0, "ceiling_minor": 4}}},
        {"CNY": {"other": {"day_minor": 1.5, "ceiling_minor": 4}}},
    ],
)
def test_numbers_that_make_no_sense_are_no_setting(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSENAL_MONEY_LIMITS", json.dumps(value))
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.unit
def test_the_variable_reaches_the_grants_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = {"USD": {"other": {"day_minor": 200, "ceiling_minor": 2_000}}}
    monkeypatch.setenv("ARSENAL_MONEY_LIMITS", json.dumps(wanted))
    platform = assemble(Settings(home=tmp_path), DatabaseUrls(owner="postgresql://nobody@127.0.0.1:1/none"))
    [completed] = platform.grants.policy.complete(REFUNDS, [])
    assert said(completed) == {("day", 200, "USD")}


async def give(deps: IdentityDeps, shop: Shop, app_id: str) -> None:
    wanted = GrantCreate(
        app_id=app_id,
        merchant_id=shop.merchant.id,
        mode="test",
        scopes=REFUNDS,
        details=(refund(("day", 5, "EUR")),),
        given_by="per_owner",
    )
    await Grants(deps).create(wanted)


@pytest.mark.database
async def test_only_an_owners_grant_may_name_a_currency_without_a_ceiling(deps: IdentityDeps) -> None:
    shop = await open_shop(deps, "Euro shop")
    isv = await Parties(deps).create_isv(IsvCreate(name="Lantern"))
    theirs = await Apps(deps).create_app(AppCreate(name="Hub", mode="test", api_version="2026-11-22", isv_id=isv.id))
    own = await Apps(deps).create_app(
        AppCreate(name="Till", mode="test", api_version="2026-11-22", merchant_id=shop.merchant.id)
    )
    with pytest.raises(PlatformError) as refused:
        await give(deps, shop, theirs.id)
    assert refused.value.declared is GRANT_REFUSED
    assert "no ceiling for it (ARSENAL_MONEY_LIMITS)" in refused.value.detail("en")
    assert "（ARSENAL_MONEY_LIMITS）" in refused.value.detail("zh")
    grants = Grants(deps)
    assert await grants.active_of(theirs.id, shop.merchant.id) is None
    await give(deps, shop, own.id)
    given = await grants.active_of(own.id, shop.merchant.id)
    assert given is not None
    assert given.authorization_details[0]["limits"] == [{"per": "day", "amount_minor": 5, "currency": "EUR"}]

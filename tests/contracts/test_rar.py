"""Scopes and details as data: words in both languages, strict models, sentences."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from platform_core.contracts import rar
from platform_core.contracts.rar import Detail, DetailType, Limit, check_catalogue, detail_types, type_of_scope
from platform_core.contracts.scopes import Scope, catalogue
from platform_core.kernel.i18n import Text

pytestmark = pytest.mark.unit


def detail(**fields: object) -> Detail:
    return Detail.model_validate({"type": "payment_refund", **fields})


def test_the_whole_catalogue_is_sound() -> None:
    check_catalogue()
    metered = {name for name, scope in catalogue().items() if scope.is_metered}
    assert metered == set(type_of_scope())
    assert len(detail_types()) == 13
    assert catalogue()["messages:send"].marks == "MP"
    assert catalogue()["sellers:read"].needs_step_up
    assert not catalogue()["introspect:any"].is_for_apps


@pytest.mark.parametrize(
    ("scope", "complaint"),
    [
        (Scope("shoes:read", Text(en="看鞋", zh="看鞋")), "English and in Chinese"),
        (Scope("shoes:read", Text(en="See shoes", zh="See shoes")), "English and in Chinese"),
        (Scope("shoes:write", Text(en="Sell shoes", zh="卖鞋"), marks="M"), "has 0 types"),
    ],
)
def test_a_scope_without_its_words_or_limits_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, scope: Scope, complaint: str
) -> None:
    monkeypatch.setattr(rar.scopes, "catalogue", lambda: {**catalogue(), scope.name: scope})
    with pytest.raises(ValueError, match=complaint):
        check_catalogue()


def test_a_type_that_limits_what_is_not_metered_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = DetailType(
        "shoe_sale", ("stores:read",), ("amount",), ("create",), Text(en="x", zh="鞋"), Text(en="x", zh="双")
    )
    monkeypatch.setattr(rar, "detail_types", lambda: {"shoe_sale": odd})
    with pytest.raises(ValueError, match="no metered scope"):
        check_catalogue()


@pytest.mark.parametrize(
    "limit",
    [
        {"per": "day"},
        {"per": "day", "amount_minor": 1},
        {"per": "day", "amount_minor": 1, "currency": "XXQ"},
        {"per": "day", "quantity": 1, "currency": "CNY"},
        {"per": "day", "quantity": 1, "points": 1},
        {"per": "day", "quantity": 0},
        {"per": "day", "quantity": -1},
        {"per": "day", "quantity": True},
        {"per": "day", "quantity": 10**13 + 1},
        {"per": "year", "quantity": 1},
        {"per": "day", "quantity": 1, "note": "x"},
    ],
)
def test_a_limit_is_one_measure_and_a_positive_whole_number(limit: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Limit.model_validate(limit)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "payment_theft"},
        {"actions": ["steal"]},
        {"actions": []},
        {"stores": ["sto_1"]},
        {"locations": ["ftp://x"]},
        {"limits": [{"per": "day", "points": 1}]},
        {"limits": [{"per": "day", "quantity": 1}, {"per": "day", "quantity": 2}]},
        {"actions": ["create", "create"]},
        {"privileges": ["admin"]},
    ],
)
def test_a_detail_is_what_its_type_knows(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        detail(**fields)


def test_a_detail_reads_as_a_sentence_in_both_languages() -> None:
    found = detail(
        stores=["sto_00000000000000000000000000"],
        limits=[
            {"per": "request", "amount_minor": 50_000, "currency": "CNY"},
            {"per": "week", "amount_minor": 1_234_500, "currency": "CNY"},
            {"per": "month", "quantity": 1_300},
        ],
    )
    assert found.say("en") == (
        "Refund your customers: up to CN¥500.00 at a time, CN¥12,345.00 a week, 1,300 refunds a month, "
        "in 1 chosen store(s)."
    )
    assert found.say("zh") == (
        "向顾客退款：每次不超过 ¥500.00，每周不超过 ¥12,345.00，每月不超过 1,300 笔退款，仅限 1 家指定门店。"
    )

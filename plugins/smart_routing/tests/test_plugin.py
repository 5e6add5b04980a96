"""Smart routing: what is cheaper in the end, and why."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from platform_core.contracts.fields import Money
from platform_core.contracts.payments import RouteOffer, RoutingQuestion
from platform_core.contracts.testing import FakeHost, load_plugin
from plugins.smart_routing import choose_route
from plugins.smart_routing.scoring import Prices

pytestmark = pytest.mark.unit

MANIFEST = load_plugin("plugins.smart_routing").manifest
Route = tuple[str, int, int | None, str]


def ranked(*routes: Route, host: FakeHost | None = None, **config: int) -> tuple[str, ...]:
    of = host or FakeHost(MANIFEST, config=config)
    offers = tuple(
        RouteOffer.model_validate(
            {"route_id": name, "provider_id": name, "cost_bp": cost, "success_bp": success, "health": health}
        )
        for name, cost, success, health in routes
    )
    question = RoutingQuestion(
        payment_id="pay_1", amount=Money(amount_minor=8_200, currency="CNY"), form="local", store_id=None, routes=offers
    )
    return choose_route(of.context("choose_route"), question).ids


def test_a_cheap_route_that_fails_often_costs_more() -> None:
    cheap, sure = ("cheap", 38, 9_000, "up"), ("sure", 60, 9_950, "up")
    assert ranked(cheap, sure) == ("sure", "cheap")  # 60 + 1.5 basis points against 38 + 30
    assert ranked(cheap, sure, failure_price_bp=200) == ("cheap", "sure")  # 38 + 20 against 60 + 1
    assert ranked(cheap, sure, failure_price_bp=0) == ("cheap", "sure")


def test_down_comes_last_whatever_it_costs() -> None:
    assert ranked(("a", 0, 10_000, "down"), ("b", 300, 5_000, "degraded")) == ("b", "a")


def test_degraded_and_unknown_health_have_their_price() -> None:
    assert ranked(("a", 10, None, "degraded"), ("b", 59, None, "up"), ("c", 61, None, "up")) == ("b", "a", "c")
    assert ranked(("a", 10, None, "maintenance"), ("b", 59, None, "up")) == ("b", "a")


def test_too_few_attempts_count_as_assumed() -> None:
    routes: tuple[Route, ...] = (("new", 40, None, "up"), ("old", 40, 9_700, "up"))
    assert ranked(*routes) == ("old", "new")
    assert ranked(*routes, assumed_success_bp=9_800) == ("new", "old")


def test_equal_routes_keep_the_order_of_the_merchant() -> None:
    assert ranked(("z", 38, 9_900, "up"), ("a", 38, 9_900, "up")) == ("z", "a")


def test_the_log_says_why() -> None:
    host = FakeHost(MANIFEST)
    ranked(("a", 38, 9_500, "up"), ("b", 38, 9_900, "down"), host=host)
    assert host.lines == [
        "info: routes ranked {'why': 'a: 5300 = fee 3800 + failure 1500 + health 0 (millionths); "
        "b: 9100 = fee 3800 + failure 300 + health 5000 (millionths), down'}"
    ]


def test_the_defaults_are_those_of_the_schema() -> None:
    schema = json.loads(files("plugins.smart_routing").joinpath("config.schema.json").read_bytes())
    assert Prices().model_dump() == {name: one["default"] for name, one in schema["properties"].items()}

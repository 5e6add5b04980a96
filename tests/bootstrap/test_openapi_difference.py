"""Which differences of two OpenAPI documents break a caller: each kind is planted in the served document."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_core.bootstrap.openapi import document
from platform_core.bootstrap.openapi_difference import breaking_differences, uncovered_differences
from platform_core.contracts.versions import changes

pytestmark = pytest.mark.unit
COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def served() -> dict[str, Any]:
    return document()


def schemas(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["components"]["schemas"]
    return found


def operation(made: dict[str, Any], path: str, method: str = "get") -> dict[str, Any]:
    found: dict[str, Any] = made["paths"][f"/v1{path}"][method]
    return found


BREAKING: list[tuple[str, Change]] = [
    ("settlements.get: removed", lambda made: made["paths"].pop("/v1/settlements/{settlement_id}")),
    (
        "stores.list: moved from GET /v1/stores to GET /v1/shops",
        lambda made: made["paths"].update({"/v1/shops": made["paths"].pop("/v1/stores")}),
    ),
    (
        "stores.list: needs the scope stores:write",
        lambda made: operation(made, "/stores")["security"].append({"oauth2": ["stores:write"]}),
    ),
    (
        "stores.list: needs query zone",
        lambda made: operation(made, "/stores")["parameters"].append(
            {"in": "query", "name": "zone", "required": True, "schema": {}}
        ),
    ),
    (
        "stores.list: needs header If-Match",
        lambda made: operation(made, "/stores")["parameters"].append({"$ref": "#/components/parameters/IfMatch"}),
    ),
    (
        "refunds.list: no longer takes query state",
        lambda made: operation(made, "/refunds").update(
            parameters=[one for one in operation(made, "/refunds")["parameters"] if one.get("name") != "state"]
        ),
    ),
    (
        "stores.list: query limit has maximum 50",
        lambda made: next(one for one in operation(made, "/stores")["parameters"] if one.get("name") == "limit")[
            "schema"
        ].update(maximum=50),
    ),
    (
        "payments.create: body/channel is needed",
        lambda made: schemas(made)["PaymentCreate"]["required"].append("channel"),
    ),
    (
        "payments.create: body/basket is no longer taken",
        lambda made: schemas(made)["PaymentCreate"]["properties"].pop("basket"),
    ),
    (
        "payments.create: body/form no longer takes local",
        lambda made: schemas(made)["PaymentCreate"]["properties"]["form"]["enum"].remove("local"),
    ),
    (
        "payments.create: body/is_capture no longer takes boolean",
        lambda made: schemas(made)["PaymentCreate"]["properties"]["is_capture"].update(type="string"),
    ),
    (
        "payments.create: body/basket/lines/*/name has maxLength 20",
        lambda made: schemas(made)["BasketLine"]["properties"]["name"].update(maxLength=20),
    ),
    (
        "payments.create: body/out_trade_no has another pattern",
        lambda made: schemas(made)["PaymentCreate"]["properties"]["out_trade_no"].update(pattern="^x$"),
    ),
    (
        "payments.get: 200/amounts/fee_minor is gone",
        lambda made: schemas(made)["Amounts"]["properties"].pop("fee_minor"),
    ),
    (
        "payments.get: 200/amounts/fee_minor may be left out",
        lambda made: schemas(made)["Amounts"]["required"].remove("fee_minor"),
    ),
    (
        "payments.get: 200/amounts/fee_minor may be string",
        lambda made: schemas(made)["Amounts"]["properties"]["fee_minor"].update(type="string"),
    ),
    (
        "stores.get: 200/name may be null",
        lambda made: schemas(made)["StoreRead"]["properties"].update(
            name={"anyOf": [{"type": "string"}, {"type": "null"}]}
        ),
    ),
    (
        "payments.create: no longer answers 202",
        lambda made: operation(made, "/payments", "post")["responses"].pop("202"),
    ),
]
HARMLESS: list[Change] = [
    lambda made: made["paths"].update({"/v1/new": {"get": {**operation(made, "/stores"), "operationId": "new.list"}}}),
    lambda made: schemas(made)["Amounts"]["properties"].update(tip_minor={"type": "integer"}),
    lambda made: schemas(made)["PaymentCreate"]["properties"].update(tip_minor={"type": "integer"}),
    lambda made: schemas(made)["PaymentCreate"]["required"].remove("subject"),
    lambda made: schemas(made)["PaymentCreate"]["properties"]["form"]["enum"].append("face"),
    lambda made: schemas(made)["BasketLine"]["properties"]["name"].update(maxLength=2000),
    lambda made: operation(made, "/stores").update(summary="Other words"),
    lambda made: operation(made, "/stores")["responses"].pop("422"),
    lambda made: operation(made, "/stores")["parameters"].append({"in": "query", "name": "zone", "schema": {}}),
]


@pytest.mark.parametrize(("words", "change"), BREAKING, ids=[words for words, _ in BREAKING])
def test_a_breaking_difference_is_named(served: dict[str, Any], words: str, change: Change) -> None:
    made = copy.deepcopy(served)
    change(made)
    assert words in breaking_differences(served, made)


@pytest.mark.parametrize("change", HARMLESS)
def test_growth_breaks_nothing(served: dict[str, Any], change: Change) -> None:
    made = copy.deepcopy(served)
    change(made)
    assert made != served
    assert breaking_differences(served, made) == []


def test_a_covered_difference_is_let_through(served: dict[str, Any]) -> None:
    made = copy.deepcopy(served)
    words, change = BREAKING[0]
    change(made)
    assert uncovered_differences(served, made, [words]) == []
    assert uncovered_differences(served, made, ["another: removed"]) == [words]


def test_the_served_document_breaks_no_caller_of_the_committed_one(served: dict[str, Any]) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    covered = [words for change in changes() for words in change.covers]
    assert uncovered_differences(committed, served, covered) == []

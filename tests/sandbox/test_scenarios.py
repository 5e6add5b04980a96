"""Scenarios are data: read strictly, filled from what is known, skipped where the platform lacks what they need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from platform_core.bootstrap.commands.trigger import fields_of
from platform_core.bootstrap.terminal import CliFailure
from sandbox.simulators.acquirer.scenarios import SCENARIOS as ACQUIRERS
from sandbox.testbed.trigger import Order, Player, creation, lacking
from sandbox.testbed.trigger_scenarios import SCENARIOS, Scenario, filled, read_scenarios
from sandbox.testbed.trigger_till import Till
from tests.support.world import World

pytestmark = pytest.mark.unit
OK = 'summary = "Paid."\ngroup = "payments"\n'


def test_there_are_enough_and_each_names_a_scenario_that_the_acquirer_has() -> None:
    assert len([each for each in SCENARIOS.values() if not each.needs]) >= 25
    codes = {each.acquirer.partition("-")[0] for each in SCENARIOS.values() if each.acquirer}
    assert codes <= set(ACQUIRERS)
    assert set(Counter(each.group for each in SCENARIOS.values())) >= {
        "payments", "refunds", "cancels", "unknowns", "time", "splits", "disputes", "payouts", "stickers",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('summary = "x"\n', "group"),
        (OK + "colour = 1\n", "colour"),
        (OK + '[[steps]]\ndo = "dance"\n', "do"),
        (OK + '[expect]\nstate = "captured"\nmood = "good"\n', "mood"),
        ("summary = [", "one.toml"),
    ],
)
def test_a_scenario_that_cannot_be_read_names_its_file_and_the_fault(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_scenarios(tmp_path)
    assert str(error.value).startswith("one.toml: ")


def test_places_become_values_and_an_unknown_one_is_an_error() -> None:
    known = {"payment": {"id": "pay_1", "lines": [{"sku": "a"}]}, "amount_minor": 5}
    assert filled({"a": "{amount_minor}", "b": ["x-{payment.id}"], "c": "{payment.lines.0.sku}", "d": 1}, known) == {
        "a": 5, "b": ["x-pay_1"], "c": "a", "d": 1,
    }  # fmt: skip
    with pytest.raises(KeyError, match=r"payment\.colour"):
        filled("{payment.colour}", known)


def test_what_a_platform_lacks_is_named() -> None:
    document: dict[str, Any] = {
        "paths": {"/v1/splits/{id}/release": {"post": {}}},
        "components": {"schemas": {"PaymentCreate": {"properties": {"form": {"enum": ["local"]}}}}},
    }
    needs = ["POST /v1/splits/{}/release", "POST /v1/payouts"]
    scenario = Scenario(name="n", summary="s", group="g", form="local", needs=tuple(needs))
    assert lacking(scenario, document) == ["POST /v1/payouts"]
    assert lacking(scenario.model_copy(update={"form": "preauth", "needs": ()}), document) == ["form preauth"]


def test_set_reads_json_and_refuses_an_amount_out_of_range() -> None:
    assert fields_of(["amount_minor=990001", "subject=Tea", 'metadata={"a":"b"}']) == {
        "amount_minor": 990_001, "subject": "Tea", "metadata": {"a": "b"},
    }  # fmt: skip
    for wrong in ("amount_minor=1", "amount_minor=8.5", "amount_minor=many", "amount_minor", "=1"):
        with pytest.raises(CliFailure):
            fields_of([wrong])
    order = Order(SCENARIOS["success"], "n_1", 8_200, fields={"subject": "Tea"})
    assert (creation(order)["subject"], creation(order)["auth_code"]) == ("Tea", "sim:success:n_1")


@pytest.mark.database
async def test_a_scenario_that_ends_otherwise_says_what_is_not_as_it_must_be(world: World) -> None:
    made = await world.new_till()
    till = Till(world.client, str(world.client.base_url).rstrip("/"), "", "")
    till._token, till._until = made.token, float("inf")
    player = Player(till, acquirer_url=world.acquirer_url, end_within_s=0.1)
    right = await player.play(Order(SCENARIOS["cash"], "right_1", 8_200))
    assert (right.fault, right.payment["state"]) == ("", "captured")
    wrong = SCENARIOS["cash"].model_copy(update={"expect": SCENARIOS["refund-too-much"].expect})
    played = await player.play(Order(wrong, "wrong_1", 8_200))
    assert played.fault == f"cash {played.payment['id']}: refunded_minor is 0, not 4920"
    twice = await player.play(Order(SCENARIOS["duplicate-number"].model_copy(update={"form": "local"}), "two_1", 50))
    assert twice.fault == ""
    unread = {"reads": ({"path": "/transfers", "contains": {"code": "no_such"}},)}
    unmet = Scenario.model_validate({**SCENARIOS["cash"].model_dump(), "expect": unread})
    fault = (await player.play(Order(unmet, "three_1", 50))).fault
    assert fault.endswith("/transfers has no {'code': 'no_such'}")

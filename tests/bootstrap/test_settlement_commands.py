"""`arsenal settlement` and `arsenal payout`: what the operator sets and books, and by whom."""

from __future__ import annotations

import pytest

from tests.bootstrap.conftest import CommandLine, one_document

pytestmark = pytest.mark.database


def told(line: CommandLine, *arguments: str, by: str = "ann") -> dict[str, object]:
    result = line.run(*arguments, "--json", LOGNAME=by)
    assert result.exit_code == 0, result.output
    return one_document(result.stdout)


def test_the_operators_side_of_settlement_and_payouts(command_line: CommandLine) -> None:
    merchant = str(told(command_line, "merchant", "create", "--name", "Tea", "--industry", "restaurant")["id"])
    told(command_line, "settlement", "add-holiday", "2099-01-01", "--name", "New Year")
    assert told(command_line, "settlement", "holidays") == {"holidays": [{"day": "2099-01-01", "name": "New Year"}]}
    told(command_line, "settlement", "remove-holiday", "2099-01-01")
    kept = told(command_line, "settlement", "set-reserve", merchant, "--rate-bp", "500", "--days", "30")
    assert (kept["rate_bp"], kept["held_days"], kept["currency"]) == (500, 30, "CNY")
    unknown = command_line.run("settlement", "book-acquirer-payout", "cha_none", "--gross", "5", "--reference", "B")
    assert unknown.exit_code == 1
    policy = told(command_line, "payout", "set-policy", merchant, "--approval-above", "500.00")
    assert policy == {"currency": "CNY", "approval_above_minor": 50_000}
    line = ("--amount", "12.34", "--bank-account", "icbc-1", "--reference", "L1")
    made = told(command_line, "payout", "top-up", merchant, *line)
    alone = command_line.run("payout", "confirm-top-up", str(made["id"]), "--json", LOGNAME="ann")
    assert (alone.exit_code, one_document(alone.stdout)["error"]["code"]) == (1, "identity.second_person_needed")
    booked = told(command_line, "payout", "confirm-top-up", str(made["id"]), by="bob")
    assert (booked["state"], booked["amount_minor"]) == ("booked", 1_234)
    again = told(command_line, "payout", "top-up", merchant, *line[:-1], "L2")
    assert told(command_line, "payout", "refuse-top-up", str(again["id"]), by="bob")["state"] == "refused"

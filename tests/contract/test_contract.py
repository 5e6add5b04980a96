"""The contract itself: light, consistent, and its examples run."""

from __future__ import annotations

import doctest
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from platform_core.contracts import payments
from platform_core.contracts.payments import RETRY_RULES, ErrorClass, ProviderResult, RetryRule
from platform_core.plugin_host.discovery import catalogue

pytestmark = pytest.mark.contract
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_the_contract_loads_nothing_heavy() -> None:
    """Payloads are pydantic's, which a zygote loads once for all its workers; nothing else comes with them."""
    code = (
        "import sys, platform_core.contracts.payments, platform_core.contracts.plugin;"
        "print([m for m in ('sqlmodel', 'sqlalchemy', 'httpx', 'asyncio', 'babel', 'fastapi') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_reference_example_of_every_hook_runs() -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name, spec in catalogue().items():
        for example in finder.find(spec.function, name):
            assert example.examples, name
            assert runner.run(example).failed == 0, name


def test_every_error_class_has_the_next_step_of_the_specification() -> None:
    assert set(RETRY_RULES) == set(ErrorClass)
    again = RetryRule(same_after_s=(0.2, 1.0), may_try_other=True)
    assert RETRY_RULES[ErrorClass.NOT_SENT] == RETRY_RULES[ErrorClass.BUSY] == again
    other = {name for name, rule in RETRY_RULES.items() if rule.may_try_other}
    assert other == {ErrorClass.NOT_SENT, ErrorClass.BUSY, ErrorClass.DECLINED_TRY_OTHER, ErrorClass.CONFIGURATION}
    assert {name for name, rule in RETRY_RULES.items() if rule.asks != "nothing"} == {
        ErrorClass.DUPLICATE,
        ErrorClass.UNKNOWN,
    }
    assert {name for name, rule in RETRY_RULES.items() if rule.is_alert} == {
        ErrorClass.INVALID_REQUEST,
        ErrorClass.CONFIGURATION,
    }


def test_an_unknown_error_is_never_a_failure() -> None:
    with pytest.raises(ValueError, match="answer unknown"):
        ProviderResult.failed(ErrorClass.UNKNOWN, "E_1", "Who knows.")


@pytest.mark.parametrize("error_class", [ErrorClass.DECLINED_FINAL, ErrorClass.NOT_SENT, ErrorClass.CONFIGURATION])
def test_a_decline_is_never_unknown(error_class: ErrorClass) -> None:
    with pytest.raises(ValueError, match="is a failure"):
        ProviderResult.unknown("E_1", "Refused.", error_class=error_class)


def test_success_names_amount_and_aware_moment() -> None:
    with pytest.raises(ValueError, match="aware"):
        ProviderResult.success(amount_minor=1, occurred_at=NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="below zero"):
        ProviderResult.success(amount_minor=-1, occurred_at=NOW)


def test_a_success_for_another_amount_is_unknown_and_keeps_its_reference() -> None:
    paid = ProviderResult.success(amount_minor=100, occurred_at=NOW, provider_reference="r1")
    assert paid.checked(amount_minor=100) is paid
    checked = paid.checked(amount_minor=99)
    assert checked == ProviderResult.unknown(
        payments.AMOUNT_DIFFERS,
        "The provider speaks of 100 minor units; 99 were asked.",
        provider_reference="r1",
    )

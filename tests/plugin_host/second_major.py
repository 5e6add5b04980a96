"""A second major of check_payment, as a contract of tomorrow might have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from pydantic import Field

from platform_core.contracts import hooks
from platform_core.contracts.fields import Id, Money, Payload, Result
from platform_core.contracts.payments import PaymentToCheck
from platform_core.contracts.payments import hooks as first_major
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Verdict
from tests.plugin_host.stage import payment


class PaymentToCheckV2(Payload):
    """The amount in parts."""

    payment_id: Id
    parts: tuple[Money, ...]


class VerdictV2(Result):
    """With a risk in place of a score."""

    decision: Literal["allow", "review", "deny"]
    risk: int = Field(ge=0, le=1_000)


def legacy_payment_v1(newer: PaymentToCheckV2) -> PaymentToCheck:
    """Down to major 1; leaves with contract 2.0."""
    return payment(sum(part.amount_minor for part in newer.parts)).model_copy(update={"payment_id": newer.payment_id})


def legacy_payment_v1_result(older: Verdict) -> VerdictV2:
    """Up from major 1; leaves with contract 2.0."""
    return VerdictV2(decision=older.decision, risk=older.score * 10)


def check_payment_v2(ctx: HookContext, payment: PaymentToCheckV2) -> VerdictV2:
    """Judge a payment, all of whose parts are known.

    >>> True
    True
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")


@contextmanager
def second_major(patch: pytest.MonkeyPatch, *legacy: Callable[..., object]) -> Iterator[None]:
    """A block in which the contract has it, with these functions that lead to and from the first."""
    for function in legacy:
        patch.setattr(first_major, function.__name__, function, raising=False)
    hooks.hook("check", version=2, scope="payments:read", since="1.9")(check_payment_v2)
    try:
        yield
    finally:
        del hooks._catalogue["check_payment_v2"]

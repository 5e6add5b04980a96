"""TOTP and recovery codes by themselves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from platform_core.identity.totp import (
    is_recovery,
    is_totp,
    make_recovery_codes,
    provisioning_uri,
    shown,
    tidy,
    used_step,
)

pytestmark = pytest.mark.unit
SEED = b"12345678901234567890"
VECTORS = [  # RFC 6238 Appendix B, SHA-1, the last six of its eight digits
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
]


@pytest.mark.parametrize(("at", "code"), VECTORS)
def test_codes_are_those_of_rfc_6238(at: int, code: str) -> None:
    assert used_step(SEED, code, now=datetime.fromtimestamp(at, UTC), last_step=0) == at // 30


@pytest.mark.parametrize(("late_s", "is_taken"), [(-61, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_either_way_is_taken(late_s: int, is_taken: bool) -> None:
    now = datetime.fromtimestamp(1111111110 + late_s, UTC)
    found = used_step(SEED, "050471", now=now, last_step=0)
    assert (found == 1111111110 // 30) is is_taken


def test_a_used_step_is_refused_and_so_is_every_earlier_one() -> None:
    now = datetime.fromtimestamp(1111111111, UTC)
    step = 1111111111 // 30
    assert used_step(SEED, "050471", now=now, last_step=step - 1) == step
    assert used_step(SEED, "050471", now=now, last_step=step) is None
    assert used_step(SEED, "081804", now=now, last_step=step) is None


def test_recovery_codes_read_back_as_they_are_shown() -> None:
    numbers = itertools.count()
    codes = make_recovery_codes(lambda count: next(numbers).to_bytes(count, "big"))
    assert len(set(codes)) == 10
    assert all(is_recovery(tidy(shown(code).upper())) for code in codes)
    assert not any(is_totp(code) for code in codes)


def test_what_people_type_is_tidied() -> None:
    assert tidy(" 12 34-56 ") == "123456"
    assert is_totp("123456")
    assert not is_totp("１２３４５６")
    assert not is_totp("12345")


def test_the_picture_names_account_and_issuer() -> None:
    uri = provisioning_uri(SEED, account="a@b.example")
    assert uri == "otpauth://totp/Arsenal:a%40b.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Arsenal"

"""What may be a password, and how one is kept."""

from __future__ import annotations

import asyncio
import os

import pytest
from argon2 import PasswordHasher

from platform_core.identity.passwords import WAITING_MAX, Passwords, check_choice, common_passwords, normalised
from platform_core.kernel.errors import PlatformError

pytestmark = pytest.mark.unit
GOOD = "correct horse battery staple"


@pytest.mark.parametrize(
    "password",
    [
        "elevenchars",
        "x" * 129,
        "my wangfang secret",
        "the SHOPKEEPER rests",
        "Q1W2E3R4T5Y6",
        "ｑ１ｗ２ｅ３ｒ４ｔ５ｙ６",
        "a" * 100_000,
        "",
    ],
)
def test_a_bad_choice_is_refused(password: str) -> None:
    with pytest.raises(PlatformError) as refused:
        check_choice(password, email="shopkeeper@shop.example", name="WangFang")
    assert (refused.value.code, refused.value.param) == ("identity.password_refused", "/password")


@pytest.mark.parametrize("password", [GOOD, "密码安全是每个人的事情啊呀", "twelve chars", "x9" + "yz" * 60])
def test_a_good_choice_needs_no_composition(password: str) -> None:
    assert check_choice(password, email="shopkeeper@shop.example", name="Wang Fang") is None


def test_the_list_holds_ten_thousand() -> None:
    assert len(common_passwords()) > 9_900  # some differ in case alone
    assert {"123456", "password", "qwerty"} <= common_passwords()
    assert not any(line.startswith("# ") for line in common_passwords())


async def test_the_parameters_are_those_of_the_specification() -> None:
    passwords = Passwords(os.urandom)
    stored = await passwords.hash(GOOD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(stored, GOOD)
    assert not await passwords.verify(stored, f"{GOOD}r")
    assert not passwords.is_outdated(stored)
    assert passwords.is_outdated(PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(GOOD))
    passwords.close()


async def test_two_keyboards_type_one_password() -> None:
    passwords = Passwords(os.urandom)
    stored = await passwords.hash("Ａ quiet river ﬁve")
    assert await passwords.verify(stored, "A quiet river five")
    assert normalised("\ud800x") == "x"
    passwords.close()


async def test_nobody_has_the_password_of_nobody() -> None:
    passwords = Passwords(os.urandom)
    assert not await passwords.verify(None, "")
    assert not await passwords.verify("no hash at all", GOOD)
    assert not await passwords.verify(await passwords.hash("\x00"), "x" * 2000)
    passwords.close()


async def test_at_most_four_at_once_and_a_bounded_queue() -> None:
    passwords = Passwords(os.urandom, hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    stored = await passwords.hash(GOOD)
    await passwords.verify(None, GOOD)
    outcomes = await asyncio.gather(
        *(passwords.verify(stored, GOOD) for _ in range(WAITING_MAX + 10)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
    assert [error.code for error in refused] == ["identity.sign_in_busy"] * 10
    assert outcomes.count(True) == WAITING_MAX
    assert passwords._threads._max_workers == 4
    passwords.close()

"""Test buyers: what they can pay is what is in their wallets, and it comes back when the money does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.simulators.acquirer.book import Book
from sandbox.simulators.acquirer.buyers import Buyer
from sandbox.simulators.acquirer.requests import FollowUp, Order, Part, Question, Scan
from sandbox.simulators.acquirer.wallet import Wallet

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Shop:
    """A wallet at a turned clock, and orders at it."""

    def __init__(self) -> None:
        self.now = NOW
        self.wallet = Wallet(Book(), lambda: self.now)
        self.serial = 0

    def balance(self, buyer: str) -> int:
        found = self.wallet.buyers.find(buyer)
        assert found is not None
        return found.balance_minor

    def order(self, buyer: str | None, amount_minor: int, *, kind: str = "pay") -> dict[str, object]:
        self.serial += 1
        code = "" if buyer is None else self.wallet.buyers.show_code(buyer)[0]
        asked = Order(key=f"k{self.serial}", amount_minor=amount_minor, currency="CNY", auth_code=code)
        return getattr(self.wallet, kind)("M1", asked).payload  # type: ignore[no-any-return]

    def part(self, kind: str, of: object, amount_minor: int, *, is_final: bool = True) -> dict[str, object]:
        self.serial += 1
        asked = Part(
            key=f"k{self.serial}", original_key=str(of), amount_minor=amount_minor, currency="CNY", is_final=is_final
        )
        return getattr(self.wallet, kind)("M1", asked).payload  # type: ignore[no-any-return]


def test_a_wallet_pays_what_it_holds_and_gets_back_what_is_returned() -> None:
    shop = Shop()
    shop.wallet.buyers.put(Buyer("wang", "Wang", "ready", 1_000))
    paid = shop.order("wang", 700)
    assert (paid["status"], shop.balance("wang")) == ("SUCCESS", 300)
    poor = shop.order("wang", 301)
    assert (poor["code"], shop.balance("wang")) == ("BALANCE_NOT_ENOUGH", 300)
    assert shop.part("refund", paid["key"], 200)["status"] == "SUCCESS"
    assert shop.balance("wang") == 500
    shop.wallet.cancel("M1", FollowUp(key="c1", original_key=str(paid["key"])))
    assert shop.balance("wang") == 1_000


def test_a_freeze_takes_money_out_and_what_is_not_captured_comes_back() -> None:
    shop = Shop()
    shop.wallet.buyers.put(Buyer("wang", "Wang", "ready", 1_000))
    frozen = shop.order("wang", 900, kind="authorize")
    assert shop.balance("wang") == 100
    shop.part("capture", frozen["key"], 200, is_final=False)
    shop.part("void", frozen["key"], 100)
    assert shop.balance("wang") == 200
    last = shop.part("capture", frozen["key"], 250)
    assert (last["status"], shop.balance("wang")) == ("SUCCESS", 1_000 - 450)
    shop.part("refund", last["key"], 250)
    assert shop.balance("wang") == 800


def test_the_blocked_are_refused_the_slow_take_their_time_and_strangers_always_pay() -> None:
    shop = Shop()
    before = shop.balance("blocked")
    assert (shop.order("blocked", 100)["code"], shop.balance("blocked")) == ("PAYER_BLOCKED", before)
    slow = shop.order("slow", 100)
    assert (slow["status"], shop.balance("slow")) == ("PENDING", 1_000_000)
    for _ in range(2):
        answer = shop.wallet.query("M1", Question(key=str(slow["key"]))).payload
    assert (answer["status"], shop.balance("slow")) == ("SUCCESS", 999_900)
    stranger = Order(key="s1", amount_minor=10**9, currency="CNY", auth_code="280000000000000000")
    assert shop.wallet.pay("M1", stranger).payload["status"] == "SUCCESS"


def test_a_code_is_good_once_and_for_a_minute() -> None:
    shop = Shop()
    code, _ = shop.wallet.buyers.show_code("rich")
    assert re.fullmatch(r"28[0-9]{16}", code)
    shop.now += timedelta(seconds=61)
    late = Order(key="l1", amount_minor=100, currency="CNY", auth_code=code)
    assert shop.wallet.pay("M1", late).payload["code"] == "AUTH_CODE_INVALID"
    fresh = shop.wallet.buyers.show_code("rich")[0]
    assert (
        shop.wallet.pay("M1", Order(key="l2", amount_minor=100, currency="CNY", auth_code=fresh)).payload["code"]
        == "OK"
    )
    again = shop.wallet.pay("M1", Order(key="l3", amount_minor=100, currency="CNY", auth_code=fresh)).payload
    assert (again["code"], shop.balance("rich")) == ("AUTH_CODE_INVALID", 100_000_000 - 100)


def test_a_scan_is_paid_by_the_buyer_who_scans() -> None:
    shop = Shop()
    shown = shop.order(None, 500, kind="precreate")
    scan = {"qr_code": str(shown["qr_code"])}
    assert shop.wallet.scan(Scan(**scan, buyer="poor")).payload["code"] == "BALANCE_NOT_ENOUGH"
    assert shop.wallet.scan(Scan(**scan, buyer="nobody")).payload["code"] == "NOT_FOUND"
    assert shop.wallet.scan(Scan(**scan, buyer="rich")).payload["status"] == "SUCCESS"
    assert (shop.balance("poor"), shop.balance("rich")) == (100, 100_000_000 - 500)

"""Which 200 orders the demo plays: data. The mix is fixed, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sandbox.testbed.seed import SeededMerchant
from sandbox.testbed.trigger import Order
from sandbox.testbed.trigger_scenarios import SCENARIOS

MIX: Final[Mapping[str, int]] = MappingProxyType(
    {
        "success": 60,
        "cash": 30,
        "qr": 10,
        "decline": 14,
        "blocked": 4,
        "user-is-paying": 8,
        "user-gives-up": 3,
        "timeout-after-charge": 8,
        "silent": 4,
        "unknown": 5,
        "unknown-failed": 3,
        "slow": 5,
        "duplicate-callback": 8,
        "refund": 12,
        "partial-refund": 12,
        "partial-capture": 6,
        "void": 3,
        "cancel": 5,
    }
)
ORDERS: Final = sum(MIX.values())
assert ORDERS == 200, "the demo says so everywhere"


def orders_for(merchants: Sequence[SeededMerchant], *, run: str) -> list[tuple[SeededMerchant, Order]]:
    """All orders, merchants and scenarios in turn. `run` begins each number, so that a later run repeats none."""
    left = dict(MIX)
    found: list[tuple[SeededMerchant, Order]] = []
    while left:
        for name in list(left):
            place = len(found)
            merchant = merchants[place % len(merchants)]
            store_id = merchant.store_ids[place % len(merchant.store_ids)]
            amount_minor = 500 + place * 7_919 % 20_000
            order = Order(SCENARIOS[name], f"{run}_{place:03d}", amount_minor, store_id=store_id)
            found.append((merchant, order))
            left[name] -= 1
            if not left[name]:
                del left[name]
    # What takes long begins first: who waits for the janitor must not wait for the others too.
    return sorted(found, key=lambda pair: not (pair[1].scenario.is_doubted or "user" in pair[1].scenario.name))

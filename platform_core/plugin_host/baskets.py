"""What plugins may do to a basket: the host applies each operation, judges the bounds and recomputes all totals. Pure.

A plugin's answer counts as a whole: one operation out of bounds leaves all of them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from platform_core.contracts.fields import Money
from platform_core.contracts.payments import Basket, BasketLine
from platform_core.contracts.results import BasketOperation, Discount, RefuseBenefit
from platform_core.contracts.runtime import Fault, FaultKind

MERCHANT: Final = "merchant"
_BP: Final = 10_000


@dataclass(frozen=True, slots=True)
class Applied:
    """One operation that counts, and whose it is."""

    plugin_id: str
    version: str
    operation: BasketOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """A basket with the operations so far."""

    basket: Basket
    """With totals and lines as they are now, and all operations in it."""
    gross_minor: int
    """What the basket came to before any discount of a plugin."""
    operations: tuple[Applied, ...] = ()

    @classmethod
    def untouched(cls, basket: Basket) -> Amended:
        """The basket as the host offers it. ValueError for one whose lines and total contradict each other."""
        taken = _taken(basket.operations)
        lines_minor = sum(net_minor(line) for line in basket.lines)
        off_order = sum(one.amount_minor for one in _discounts(basket.operations) if one.line_id is None)
        if lines_minor - off_order != basket.total.amount_minor or basket.total.amount_minor < 0:
            raise ValueError(f"the lines of {basket.basket_id} do not come to its total")
        return cls(basket=basket, gross_minor=basket.total.amount_minor + taken)


def net_minor(line: BasketLine) -> int:
    """What a line costs after its discounts."""
    return line.quantity * line.unit_minor - line.discount_minor


def amended(
    so_far: Amended,
    operations: Sequence[BasketOperation],
    *,
    plugin_id: str,
    version: str,
    discount_max_bp: int,
    funders: frozenset[str] = frozenset({MERCHANT}),
) -> Amended | Fault:
    """The basket after one plugin's operations, or the bound that they break; then nothing of them counts.

    Bounds: the line is there, amounts are above zero, neither a line nor the total falls below zero, all discounts
    together take off at most `discount_max_bp` of the gross total (rounded down), the funder is one of `funders`, and
    a refused benefit is one that the basket asks for.
    """
    lines = {line.line_id: line for line in so_far.basket.lines}
    total = so_far.basket.total.amount_minor
    for place, operation in enumerate(operations):
        broken = (
            _breach_of_discount(operation, lines, total_minor=total, funders=funders)
            if isinstance(operation, Discount)
            else _breach_of_refusal(operation, so_far.basket)
        )
        if broken is not None:
            return Fault(FaultKind.BAD_RESULT, f"operation {place + 1}: {broken}")
        if isinstance(operation, Discount):
            total -= operation.amount_minor
            if operation.line_id is not None:
                line = lines[operation.line_id]
                off = line.discount_minor + operation.amount_minor
                lines[line.line_id] = line.model_copy(update={"discount_minor": off})
    taken = so_far.gross_minor - total
    if taken * _BP > so_far.gross_minor * discount_max_bp:
        most = so_far.gross_minor * discount_max_bp // _BP
        return Fault(FaultKind.BAD_RESULT, f"all discounts together come to {taken}; {most} is the most")
    return _with(so_far, operations, lines=tuple(lines.values()), total=total, who=(plugin_id, version))


def _with(
    so_far: Amended,
    operations: Sequence[BasketOperation],
    *,
    lines: tuple[BasketLine, ...],
    total: int,
    who: tuple[str, str],
) -> Amended:
    basket = so_far.basket
    changed = {
        "lines": lines,
        "total": Money(amount_minor=total, currency=basket.total.currency),
        "operations": (*basket.operations, *operations),
    }
    after = Amended(
        basket=basket.model_copy(update=changed),
        gross_minor=so_far.gross_minor,
        operations=(*so_far.operations, *(Applied(*who, operation) for operation in operations)),
    )
    assert total == so_far.gross_minor - _taken(after.basket.operations), "totals are recomputed from the operations"
    return after


def _breach_of_discount(
    discount: Discount, lines: dict[str, BasketLine], *, total_minor: int, funders: frozenset[str]
) -> str | None:
    if discount.funder not in funders:
        return "another funder than the merchant needs an authorisation"
    if discount.amount_minor <= 0:
        return "a discount is above zero"
    if discount.amount_minor > total_minor:
        return f"{discount.amount_minor} is more than the {total_minor} that are left of the total"
    if discount.line_id is None:
        return None
    line = lines.get(discount.line_id)
    if line is None:
        return "there is no such line"
    if discount.amount_minor > net_minor(line):
        return f"{discount.amount_minor} is more than the {net_minor(line)} that are left of the line"
    return None


def _breach_of_refusal(refused: RefuseBenefit, basket: Basket) -> str | None:
    if refused.reference not in (basket.coupon_ids or ()):
        return "the basket asks for no such benefit"
    if any(isinstance(one, RefuseBenefit) and one.reference == refused.reference for one in basket.operations):
        return "the benefit is refused already"
    return None


def _discounts(operations: Sequence[BasketOperation]) -> list[Discount]:
    return [operation for operation in operations if isinstance(operation, Discount)]


def _taken(operations: Sequence[BasketOperation]) -> int:
    return sum(discount.amount_minor for discount in _discounts(operations))

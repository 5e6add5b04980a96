"""What the host holds an answer to beyond its type, as far as one answer and its payload can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from platform_core.contracts.payments import Basket, ReceiptToRender, RoutingQuestion
from platform_core.contracts.results import BasketOperations, Discount, Ranking, Rendered


def _basket(payload: Basket, answer: BasketOperations) -> str | None:
    left = {line.line_id: line.quantity * line.unit_minor - line.discount_minor for line in payload.lines}
    total = payload.total.amount_minor
    for operation in answer.operations:
        if not isinstance(operation, Discount):
            continue
        total -= operation.amount_minor
        if operation.line_id is not None:
            if operation.line_id not in left:
                return f"it discounts the line {operation.line_id}, which the basket does not have."
            left[operation.line_id] -= operation.amount_minor
            if left[operation.line_id] < 0:
                return f"it takes the line {operation.line_id} below zero."
    return None if total >= 0 else f"it takes the total to {total}, below zero."


def _route(payload: RoutingQuestion, answer: Ranking) -> str | None:
    unknown = sorted(set(answer.ids) - {route.route_id for route in payload.routes})
    return f"it names {', '.join(unknown)}, which was not offered." if unknown else None


def _receipt(payload: ReceiptToRender, answer: Rendered) -> str | None:
    if answer.total != payload.total:
        return f"it states the total {answer.total}; the ledger's is {payload.total}."
    if answer.media_type.partition(";")[0] != payload.media_type:
        return f"it is {answer.media_type}; {payload.media_type} was asked for."
    return None if answer.blob else "it is empty."


BOUNDS: Final[Mapping[str, Callable[[Any, Any], str | None]]] = MappingProxyType(
    {"amend_basket": _basket, "choose_route": _route, "render_receipt": _receipt}
)
"""By hook: what is wrong with an answer to a whole payload, as a sentence; None: nothing. Any: each its own types."""

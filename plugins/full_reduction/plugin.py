"""The discount: the tier that saves most, divided over the lines that take part."""

from __future__ import annotations

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import Basket, BasketLine
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import OPERATIONS_MAX, BasketOperations, Discount

from .settings import Settings
from .shares import shares

_RULE = "full-reduction"


@hookimpl
def amend_basket(ctx: HookContext, basket: Basket) -> BasketOperations:
    """Take off what the best tier gives. Lines left out by category count neither for the threshold nor for the cut.

    What plugins before this one took off is gone already. A basket with more lines than an answer may have operations
    gets one discount on the whole order.
    """
    settings = Settings.of(ctx.config)
    if basket.lines is None or basket.total is None or basket.total.currency != settings.currency:
        return BasketOperations()
    nets = {line.line_id: _net(line) for line in basket.lines if line.category not in settings.excluded_categories}
    nets = {line_id: net for line_id, net in nets.items() if net > 0}
    eligible = min(sum(nets.values()), basket.total.amount_minor)
    best = max(settings.tiers, key=lambda tier: tier.off(eligible), default=None)
    off = 0 if best is None else best.off(eligible)
    if best is None or off == 0:
        return BasketOperations()
    label = best.label_zh if ctx.locale.startswith("zh") else best.label_en
    if len(nets) > OPERATIONS_MAX:
        return BasketOperations(operations=(Discount(amount_minor=off, rule_id=_RULE, label=label),))
    parts = shares(off, nets)
    return BasketOperations(
        operations=tuple(
            Discount(line_id=line_id, amount_minor=part, rule_id=_RULE, label=label)
            for line_id, part in parts.items()
            if part > 0
        )
    )


def _net(line: BasketLine) -> int:
    return line.quantity * line.unit_minor - line.discount_minor

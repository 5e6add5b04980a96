"""The choice: routes by expected cost, those that are down last."""

from __future__ import annotations

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import RoutingQuestion
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Ranking

from .scoring import Prices, score


@hookimpl
def choose_route(ctx: HookContext, question: RoutingQuestion) -> Ranking:
    """Rank all routes that were offered. Equal ones keep the merchant's own order; the log says why each stands where.

    A health that this contract does not know counts as degraded.
    """
    prices = Prices.of(ctx.config)
    scores = [score(route, prices) for route in question.routes or ()]
    ranked = sorted(scores, key=lambda each: (each.is_down, each.total))
    if len(ranked) > 1:
        ctx.log.info("routes ranked", why="; ".join(each.explanation() for each in ranked))
    return Ranking.of([each.route_id for each in ranked])

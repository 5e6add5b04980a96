"""What a route is expected to cost, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from platform_core.contracts.payments import RouteOffer

_WHOLE_BP = 10_000


class Prices(BaseModel):
    """The merchant's settings, with the defaults of `config.schema.json`. Basis points."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    failure_price_bp: int = 300
    degraded_price_bp: int = 50
    assumed_success_bp: int = 9_500

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Prices:  # Any: JSON by the schema
        """From `ctx.config`."""
        return cls.model_validate(dict(config))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One route's expected cost in millionths of the amount, part by part."""

    route_id: str
    is_down: bool
    fee: int
    failure: int
    health: int

    @property
    def total(self) -> int:
        """All parts; the lowest is tried first."""
        return self.fee + self.failure + self.health

    def explanation(self) -> str:
        """For the log: `rt_1: 5300 = fee 3800 + failure 1500 + health 0 (millionths)`."""
        parts = f"fee {self.fee} + failure {self.failure} + health {self.health}"
        return f"{self.route_id}: {self.total} = {parts} (millionths){', down' if self.is_down else ''}"


def score(route: RouteOffer, prices: Prices) -> Score:
    """Fee, plus the share of attempts that fail at the price of a failure, plus the price of bad health. Pure."""
    success_bp = prices.assumed_success_bp if route.success_bp is None else route.success_bp
    is_well = route.health == "up"
    return Score(
        route_id=route.route_id,
        is_down=route.health == "down",
        fee=route.cost_bp * 100,
        failure=(_WHOLE_BP - success_bp) * prices.failure_price_bp // 100,
        health=0 if is_well else prices.degraded_price_bp * 100,
    )

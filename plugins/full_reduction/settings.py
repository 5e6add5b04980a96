"""The merchant's tiers, with the defaults of `config.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Tier(BaseModel):
    """From `threshold_minor` on, `off_minor` less; once, or for every such amount."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    threshold_minor: int
    off_minor: int
    is_repeated: bool = False
    label_zh: str = "满减优惠"
    label_en: str = "Spend and save"

    def off(self, eligible_minor: int) -> int:
        """What it takes off, never more than there is. Minor units."""
        times = eligible_minor // self.threshold_minor
        return min(eligible_minor, self.off_minor * (times if self.is_repeated else min(times, 1)))


class Settings(BaseModel):
    """All of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    currency: str = "CNY"
    tiers: tuple[Tier, ...] = ()
    excluded_categories: frozenset[str] = frozenset({"gift_card"})

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:  # Any: JSON by the schema
        """From `ctx.config`."""
        return cls.model_validate(dict(config))

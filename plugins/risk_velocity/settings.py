"""The merchant's settings, with the defaults of `config.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Limits are the most that is still allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    window_minutes: int = 10
    payer_payments_max: int = 5
    payer_amount_max_minor: int = 500_000
    device_payments_max: int = 8
    store_payments_max: int = 600
    operator_refunds_max: int = 10
    month_refunds_max: int = 1_000
    refund_age_days_max: int = 90
    deny_at_percent: int = 200

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:  # Any: JSON by the schema
        """From `ctx.config`."""
        return cls.model_validate(dict(config))

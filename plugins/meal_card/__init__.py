"""Meal cards: a payment provider that runs confined and reaches its network by `ctx.egress`."""

from __future__ import annotations

from .provider import MealCardProvider, register_payment_provider

__all__ = ["MealCardProvider", "register_payment_provider"]

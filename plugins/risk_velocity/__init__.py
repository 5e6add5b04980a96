"""Velocity checks: how often, and how much, within a window, by payer, device, store and operator."""

from __future__ import annotations

from .plugin import check_payment, check_refund

__all__ = ["check_payment", "check_refund"]

"""CRM sync: an outside CRM hears of every payment and refund."""

from __future__ import annotations

from .plugin import on_payment_captured, on_plugin_changed, on_refund_succeeded

__all__ = ["on_payment_captured", "on_plugin_changed", "on_refund_succeeded"]

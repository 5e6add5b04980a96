"""Cash over the counter: the smallest payment provider there is, and one to copy.

Nothing leaves the process: whoever stands at the till has the money in hand, so every answer is final.
"""

from __future__ import annotations

from plugins.cash.provider import CashProvider, register_payment_provider

__all__ = ["CashProvider", "register_payment_provider"]

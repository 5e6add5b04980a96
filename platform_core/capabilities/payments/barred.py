"""A payment that stands for an order number which was canceled before it arrived."""

from __future__ import annotations

from typing import Any

from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.models import Payment
from platform_core.kernel.http.idempotency import IdempotentRequest


def never_seen(desk: Desk, merchant_id: str, out_trade_no: str, idempotent: IdempotentRequest) -> dict[str, Any]:
    """A payment that only bars its number."""
    now = desk.now
    blank = dict.fromkeys(Payment.model_fields)
    zeros = {name: 0 for name in blank if name.endswith("_minor")}
    return {
        **blank,
        **zeros,
        "id": desk.tools.ids.mint("pay"),
        "merchant_id": merchant_id,
        "out_trade_no": out_trade_no,
        "fingerprint": idempotent.fingerprint,
        "subject": "",
        "form": "local",
        "is_capture": True,
        "state": "canceled",
        "version": 1,
        "sequence": 1,
        "currency": "XXX",
        "attempts": 0,
        "split_count": 0,
        "disputes": 0,
        "created_at": now,
        "updated_at": now,
        "expires_at": now,
        "canceled_at": now,
    }

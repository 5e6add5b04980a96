"""How payments and refunds look from outside: in answers, events and stored replies alike, so that they cannot
differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

Row = Mapping[str, Any]  # a row's columns by name, of the column types
JSON_COLUMNS = (
    "fee_plan",
    "customer",
    "basket",
    "labels",
    "next_action",
    "last_error",
    "route",
    "error",
    "settings",
    "secrets",
    "holds",
    "charge",
    "discounts",
    "risk",
    "degraded",
    "channel_account_ids",
    "split_wish",
    "split_parts",
    "split_returns",
)
_encode = msgspec.json.encode


def encoded(row: Row) -> dict[str, Any]:
    """The row as the writer wants it: JSON columns as text."""
    written = dict(row)
    for name in JSON_COLUMNS:
        value = row.get(name)
        if value is not None:
            written[name] = _encode(value).decode()
    return written


def capturable(row: Row) -> int:
    """What may still be captured."""
    if not row["authorized_minor"]:
        return 0
    return int(row["authorized_minor"] - row["captured_minor"] - row["voided_minor"] - row["capturing_minor"])


def refundable(row: Row) -> int:
    """What may still be refunded."""
    return int(row["captured_minor"] - row["refunded_minor"] - row["refunding_minor"] - row["disputed_minor"])


def payment_answer(row: Row) -> dict[str, Any]:
    """`PaymentRead`."""
    fee = row["fee_minor"] - row["fee_returned_minor"]
    net = row["captured_minor"] - row["refunded_minor"] - row["disputed_minor"] - fee - row["split_minor"]
    return {
        "id": row["id"],
        "object": "payment",
        "merchant_id": row["merchant_id"],
        "out_trade_no": row["out_trade_no"],
        "subject": row["subject"],
        "form": row["form"],
        "channel": row["channel"],
        "state": row["state"],
        "closed_reason": row["closed_reason"],
        "sequence": row["sequence"],
        "currency": row["currency"],
        "amounts": {
            "order_minor": row["order_minor"],
            "discount_merchant_minor": row["order_minor"] - row["payable_minor"],
            "payable_minor": row["payable_minor"],
            "authorized_minor": row["authorized_minor"],
            "capturable_minor": capturable(row),
            "captured_minor": row["captured_minor"],
            "refunded_minor": row["refunded_minor"],
            "refundable_minor": refundable(row),
            "disputed_minor": row["disputed_minor"],
            "fee_minor": fee,
            "split_minor": row["split_minor"],
            "net_minor": net,
        },
        "discounts": row["discounts"] or [],
        "next_action": row["next_action"],
        "last_error": row["last_error"],
        "risk": row["risk"],
        "degraded": row["degraded"] or [],
        "store_id": row["store_id"],
        "terminal_id": row["terminal_id"],
        "operator_id": row["operator_id"],
        "metadata": row["labels"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "expires_at": row["expires_at"],
        "captured_at": row["captured_at"],
        "canceled_at": row["canceled_at"],
    }


def refund_answer(row: Row) -> dict[str, Any]:
    """`RefundRead`."""
    return {
        "id": row["id"],
        "object": "refund",
        "merchant_id": row["merchant_id"],
        "payment_id": row["payment_id"],
        "out_request_no": row["out_request_no"],
        "state": row["state"],
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
        "fee_returned_minor": row["fee_returned_minor"],
        "split_returns": row["split_returns"] or [],
        "reason": row["reason"],
        "last_error": row["last_error"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def attempt_answer(row: Row) -> dict[str, Any]:
    """`AttemptRead`."""
    names = ("id", "number", "provider_id", "channel_account_id", "form", "state", "route", "error", "created_at")
    return {name: row[name] for name in names} | {"object": "attempt", "ended_at": row["ended_at"]}


def transaction_answer(row: Row) -> dict[str, Any]:
    """`TransactionRead`. `out_request_no` is the client's own number, where the act had one."""
    names = ("id", "attempt_id", "kind", "state", "amount_minor", "provider_id", "provider_reference", "error")
    numbered = row["kind"] in ("capture", "void", "refund")
    return {name: row[name] for name in names} | {
        "object": "transaction",
        "out_request_no": row["request_key"].partition(".")[0] if numbered else None,
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


def receipt_answer(row: Row, *, kept: timedelta) -> dict[str, Any]:
    """`ReceiptRead`; `kept`: how long a document is kept after it was drawn."""
    ready_at: datetime | None = row["ready_at"]
    drawn_by = None if row["plugin_id"] is None else {"plugin_id": row["plugin_id"], "version": row["plugin_version"]}
    names = ("merchant_id", "payment_id", "media_type", "rendered_media_type", "locale", "state", "currency")
    figures = ("total_minor", "refunded_minor", "size_bytes", "sha256")
    return {
        "id": row["id"],
        "object": "receipt",
        **{name: row[name] for name in (*names, *figures)},
        "drawn_by": drawn_by,
        "degraded": row["degraded"] or [],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "ready_at": ready_at,
        "kept_until": None if ready_at is None else ready_at + kept,
    }


def json_text(answer: object) -> str:
    """Encoded once: the same text is sent, stored and announced."""
    return _encode(answer).decode()

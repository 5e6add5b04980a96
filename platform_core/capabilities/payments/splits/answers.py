"""How receivers, splits and shares look from outside, in answers and events alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]  # a row's columns by name, of the column types


def receiver_answer(row: Row) -> dict[str, Any]:
    """`ReceiverRead`."""
    names = ("id", "merchant_id", "reference", "name", "type", "account")
    return {name: row[name] for name in names} | {
        "object": "split_receiver",
        "is_bound": row["bound_as"] is not None,
        "created_at": row["created_at"],
        "unbound_at": row["unbound_at"],
    }


def share_answer(row: Row) -> dict[str, Any]:
    """`ShareRead`."""
    names = ("receiver_id", "state", "percent_bp", "amount_minor", "frozen_minor", "settled_minor", "returned_minor")
    return {name: row[name] for name in names} | {
        "given_back_minor": row["given_back_minor"],
        "note": row["note"],
        "error": row["error"],
    }


def split_answer(row: Row, shares: Iterable[Row]) -> dict[str, Any]:
    """`SplitRead`; `shares` in their order."""
    names = ("id", "merchant_id", "payment_id", "out_request_no", "mode", "state", "currency", "amount_minor")
    figures = ("frozen_minor", "settled_minor", "returned_minor", "given_back_minor", "last_error")
    return {name: row[name] for name in (*names, *figures)} | {
        "object": "split",
        "shares": [share_answer(share) for share in shares],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "gives_back_at": row["gives_back_at"],
    }


def returns_answer(parts: Iterable[Row]) -> list[dict[str, Any]]:
    """`split_returns[]` of a refund, from what its transaction keeps: one entry a share."""
    back: dict[tuple[str, str], int] = {}
    for part in parts:
        key = part["split_id"], part["receiver_id"]
        back[key] = back.get(key, 0) + part["amount"]
    return [
        {"split_id": split_id, "receiver_id": receiver_id, "amount_minor": amount}
        for (split_id, receiver_id), amount in back.items()
    ]

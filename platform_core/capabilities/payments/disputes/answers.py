"""How a dispute looks from outside: in answers, events and stored replies alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]  # a row's columns by name, of the column types
_NAMES = (
    "id",
    "merchant_id",
    "payment_id",
    "transaction_id",
    "provider_id",
    "provider_reference",
    "state",
    "amount_minor",
    "held_minor",
    "currency",
    "reason",
    "is_withdrawn",
    "due_at",
    "documents",
    "created_at",
    "updated_at",
    "decided_at",
)
_DOCUMENT_NAMES = ("id", "name", "media_type", "size_bytes", "sha256", "state", "error", "created_at")


def dispute_answer(row: Row) -> dict[str, Any]:
    """`DisputeRead`."""
    return {"object": "dispute", **{name: row[name] for name in _NAMES}}


def with_evidence(row: Row, documents: Sequence[Row]) -> dict[str, Any]:
    """`DisputeDetailRead`: with what the merchant sent, the oldest first, and without its bytes."""
    shown = [{name: document[name] for name in _DOCUMENT_NAMES} for document in documents]
    return dispute_answer(row) | {"evidence": shown}

"""What is kept of one call that somebody watches: bounded, and nothing that is personal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from platform_core.contracts.fields import Payload
from platform_core.contracts.scopes import catalogue
from platform_core.plugin_host.answers import Answer, HookSeen, Seated
from platform_core.plugin_host.members import cut_of

TEXT_BYTES_MAX: Final = 16 * 1024
WORDS_LENGTH_MAX: Final = 500
_OBJECT_IDS: Final = ("refund_id", "payment_id", "basket_id", "event_id", "accrual_id", "message_id", "invoice_id")


def call_row(seen: HookSeen, answer: Answer, *, id_: str, process: str, now: datetime) -> dict[str, Any]:
    """The row of one answer. Pure."""
    seat = seen.seats.get((answer.plugin_id, answer.version))
    enabled = None if seat is None else seat.enabled
    return {
        **blank_row(id_=id_, merchant_id=seen.merchant_id, process=process, now=now),
        "kind": "call",
        "plugin_id": answer.plugin_id,
        "plugin_version": answer.version,
        "tier": answer.tier,
        "hook": answer.hook,
        "call_id": answer.call_id,
        "object_id": object_of(seen.payload),
        "store_id": seen.store_id,
        "idempotency_key": seen.idempotency_key,
        "installation_id": "" if enabled is None else enabled.installation_id,
        "config_revision": 0 if enabled is None else enabled.revision,
        "fields": " ".join(answer.fields),
        "withheld": " ".join(answer.withheld),
        "payload": None if seat is None or seen.payload is None else payload_shown(seat, seen.payload),
        "outcome": answer.outcome,
        "detail": "" if answer.fault is None else answer.fault.detail[:WORDS_LENGTH_MAX],
        "answer": None if answer.fault is not None else answer_shown(answer.value),
        "result": "" if seen.result is None else (answer_shown(seen.result) or "")[:WORDS_LENGTH_MAX],
        "took_us": round(answer.ms * 1000),
        "deadline_ms": answer.deadline_ms,
        "is_used": answer.is_used,
    }


def blank_row(*, id_: str, merchant_id: str, process: str, now: datetime) -> dict[str, Any]:
    """A row that tells of no call. Pure."""
    texts = dict.fromkeys(
        ("plugin_id", "plugin_version", "tier", "hook", "call_id", "object_id", "idempotency_key", "installation_id",
         "fields", "withheld", "outcome", "detail", "result"), "",
    )  # fmt: skip
    return {
        **texts,
        "id": id_,
        "merchant_id": merchant_id,
        "process": process,
        "is_development": False,
        "seen_at": now,
        "store_id": None,
        "config_revision": 0,
        "payload": None,
        "answer": None,
        "took_us": 0,
        "deadline_ms": 0,
        "is_used": False,
    }


def object_of(payload: Payload | None) -> str:
    """The id of what the hook is asked about; empty where it has none."""
    values: Mapping[str, object] = {} if payload is None else payload.__dict__
    return next((str(values[name]) for name in _OBJECT_IDS if values.get(name)), "")


def payload_shown(seat: Seated, payload: Payload) -> str | None:
    """What the plugin was told, as JSON, with personal fields withheld besides; None for one that is too long."""
    enabled, spec = seat.enabled, seat.major.spec
    use = enabled.release.manifest.hook(spec.name)
    known = catalogue()
    granted = frozenset(name for name in enabled.scopes if name in known and not known[name].is_personal)
    cut = cut_of(spec, fields=() if use is None else use.fields, granted=granted)
    text = cut.apply(seat.major.payload_from(payload)).model_dump_json()
    return text if len(text.encode()) <= TEXT_BYTES_MAX else None


def answer_shown(value: object) -> str | None:
    """An answer as JSON; of a document's bytes only their number. None for one that is too long."""
    if not isinstance(value, BaseModel):
        return repr(value)[:WORDS_LENGTH_MAX]
    blob = getattr(value, "blob", None)
    text = value.model_dump_json(exclude={"blob"} if isinstance(blob, bytes) else None)
    if isinstance(blob, bytes):
        text = f'{text[:-1]},"blob_bytes":{len(blob)}}}'
    return text if len(text.encode()) <= TEXT_BYTES_MAX else None

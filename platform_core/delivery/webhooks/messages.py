"""The body of a webhook, made once for an event and a version of the interface, then sent unchanged."""

from __future__ import annotations

from datetime import UTC
from typing import Final

import msgspec

from platform_core.delivery.catalogue import EventCatalogue, EventSeen

MESSAGE_BYTES_MAX: Final = 20_000


def message_id(event_id: str, api_version: str) -> str:
    """The row of an event's message in one version of the interface."""
    return f"{event_id}:{api_version}"


def encode_message(event: EventSeen, *, catalogue: EventCatalogue, api_version: str, mode: str) -> bytes:
    """The bytes to sign and send, in the endpoint's version: at most 20,000, else thin, with the path of the object."""
    kind, versions = catalogue.kinds[event.type], catalogue.versions
    head = {
        "type": event.type,
        "timestamp": event.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "object": event.object_id,
        "sequence": event.sequence,
        "api_version": api_version,
        "mode": mode,
        "merchant": event.merchant_id,
    }
    data: object = msgspec.Raw(event.body.encode())
    if api_version != versions.newest:
        data = versions.downgrade_event(event.type, msgspec.json.decode(event.body), version=api_version)
    body = msgspec.json.encode({**head, "data": data})
    if len(body) <= MESSAGE_BYTES_MAX:
        return body
    return msgspec.json.encode({**head, "data": {"id": event.object_id, "path": kind.path.format(id=event.object_id)}})

"""Events about endpoints themselves.

`webhook_endpoint.created`, `updated`, `failing`, `disabled`, `secret_rotated`, `removed`.
They belong to no merchant, so no webhook carries them; in-house consumers (messages to the app's people, audit) follow
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from platform_core.kernel.commit import Event


def endpoint_event(
    type_: str,
    *,
    event_id: str,
    endpoint_id: str,
    app_id: str,
    sequence: int,
    occurred_at: datetime,
    facts: Mapping[str, object],
) -> Event:
    """An event of an endpoint; `sequence` is the endpoint's version after the change.

    Never a secret among the facts.
    """
    body = msgspec.json.encode({"id": endpoint_id, "app_id": app_id, **facts}).decode()
    return Event(event_id, type_, endpoint_id, sequence, occurred_at, body)

"""Lays out one delivery for each enabled plugin that hears of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from platform_core.delivery.catalogue import EventSeen
from platform_core.kernel.ids import Ids

# A plugin hears of what happens at merchants where it is enabled, through the `on_` hooks that its manifest names; of
# its own life it hears alone, and that it was disabled is the last that it hears.
_LISTENERS: Final = """
SELECT v.place, i.id AS installation_id, i.plugin_id
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[]) AS v(place, merchant_id, hook, type, object_id)
JOIN plugin_installation AS i ON i.merchant_id = v.merchant_id
  AND (v.hook <> 'on_plugin_changed' OR i.id = v.object_id)
  AND (i.state = 'enabled' OR i.state = 'disabled' AND v.type = 'plugin.disabled')
JOIN plugin_release AS r ON r.id = i.release_id AND v.hook = ANY (string_to_array(r.hooks, ' '))
"""
_ADD: Final = """
INSERT INTO plugin_delivery (id, merchant_id, installation_id, plugin_id, event_id, event_type, hook, object_id,
  sequence, traceparent, state, due_at, wake_at, created_at)
SELECT v.*, 'pending', $11, $11, $11
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::bigint[], $10::text[])
  AS v
ON CONFLICT (event_id, installation_id) DO NOTHING
"""


async def lay_out(
    connection: Any, events: Sequence[EventSeen], *, hooks: Mapping[str, str], ids: Ids, now: datetime
) -> int:
    """Insert the deliveries of a batch of events and say how many. `hooks`: by event type. Twice does nothing new."""
    # `connection` is a pooled proxy of asyncpg, which its stubs do not name.
    told = [
        (place, event, hooks[event.type])
        for place, event in enumerate(events)
        if event.merchant_id is not None and event.type in hooks
    ]
    if not told:
        return 0
    found = await connection.fetch(
        _LISTENERS,
        [place for place, _, _ in told],
        [event.merchant_id for _, event, _ in told],
        [hook for _, _, hook in told],
        [event.type for _, event, _ in told],
        [event.object_id for _, event, _ in told],
    )
    if not found:
        return 0
    rows = [(events[row["place"]], row) for row in found]
    await connection.execute(
        _ADD,
        [ids.mint("pld") for _ in rows],
        [event.merchant_id for event, _ in rows],
        [row["installation_id"] for _, row in rows],
        [row["plugin_id"] for _, row in rows],
        [event.id for event, _ in rows],
        [event.type for event, _ in rows],
        [hooks[event.type] for event, _ in rows],
        [event.object_id for event, _ in rows],
        [event.sequence for event, _ in rows],
        [event.traceparent for event, _ in rows],
        now,
    )
    return len(rows)

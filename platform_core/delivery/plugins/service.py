"""What plugins were told and what came of it: deliveries to be read, and to be sent again under their own ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Audit, Change, Plan
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.pagination import Page, Position
from platform_core.plugin_host import repository
from platform_core.plugin_host.errors import DELIVERY_NOT_FOUND, DELIVERY_STATE
from platform_core.plugin_host.host_deps import HostDeps
from platform_core.plugin_host.models import DELIVERIES
from platform_core.plugin_host.schemas import PluginDeliveryRead


@dataclass(frozen=True, slots=True)
class PluginDeliveries:
    """Deliveries of the caller's merchant."""

    deps: HostDeps

    async def page(
        self, who: Principal, *, filters: Mapping[str, str | None], cursor: str | None, limit: int
    ) -> Page[PluginDeliveryRead]:
        """Deliveries, the newest first. `filters`: columns and what they must hold, None for anything."""
        merchant_id = _merchant(who)
        wanted = {column: value for column, value in filters.items() if value is not None}
        bound_to: dict[str, object] = {"list": "plugin-deliveries", "merchant": merchant_id, "filters": wanted}
        after = self.deps.cursors.read(cursor, bound_to=bound_to) if cursor else None
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.list_deliveries(
                connection, merchant_id=merchant_id, filters=wanted, after=after, limit=limit + 1
            )
        return self.deps.cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: _shown(row._mapping),
        )

    async def get(self, who: Principal, delivery_id: str) -> PluginDeliveryRead:
        """One delivery. 404 `plugins.delivery_not_found`."""
        return _shown((await self._row(who, delivery_id))._mapping)

    async def resend(self, who: Principal, delivery_id: str, idempotent: IdempotentRequest) -> PluginDeliveryRead:
        """Tell the plugin again, under the same event id, by a new run of the schedule.

        404 `plugins.delivery_not_found`; 409 `plugins.delivery_state` for one that has not ended.
        """
        row = await self._row(who, delivery_id)
        if row.state == "pending":
            raise DELIVERY_STATE.error({"delivery_id": delivery_id, "state": row.state})
        now = self.deps.clock.now()
        values = again(now)
        answer = _shown({**row._mapping, **values})
        plan = Plan(row.merchant_id).add(
            Change(DELIVERIES, delivery_id, values, expected=row.version),
            Audit("plugin_delivery.resent", who.client_id, delivery_id, row.merchant_id, {"event": row.event_id}),
            idempotent.claim(object_id=delivery_id, created_at=now, status=202, body=answer.model_dump_json()),
        )
        await self.deps.commit(plan, subject=delivery_id)
        return answer

    async def _row(self, who: Principal, delivery_id: str) -> repository.Record:
        merchant_id = _merchant(who)
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_delivery(connection, delivery_id, merchant_id=merchant_id)
        if row is None:
            raise DELIVERY_NOT_FOUND.error({"delivery_id": delivery_id})
        return row


def again(now: object) -> dict[str, Any]:  # Any: columns of the table
    """A new run of the schedule, due at once."""
    return {
        "state": "pending",
        "tries": 0,
        "due_at": now,
        "wake_at": now,
        "leased_until": None,
        "finished_at": None,
    }


def _shown(columns: Any) -> PluginDeliveryRead:  # Any: a mapping of the table's columns, or a row's
    shared = {name: columns[name] for name in PluginDeliveryRead.model_fields if name != "due_at"}
    return PluginDeliveryRead(**shared, due_at=columns["due_at"] if columns["state"] == "pending" else None)


def _merchant(who: Principal) -> str:
    assert who.merchant_id is not None, "the route needs a merchant's scope"
    return who.merchant_id

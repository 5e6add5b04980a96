"""Routes of what plugins were told: parse, authorise, answer."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from platform_core.delivery.plugins.service import PluginDeliveries
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.pagination import LIMIT_DEFAULT, Page, PageLimit
from platform_core.plugin_host.errors import CHANGED_MEANWHILE, DELIVERY_NOT_FOUND, DELIVERY_STATE
from platform_core.plugin_host.host_deps import HostDeps
from platform_core.plugin_host.router_parts import Cursor, DeliveryId, MayRead, MayWrite, answered, once
from platform_core.plugin_host.schemas import PluginDeliveryRead

StateFilter = Annotated[Literal["pending", "done", "dead", "dropped"] | None, Query()]
Filter = Annotated[str | None, Query(max_length=120)]


def make_router(deps: HostDeps) -> APIRouter:
    """The routes under `/v1`; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["plugins"])
    deliveries = PluginDeliveries(deps)

    @router.get("/plugin-deliveries", operation_id="plugin_deliveries.list")
    async def list_deliveries(
        who: MayRead,
        *,
        state: StateFilter = None,
        installation_id: Filter = None,
        event_id: Filter = None,
        limit: PageLimit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[PluginDeliveryRead]:
        """What your plugins were told of, the newest first."""
        filters = {"state": state, "installation_id": installation_id, "event_id": event_id}
        return await deliveries.page(who, filters=filters, cursor=cursor, limit=limit)

    @router.get(
        "/plugin-deliveries/{delivery_id}",
        operation_id="plugin_deliveries.get",
        responses=refusals(DELIVERY_NOT_FOUND),
    )
    async def get_delivery(who: MayRead, delivery_id: DeliveryId) -> PluginDeliveryRead:
        """One event on its way to one plugin."""
        return await deliveries.get(who, delivery_id)

    @router.post(
        "/plugin-deliveries/{delivery_id}/resend",
        operation_id="plugin_deliveries.resend",
        **documented(
            answer=PluginDeliveryRead,
            status=202,
            errors=(DELIVERY_NOT_FOUND, DELIVERY_STATE, CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def resend(who: MayWrite, delivery_id: DeliveryId, request: Request) -> Response:
        """Tell the plugin again, under the same event id, by a new run of the schedule."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            return answered(await deliveries.resend(who, delivery_id, key), status=202)

        return await once(request, NoBody, act, who=who, deps=deps, tenant=who.merchant_id)

    return router

"""The webhook routes: parse, authorise, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from platform_core.delivery.webhooks.errors import (
    DELIVERY_NOT_FOUND,
    ENDPOINT_BUSY,
    ENDPOINT_DISABLED,
    ENDPOINT_NOT_FOUND,
    ENDPOINTS_TOO_MANY,
    EVENT_NOT_FOUND,
)
from platform_core.delivery.webhooks.history import Deliveries, Events
from platform_core.delivery.webhooks.schemas import (
    DeliveryDetail,
    DeliveryRead,
    EndpointCreate,
    EndpointRead,
    EndpointSecretRead,
    EndpointUpdate,
    EventRead,
    ResendRange,
)
from platform_core.delivery.webhooks.service import WebhookDeps, WebhookEndpoints
from platform_core.identity.operations import PATH as OPERATION_PATH
from platform_core.identity.operations import OperationRead
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.http.acts import NoBody, act_once
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest, find_record
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.http.preconditions import etag, expected_version, shown
from platform_core.kernel.pagination import LIMIT_DEFAULT, Page, PageLimit

Reads = Annotated[Principal, requires("webhooks:read")]
Writes = Annotated[Principal, requires("webhooks:write")]
Resends = Annotated[Principal, requires("webhooks:resend")]
Cursor = Annotated[str | None, Query(max_length=512, description="next_cursor of the page before.")]
Filter = Annotated[str | None, Query(max_length=80)]
DeliveryState = Annotated[Literal["pending", "delivered", "dead"] | None, Query()]
Body = TypeVar("Body", bound=BaseModel)


def make_router(deps: WebhookDeps) -> APIRouter:
    """The routes under `/v1`, over services made from `deps`."""
    router = APIRouter(prefix="/v1", tags=["webhooks"])
    _endpoint_reads(router, WebhookEndpoints(deps))
    _endpoint_writes(router, WebhookEndpoints(deps), deps)
    _delivery_routes(router, Deliveries(deps), deps)
    _event_routes(router, Events(deps))
    return router


def _endpoint_reads(router: APIRouter, endpoints: WebhookEndpoints) -> None:
    @router.get("/webhook-endpoints", operation_id="webhook_endpoints.list")
    async def list_endpoints(
        principal: Reads, cursor: Cursor = None, limit: Annotated[PageLimit, Query()] = LIMIT_DEFAULT
    ) -> Page[EndpointRead]:
        """Endpoints of the app."""
        return await endpoints.page(principal, cursor=cursor, limit=limit)

    @router.get(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.get",
        **documented(answer=EndpointRead, errors=(ENDPOINT_NOT_FOUND,), has_etag=True),
    )
    async def get_endpoint(request: Request, id: str, principal: Reads) -> Response:
        """One endpoint; its ETag is what a change names in If-Match."""
        endpoint = await endpoints.get(principal, id)
        return shown(request, endpoint, version=endpoint.version)


def _endpoint_writes(router: APIRouter, endpoints: WebhookEndpoints, deps: WebhookDeps) -> None:
    @router.post(
        "/webhook-endpoints",
        operation_id="webhook_endpoints.create",
        **documented(
            answer=EndpointSecretRead,
            body=EndpointCreate,
            status=201,
            errors=(ENDPOINTS_TOO_MANY,),
            is_idempotent=True,
            has_etag=True,
        ),
    )
    async def create_endpoint(request: Request, principal: Writes) -> Response:
        """Add an endpoint. The answer shows the signing secret, as no later one does."""

        async def act(wanted: EndpointCreate, key: IdempotentRequest) -> Response:
            return _answer(await endpoints.create(principal, wanted, key), status=201)

        return await _once(request, deps, principal, EndpointCreate, act=act, reshow=endpoints.shown_again)

    @router.patch(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.update",
        **documented(
            answer=EndpointRead, body=EndpointUpdate, errors=(ENDPOINT_NOT_FOUND,), has_etag=True, needs_match=True
        ),
    )
    async def update_endpoint(id: str, request: Request, principal: Writes) -> Response:
        """Change an endpoint, enable or disable it."""
        wanted = await parse_body(request, EndpointUpdate)
        version = expected_version(request, object_id=id)
        return _answer(await endpoints.update(principal, id, wanted=wanted, version=version))

    @router.delete(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.remove",
        **documented(answer=None, status=204, errors=(ENDPOINT_NOT_FOUND,), needs_match=True),
    )
    async def remove_endpoint(id: str, request: Request, principal: Writes) -> Response:
        """Remove an endpoint; what was sent to it stays to be seen."""
        await endpoints.remove(principal, id, version=expected_version(request, object_id=id))
        return Response(status_code=204)

    @router.post(
        "/webhook-endpoints/{id}/rotate-secret",
        operation_id="webhook_endpoints.rotate_secret",
        **documented(answer=EndpointSecretRead, errors=(ENDPOINT_NOT_FOUND,), is_idempotent=True, has_etag=True),
    )
    async def rotate_secret(id: str, request: Request, principal: Writes) -> Response:
        """A new secret; for 24 hours messages carry the old signature too."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            return _answer(await endpoints.rotate_secret(principal, id, key))

        return await _once(request, deps, principal, NoBody, act=act, reshow=endpoints.shown_again)


def _delivery_routes(router: APIRouter, deliveries: Deliveries, deps: WebhookDeps) -> None:
    @router.get("/webhook-deliveries", operation_id="webhook_deliveries.list")
    async def list_deliveries(  # noqa: PLR0917 - FastAPI passes them by name
        principal: Reads,
        state: DeliveryState = None,
        endpoint_id: Filter = None,
        event_id: Filter = None,
        event_type: Filter = None,
        cursor: Cursor = None,
        limit: Annotated[PageLimit, Query()] = LIMIT_DEFAULT,
    ) -> Page[DeliveryRead]:
        """Deliveries, the newest first."""
        filters = {"state": state, "endpoint_id": endpoint_id, "event_id": event_id, "event_type": event_type}
        return await deliveries.page(principal, filters=filters, cursor=cursor, limit=limit)

    @router.get(
        "/webhook-deliveries/{id}", operation_id="webhook_deliveries.get", responses=refusals(DELIVERY_NOT_FOUND)
    )
    async def get_delivery(id: str, principal: Reads) -> DeliveryDetail:
        """One delivery with its latest attempts."""
        return await deliveries.get(principal, id)

    @router.post(
        "/webhook-deliveries/{id}/resend",
        operation_id="webhook_deliveries.resend",
        **documented(
            answer=DeliveryRead,
            status=202,
            errors=(DELIVERY_NOT_FOUND, ENDPOINT_DISABLED, ENDPOINT_BUSY),
            is_idempotent=True,
        ),
    )
    async def resend(id: str, request: Request, principal: Resends) -> Response:
        """Send one event again, under its own id."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            return _answer(await deliveries.resend(principal, id, key), status=202)

        return await _once(request, deps, principal, NoBody, act=act)

    @router.post(
        "/webhook-endpoints/{id}/resend",
        operation_id="webhook_endpoints.resend",
        **documented(
            answer=OperationRead,
            body=ResendRange,
            status=202,
            errors=(ENDPOINT_NOT_FOUND, ENDPOINT_DISABLED),
            is_idempotent=True,
            begins_operation=True,
        ),
    )
    async def resend_range(id: str, request: Request, principal: Resends) -> Response:
        """Send the events since a moment again, also those that were never sent: a job, whose result counts them."""

        async def act(wanted: ResendRange, key: IdempotentRequest) -> Response:
            return _answer(await deliveries.begin_resend(principal, id, wanted=wanted, idempotent=key), status=202)

        answer = await _once(request, deps, principal, ResendRange, act=act, tenant=principal.merchant_id)
        if answer.status_code == 202:
            answer.headers["location"] = OPERATION_PATH.format(
                id=OperationRead.model_validate_json(bytes(answer.body)).id
            )
        return answer


def _event_routes(router: APIRouter, events: Events) -> None:
    @router.get("/events", operation_id="events.list")
    async def list_events(  # noqa: PLR0917 - FastAPI passes them by name
        principal: Reads,
        type: Filter = None,
        object_id: Filter = None,
        cursor: Cursor = None,
        limit: Annotated[PageLimit, Query()] = LIMIT_DEFAULT,
    ) -> Page[EventRead]:
        """Events of the merchant, the newest first, as far as the token's scopes reach."""
        return await events.page(principal, type_=type, object_id=object_id, cursor=cursor, limit=limit)

    @router.get("/events/{id}", operation_id="events.get", responses=refusals(EVENT_NOT_FOUND))
    async def get_event(id: str, principal: Reads) -> EventRead:
        """One event."""
        return await events.get(principal, id)


async def _once(
    request: Request,
    deps: WebhookDeps,
    principal: Principal,
    model: type[Body],
    *,
    act: Callable[[Body, IdempotentRequest], Awaitable[Response]],
    tenant: str | None = None,
    reshow: Callable[[Principal, bytes], Awaitable[bytes]] | None = None,
) -> Response:
    """The act's answer, or that of the same request before. Endpoints are the app's, whatever merchant it acts for, so
    most of these acts are plans of the platform (`tenant` None); the merchant stands in the key all the same, so that
    no other one's answer is ever given.
    """

    async def look(key: IdempotentRequest) -> Replayed | None:
        return await find_record(deps.database, merchant_id=tenant, request=key)

    client_id = f"{principal.client_id} {principal.merchant_id or ''}"
    answer = await act_once(request, model, act, client_id=client_id, look=look, clock=deps.clock)
    if reshow is None or "idempotency-replayed" not in answer.headers:
        return answer
    body = await reshow(principal, bytes(answer.body))
    headers = {"idempotency-replayed": "true", "cache-control": "no-store"}
    return Response(body, status_code=answer.status_code, headers=headers, media_type="application/json")


def _answer(model: BaseModel, *, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    if isinstance(model, EndpointRead):
        headers["etag"] = etag(model.version)
    return Response(model.model_dump_json(), status_code=status, headers=headers, media_type="application/json")

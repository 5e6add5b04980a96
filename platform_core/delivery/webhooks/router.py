"""The webhook routes: parse, authorise, answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from platform_core.delivery.webhooks.errors import (
    DELIVERY_NOT_FOUND,
    ENDPOINT_DISABLED,
    ENDPOINT_NOT_FOUND,
    ENDPOINTS_TOO_MANY,
    EVENT_NOT_FOUND,
    PRECONDITION_FAILED,
    PRECONDITION_MISSING,
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
    ResendResult,
)
from platform_core.delivery.webhooks.service import WebhookDeps, WebhookEndpoints
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.commit import PlanRefused
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.errors import VALIDATION_FAILED, ErrorCode
from platform_core.kernel.http.body import parse_body, read_json, validated
from platform_core.kernel.http.idempotency import (
    IdempotentRequest,
    answer_replay,
    canonical,
    find_record,
    fingerprint,
    parse_key,
)
from platform_core.kernel.pagination import LIMIT_DEFAULT, Page, PageLimit

_ETAG: Final = re.compile(r'"([0-9]{1,18})"', re.ASCII)
Reads = Annotated[Principal, requires("webhooks:read")]
Writes = Annotated[Principal, requires("webhooks:write")]
Resends = Annotated[Principal, requires("webhooks:resend")]
Cursor = Annotated[str | None, Query(max_length=512, description="next_cursor of the page before.")]
Filter = Annotated[str | None, Query(max_length=80)]
DeliveryState = Annotated[Literal["pending", "delivered", "dead"] | None, Query()]


def make_router(deps: WebhookDeps) -> APIRouter:
    """The routes under `/v1`, over services made from `deps`."""
    router = APIRouter(prefix="/v1", tags=["webhooks"])
    _endpoint_reads(router, WebhookEndpoints(deps))
    _endpoint_writes(router, WebhookEndpoints(deps), deps)
    _delivery_routes(router, Deliveries(deps), deps)
    _event_routes(router, Events(deps))
    return router


def _endpoint_reads(router: APIRouter, endpoints: WebhookEndpoints) -> None:
    @router.get("/webhook-endpoints", operation_id="webhook_endpoints.list", responses=_refusals())
    async def list_endpoints(
        principal: Reads, cursor: Cursor = None, limit: Annotated[PageLimit, Query()] = LIMIT_DEFAULT
    ) -> Page[EndpointRead]:
        """Endpoints of the app."""
        return await endpoints.page(principal, cursor=cursor, limit=limit)

    @router.get(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.get",
        response_model=EndpointRead,
        responses=_refusals(ENDPOINT_NOT_FOUND),
    )
    async def get_endpoint(id: str, principal: Reads) -> Response:
        """One endpoint; its ETag is what a change names in If-Match."""
        return _answer(await endpoints.get(principal, id))


def _endpoint_writes(router: APIRouter, endpoints: WebhookEndpoints, deps: WebhookDeps) -> None:
    @router.post(
        "/webhook-endpoints",
        operation_id="webhook_endpoints.create",
        status_code=201,
        response_model=EndpointSecretRead,
        responses=_refusals(VALIDATION_FAILED, ENDPOINTS_TOO_MANY),
        openapi_extra=_with_body(EndpointCreate, key=True),
    )
    async def create_endpoint(request: Request, principal: Writes) -> Response:
        """Add an endpoint. The answer shows the signing secret, as no later one does."""
        raw, document = await read_json(request)
        idempotent = _idempotent(request, principal, document)
        wanted = validated(EndpointCreate, raw, document)

        async def act() -> Response:
            return _answer(await endpoints.create(principal, wanted, idempotent), status=201)

        return await _once(deps, principal, idempotent, act=act, reshow=endpoints.shown_again)

    @router.patch(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.update",
        response_model=EndpointRead,
        responses=_refusals(VALIDATION_FAILED, ENDPOINT_NOT_FOUND, PRECONDITION_MISSING, PRECONDITION_FAILED),
        openapi_extra=_with_body(EndpointUpdate, match=True),
    )
    async def update_endpoint(id: str, request: Request, principal: Writes) -> Response:
        """Change an endpoint, enable or disable it."""
        wanted = await parse_body(request, EndpointUpdate)
        return _answer(await endpoints.update(principal, id, wanted=wanted, version=_version_of(request, id)))

    @router.delete(
        "/webhook-endpoints/{id}",
        operation_id="webhook_endpoints.remove",
        status_code=204,
        responses=_refusals(ENDPOINT_NOT_FOUND, PRECONDITION_MISSING, PRECONDITION_FAILED),
        openapi_extra=_with_body(None, match=True),
    )
    async def remove_endpoint(id: str, request: Request, principal: Writes) -> Response:
        """Remove an endpoint; what was sent to it stays to be seen."""
        await endpoints.remove(principal, id, version=_version_of(request, id))
        return Response(status_code=204)

    @router.post(
        "/webhook-endpoints/{id}/rotate-secret",
        operation_id="webhook_endpoints.rotate_secret",
        response_model=EndpointSecretRead,
        responses=_refusals(VALIDATION_FAILED, ENDPOINT_NOT_FOUND, PRECONDITION_FAILED),
        openapi_extra=_with_body(None, key=True),
    )
    async def rotate_secret(id: str, request: Request, principal: Writes) -> Response:
        """A new secret; for 24 hours messages carry the old signature too."""
        idempotent = _idempotent(request, principal, None)

        async def act() -> Response:
            return _answer(await endpoints.rotate_secret(principal, id, idempotent))

        return await _once(deps, principal, idempotent, act=act, reshow=endpoints.shown_again)


def _delivery_routes(router: APIRouter, deliveries: Deliveries, deps: WebhookDeps) -> None:
    @router.get("/webhook-deliveries", operation_id="webhook_deliveries.list", responses=_refusals(VALIDATION_FAILED))
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
        "/webhook-deliveries/{id}", operation_id="webhook_deliveries.get", responses=_refusals(DELIVERY_NOT_FOUND)
    )
    async def get_delivery(id: str, principal: Reads) -> DeliveryDetail:
        """One delivery with its latest attempts."""
        return await deliveries.get(principal, id)

    @router.post(
        "/webhook-deliveries/{id}/resend",
        operation_id="webhook_deliveries.resend",
        status_code=202,
        response_model=DeliveryRead,
        responses=_refusals(VALIDATION_FAILED, DELIVERY_NOT_FOUND, ENDPOINT_DISABLED),
        openapi_extra=_with_body(None, key=True),
    )
    async def resend(id: str, request: Request, principal: Resends) -> Response:
        """Send one event again, under its own id."""
        idempotent = _idempotent(request, principal, None)

        async def act() -> Response:
            return _answer(await deliveries.resend(principal, id, idempotent), status=202)

        return await _once(deps, principal, idempotent, act=act)

    @router.post(
        "/webhook-endpoints/{id}/resend",
        operation_id="webhook_endpoints.resend",
        status_code=202,
        response_model=ResendResult,
        responses=_refusals(VALIDATION_FAILED, ENDPOINT_NOT_FOUND, ENDPOINT_DISABLED),
        openapi_extra=_with_body(ResendRange, key=True),
    )
    async def resend_range(id: str, request: Request, principal: Resends) -> Response:
        """Send the events since a moment again, also those that were never sent."""
        raw, document = await read_json(request)
        idempotent = _idempotent(request, principal, document)
        wanted = validated(ResendRange, raw, document)

        async def act() -> Response:
            result = await deliveries.resend_range(principal, id, wanted=wanted, idempotent=idempotent)
            return _answer(result, status=202)

        return await _once(deps, principal, idempotent, act=act)


def _event_routes(router: APIRouter, events: Events) -> None:
    @router.get("/events", operation_id="events.list", responses=_refusals(VALIDATION_FAILED))
    async def list_events(  # noqa: PLR0917 - FastAPI passes them by name
        principal: Reads,
        type: Filter = None,
        object_id: Filter = None,
        cursor: Cursor = None,
        limit: Annotated[PageLimit, Query()] = LIMIT_DEFAULT,
    ) -> Page[EventRead]:
        """Events of the merchant, the newest first, as far as the token's scopes reach."""
        return await events.page(principal, type_=type, object_id=object_id, cursor=cursor, limit=limit)

    @router.get("/events/{id}", operation_id="events.get", responses=_refusals(EVENT_NOT_FOUND))
    async def get_event(id: str, principal: Reads) -> EventRead:
        """One event."""
        return await events.get(principal, id)


def _idempotent(request: Request, principal: Principal, document: object) -> IdempotentRequest:
    key = parse_key(request.headers.getlist("idempotency-key"))
    print_ = fingerprint(method=request.method, path=request.url.path, body=canonical(document))
    return IdempotentRequest(principal.client_id, key, print_)


async def _once(
    deps: WebhookDeps,
    principal: Principal,
    idempotent: IdempotentRequest,
    *,
    act: Callable[[], Awaitable[Response]],
    reshow: Callable[[Principal, bytes], Awaitable[bytes]] | None = None,
) -> Response:
    """The act's answer, or that of the same request before. These acts are one commit, so none is ever in flight."""

    async def look() -> Replayed | None:
        return await find_record(deps.database, merchant_id=None, request=idempotent)

    async def present(object_id: str | None) -> str:
        raise AssertionError(f"{object_id}: an act of one commit is never in flight")

    replayed = await look()
    if replayed is None:
        try:
            return await act()
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Replayed):
                raise
            replayed = refused.refusal
    answer = await answer_replay(replayed, idempotent, look=look, present=present, clock=deps.clock)
    if reshow is None:
        return answer
    body = await reshow(principal, bytes(answer.body))
    headers = {"idempotency-replayed": "true", "cache-control": "no-store"}
    return Response(body, status_code=answer.status_code, headers=headers, media_type="application/json")


def _version_of(request: Request, endpoint_id: str) -> int:
    """The version in If-Match. 428 webhooks.if_match_missing, 412 for what no ETag of ours reads like."""
    value = request.headers.get("if-match")
    if value is None:
        raise PRECONDITION_MISSING.error({"path": f"/v1/webhook-endpoints/{endpoint_id}"}, param="/header/If-Match")
    match = _ETAG.fullmatch(value.strip())
    if match is None:
        raise PRECONDITION_FAILED.error({"id": endpoint_id}, param="/header/If-Match")
    return int(match[1])


def _answer(model: BaseModel, *, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    if isinstance(model, EndpointRead):
        headers["etag"] = f'"{model.version}"'
    return Response(model.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


def _refusals(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's answers for refusals: the route's own by status, and those that every route has."""
    own: dict[int | str, dict[str, Any]] = {}
    for status, words in ((400, "Malformed"), (401, "No valid token"), (403, "Scope missing"), (503, "Come again")):
        own[status] = {"description": words}
    for code in codes:
        names = [own[code.status]["description"]] if code.status in own else []
        own[code.status] = {"description": ", ".join([*names, code.code])}
    return {status: {**answer, "content": {"application/problem+json": {}}} for status, answer in own.items()}


def _with_body(model: type[BaseModel] | None, *, key: bool = False, match: bool = False) -> dict[str, Any]:
    """OpenAPI's body and headers of a route that reads them itself."""
    extra: dict[str, Any] = {"parameters": []}
    for name, is_wanted in (("Idempotency-Key", key), ("If-Match", match)):
        if is_wanted:
            schema = {"type": "string", "maxLength": 255}
            extra["parameters"].append({"name": name, "in": "header", "required": True, "schema": schema})
    if model is not None:
        schema = model.model_json_schema()
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return extra

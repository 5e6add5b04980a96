"""Routes of a party's own apps, their secrets, and payout destinations: for people at a console."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.identity.errors import CHANGED_MEANWHILE, CLIENT_NOT_FOUND, CLIENT_REFUSED
from platform_core.identity.errors_people import (
    APP_NOT_FOUND,
    APP_REFUSED,
    PAYOUT_DESTINATION_NOT_FOUND,
    SECOND_PERSON_NEEDED,
    SECRET_NOT_FOUND,
    STEP_UP_REQUIRED,
)
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.router_parts import PartyServices, changing, claimed, once, shown_once
from platform_core.identity.schemas_people import (
    AppMade,
    AppRead,
    AppUpdate,
    AppWrite,
    DestinationDecide,
    DestinationPropose,
    DestinationRead,
    SecretCreate,
    SecretMade,
    SecretRead,
)
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Page, PageLimit, Position

MayReadApps = Annotated[Principal, permits("apps:read")]
MayWriteApps = Annotated[Principal, permits("apps:write")]
MayWriteSecrets = Annotated[Principal, permits("apps.keys:write")]
MayReadDestinations = Annotated[Principal, permits("payout_destinations:read")]
MayWriteDestinations = Annotated[Principal, permits("payout_destinations:write")]
AppId = Annotated[str, Path(pattern=id_pattern("app"))]
SecretId = Annotated[str, Path(pattern=id_pattern("sec"))]
DestinationId = Annotated[str, Path(pattern=id_pattern("pod"))]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]


def apps_router(services: PartyServices) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])
    _app_reads(router, services)
    _app_writes(router, services)
    _secret_routes(router, services)
    _destination_routes(router, services)
    return router


def _app_reads(router: APIRouter, services: PartyServices) -> None:
    @router.get("/apps", operation_id="apps.list")
    async def list_apps(who: MayReadApps, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None) -> Page[AppRead]:
        """Your party's own apps, the oldest first."""
        bound_to = {"list": "apps", "party": who.party_id}
        after = services.cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        rows = await services.apps.list(who, after=after, limit=limit + 1)
        return services.cursors.page(rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda app: app)

    @router.get(
        "/apps/{app_id}", operation_id="apps.get", **documented(answer=AppRead, errors=(APP_NOT_FOUND,), has_etag=True)
    )
    async def get_app(who: MayReadApps, app_id: AppId, request: Request) -> Response:
        """One of your own apps."""
        app = await services.apps.get(who, app_id)
        return shown(request, app, version=app.version)


def _app_writes(router: APIRouter, services: PartyServices) -> None:
    @router.post(
        "/apps",
        operation_id="apps.create",
        **documented(
            answer=AppMade, body=AppWrite, status=201, errors=(APP_REFUSED, STEP_UP_REQUIRED), is_idempotent=True
        ),
    )
    async def create_app(who: MayWriteApps, request: Request) -> Response:
        """Create an app with a client and a secret, which this answer alone shows."""

        async def act(wanted: AppWrite, idempotent: IdempotentRequest) -> Response:
            made = await services.apps.create(who, wanted, extra=claimed(idempotent, services))
            return shown_once(made)

        return await once(request, AppWrite, act, who=who, services=services)

    @router.patch(
        "/apps/{app_id}",
        operation_id="apps.update",
        **changing(answer=AppRead, body=AppUpdate, errors=(APP_NOT_FOUND,)),
    )
    async def update_app(who: MayWriteApps, app_id: AppId, request: Request) -> Response:
        """Rename an app, disable it (its tokens are refused within a second) or enable it again."""
        await services.apps.get(who, app_id)
        wanted = await parse_body(request, AppUpdate)
        expected = expected_version(request, object_id=app_id)
        app = await services.apps.update(who, app_id, wanted, expected=expected)
        return shown(request, app, version=app.version)


def _secret_routes(router: APIRouter, services: PartyServices) -> None:
    @router.get("/apps/{app_id}/secrets", operation_id="app_secrets.list", responses=refusals(APP_NOT_FOUND))
    async def list_secrets(who: MayReadApps, app_id: AppId) -> Page[SecretRead]:
        """The living secrets of an app, the oldest first."""
        return Page(data=list(await services.apps.secrets(who, app_id)), next_cursor=None)

    @router.post(
        "/apps/{app_id}/secrets",
        operation_id="app_secrets.create",
        **documented(
            answer=SecretMade,
            body=SecretCreate,
            status=201,
            errors=(APP_NOT_FOUND, CLIENT_NOT_FOUND, CLIENT_REFUSED, CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def create_secret(who: MayWriteSecrets, app_id: AppId, request: Request) -> Response:
        """A new secret, which this answer alone shows; the one before it lives on for the overlap (rotation)."""

        async def act(wanted: SecretCreate, idempotent: IdempotentRequest) -> Response:
            made = await services.apps.create_secret(who, app_id, wanted, extra=claimed(idempotent, services))
            return shown_once(made)

        return await once(request, SecretCreate, act, who=who, services=services)

    @router.delete(
        "/apps/{app_id}/secrets/{secret_id}",
        operation_id="app_secrets.remove",
        **documented(answer=None, status=204, errors=(APP_NOT_FOUND, SECRET_NOT_FOUND, CHANGED_MEANWHILE)),
    )
    async def revoke_secret(who: MayWriteSecrets, app_id: AppId, secret_id: SecretId) -> Response:
        """End a secret now."""
        await services.apps.revoke_secret(who, app_id, secret_id)
        return Response(status_code=204)


def _destination_routes(router: APIRouter, services: PartyServices) -> None:
    @router.get("/payout-destinations", operation_id="payout_destinations.list")
    async def list_destinations(who: MayReadDestinations) -> Page[DestinationRead]:
        """Where your payouts go and went, the newest first; at most 200."""
        return Page(data=await services.destinations.list(who), next_cursor=None)

    @router.post(
        "/payout-destinations",
        operation_id="payout_destinations.create",
        **documented(answer=DestinationRead, body=DestinationPropose, status=201, is_idempotent=True),
    )
    async def propose(who: MayWriteDestinations, request: Request) -> Response:
        """Propose another destination; a second person decides, and payouts wait a day for it."""

        async def act(wanted: DestinationPropose, idempotent: IdempotentRequest) -> Response:
            draft = services.destinations.drafted(who, wanted)
            extra = claimed(idempotent, services)(draft, draft.id)
            await services.destinations.propose(who, draft, wanted, extra=extra)
            return shown_once(draft)

        return await once(request, DestinationPropose, act, who=who, services=services)

    @router.post(
        "/payout-destinations/{destination_id}/decide",
        operation_id="payout_destinations.decide",
        **documented(
            answer=DestinationRead,
            body=DestinationDecide,
            errors=(PAYOUT_DESTINATION_NOT_FOUND, SECOND_PERSON_NEEDED, CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def decide(who: MayWriteDestinations, destination_id: DestinationId, request: Request) -> Response:
        """Confirm or refuse what somebody else proposed."""

        async def act(wanted: DestinationDecide, idempotent: IdempotentRequest) -> Response:
            decided = await services.destinations.decide(
                who,
                destination_id,
                is_confirmed=wanted.is_confirmed,
                also=lambda made: claimed(idempotent, services, status=200)(made, made.id),
            )
            return shown_once(decided, status=200)

        return await once(request, DestinationDecide, act, who=who, services=services)


def _position(app: AppRead) -> Position:
    return Position(app.created_at, app.id)

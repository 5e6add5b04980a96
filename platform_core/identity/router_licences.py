"""Routes of a merchant's licences: read by apps and people, written by its owner and administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from platform_core.identity.errors_people import LICENCE_EXISTS, LICENCE_NOT_FOUND, LICENCE_REFUSED
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.router_parts import PartyServices, changing, claimed, once
from platform_core.identity.schemas_licences import LicenceAdd, LicenceListed, LicenceRead, LicenceUpdate
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import Page

MayRead = Annotated[Principal, permits("merchant:read")]
MayWrite = Annotated[Principal, permits("merchant:write")]
LicenceId = Annotated[str, Path(pattern=id_pattern("lic"))]


def licences_router(services: PartyServices) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])
    _reads(router, services)
    _writes(router, services)
    return router


def _reads(router: APIRouter, services: PartyServices) -> None:
    @router.get("/licences", operation_id="licences.list")
    async def list_licences(who: MayRead) -> Page[LicenceListed]:
        """Your merchant's licences, the oldest first, of each number the last four characters; at most 100."""
        return Page(data=list(await services.licences.list(who)), next_cursor=None)

    @router.get(
        "/licences/{licence_id}",
        operation_id="licences.get",
        **documented(answer=LicenceRead, errors=(LICENCE_NOT_FOUND,), has_etag=True),
    )
    async def get_licence(who: MayRead, licence_id: LicenceId, request: Request) -> Response:
        """One licence, with its number."""
        licence = await services.licences.get(who, licence_id)
        return shown(request, licence, version=licence.version)


def _writes(router: APIRouter, services: PartyServices) -> None:
    @router.post(
        "/licences",
        operation_id="licences.create",
        **documented(
            answer=LicenceRead,
            body=LicenceAdd,
            status=201,
            errors=(LICENCE_EXISTS, LICENCE_REFUSED),
            is_idempotent=True,
            has_etag=True,
        ),
    )
    async def add_licence(who: MayWrite, request: Request) -> Response:
        """File a licence."""

        async def act(wanted: LicenceAdd, idempotent: IdempotentRequest) -> Response:
            draft = await services.licences.drafted(who, wanted)
            extra = claimed(idempotent, services)(draft, draft.id)
            licence = await services.licences.add(who, draft, extra=extra)
            return shown(request, licence, version=licence.version, status=201)

        return await once(request, LicenceAdd, act, who=who, services=services)

    @router.patch(
        "/licences/{licence_id}",
        operation_id="licences.update",
        **changing(answer=LicenceRead, body=LicenceUpdate, errors=(LICENCE_NOT_FOUND, LICENCE_REFUSED)),
    )
    async def update_licence(who: MayWrite, licence_id: LicenceId, request: Request) -> Response:
        """Change the name on it or its days: it is submitted anew. Another number is another licence."""
        await services.licences.get(who, licence_id)
        wanted = await parse_body(request, LicenceUpdate)
        expected = expected_version(request, object_id=licence_id)
        licence = await services.licences.update(who, licence_id, wanted, expected=expected)
        return shown(request, licence, version=licence.version)

    @router.delete(
        "/licences/{licence_id}",
        operation_id="licences.remove",
        **changing(answer=None, errors=(LICENCE_NOT_FOUND,)),
    )
    async def remove_licence(who: MayWrite, licence_id: LicenceId, request: Request) -> Response:
        """Take a licence away."""
        await services.licences.get(who, licence_id)
        expected = expected_version(request, object_id=licence_id)
        await services.licences.remove(who, licence_id, expected=expected)
        return Response(status_code=204)

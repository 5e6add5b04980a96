"""Routes of grants: `/v1/grants` for the merchant's people, `/oauth/grants/{id}` for the app that a grant is of.

The latter in the names of "Grant Management for OAuth 2.0" (OpenID FAPI WG, draft 03, sections 6 and 7, read
2026-11-22).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from platform_core.identity.errors import CHANGED_MEANWHILE, GRANT_NOT_FOUND, GRANT_REFUSED
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.identity.schemas import GrantDetailedRead, GrantNarrow, GrantRead
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import changed_meanwhile, expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Cursors, Page, PageLimit, Position

MayDecide = Annotated[Principal, permits("grants:approve")]
MayQuery = Annotated[Principal, requires("grant_management_query")]
MayRevoke = Annotated[Principal, requires("grant_management_revoke")]
GrantId = Annotated[str, Path(pattern=id_pattern("gra"))]
OwnGrantId = Annotated[str, Path(max_length=64)]
State = Annotated[Literal["active", "revoked"] | None, Query()]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class GrantedScopes(BaseModel):
    """Scopes of a grant, separated by spaces, and the resource that they are for."""

    model_config = ConfigDict(frozen=True)

    scope: str
    resource: list[str]


class OwnGrantRead(BaseModel):
    """An app's own grant, as the draft spells it."""

    model_config = ConfigDict(frozen=True)

    grant_id: str
    scopes: list[GrantedScopes]
    claims: list[str]
    authorization_details: list[dict[str, Any]] = Field(description="RFC 9396.")


def grants_router(grants: Grants, cursors: Cursors, *, resource: str) -> APIRouter:
    """The routes over one service; bootstrap mounts them. `resource`: what access tokens are for (RFC 8707)."""
    router = APIRouter()
    _add_reads(router, grants, cursors)
    _add_changes(router, grants)
    _add_own(router, grants, resource)
    return router


def _add_reads(router: APIRouter, grants: Grants, cursors: Cursors) -> None:
    @router.get("/v1/grants", operation_id="grants.list", tags=["grants"], summary="List what apps may do")
    async def list_grants(
        who: MayDecide, *, state: State = None, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[GrantRead]:
        """Your business's grants, the oldest first."""
        bound_to = {"list": "grants", "merchant": who.merchant_id, "state": state}
        after = cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        rows = await grants.page(_merchant(who), state=state, after=after, limit=limit + 1)
        return cursors.page(rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda grant: grant)

    @router.get(
        "/v1/grants/{grant_id}",
        operation_id="grants.get",
        tags=["grants"],
        summary="Read a grant",
        **documented(answer=GrantDetailedRead, errors=(GRANT_NOT_FOUND,)),
    )
    async def get_grant(who: MayDecide, grant_id: GrantId) -> Response:
        """One grant with what is left of its limits, and every version of it.

        The ETag is the grant's version; what is left changes without it, so this answer is never a 304.
        """
        grant = await grants.get(grant_id, merchant_id=_merchant(who))
        headers = {"etag": f'"{grant.version}"', **_NO_STORE}
        return Response(grant.model_dump_json(), media_type="application/json", headers=headers)


def _add_changes(router: APIRouter, grants: Grants) -> None:
    @router.patch(
        "/v1/grants/{grant_id}",
        operation_id="grants.narrow",
        tags=["grants"],
        summary="Take something away from a grant",
        **documented(
            answer=GrantRead,
            body=GrantNarrow,
            errors=(GRANT_NOT_FOUND, GRANT_REFUSED, CHANGED_MEANWHILE),
            needs_match=True,
        ),
    )
    async def narrow_grant(who: MayDecide, grant_id: GrantId, request: Request) -> Response:
        """Fewer scopes or stores, lower limits, an earlier end. Tokens of the version before die within a second."""
        expected = expected_version(request, object_id=grant_id)
        wanted = await parse_body(request, GrantNarrow)
        try:
            grant = await grants.narrow(
                grant_id, wanted, merchant_id=_merchant(who), by=who.client_id, expected=expected
            )
        except PlatformError as error:
            raise _as_precondition(error, grant_id) from error
        return shown(request, grant, version=grant.version)

    @router.delete(
        "/v1/grants/{grant_id}",
        operation_id="grants.revoke",
        tags=["grants"],
        summary="End a grant",
        **documented(answer=None, status=204, errors=(GRANT_NOT_FOUND, CHANGED_MEANWHILE), needs_match=True),
    )
    async def revoke_grant(who: MayDecide, grant_id: GrantId, request: Request) -> Response:
        """End it at once: its limits with this answer, its tokens everywhere within a second, its webhooks too."""
        expected = expected_version(request, object_id=grant_id)
        try:
            await grants.revoke(
                grant_id, merchant_id=_merchant(who), by=who.client_id, why="merchant", expected=expected
            )
        except PlatformError as error:
            raise _as_precondition(error, grant_id) from error
        return Response(status_code=204)


def _add_own(router: APIRouter, grants: Grants, resource: str) -> None:
    @router.get(
        "/oauth/grants/{grant_id}",
        operation_id="oauth.grants.get",
        tags=["oauth"],
        summary="Query your own grant",
        **_of_oauth(OwnGrantRead, status=200),
    )
    async def query(who: MayQuery, grant_id: OwnGrantId) -> Response:
        """What the grant behind your access token allows at present."""
        grant = await _own(grants, who, grant_id)
        if grant is None:
            return _invalid_grant_id()
        details = [{n: v for n, v in detail.items() if n != "id"} for detail in grant.authorization_details]
        body = OwnGrantRead(
            grant_id=grant.id,
            scopes=[GrantedScopes(scope=" ".join(grant.scopes), resource=[resource])],
            claims=[],
            authorization_details=details,
        )
        return JSONResponse(body.model_dump(), headers=_NO_STORE)

    @router.delete(
        "/oauth/grants/{grant_id}",
        operation_id="oauth.grants.revoke",
        tags=["oauth"],
        summary="Give your own grant back",
        **_of_oauth(None, status=204),
    )
    async def revoke(who: MayRevoke, grant_id: OwnGrantId) -> Response:
        """End the grant behind your access token, and with it every token of it."""
        grant = await _own(grants, who, grant_id)
        if grant is None:
            return _invalid_grant_id()
        await grants.revoke(grant.id, merchant_id=grant.merchant_id, by=who.client_id, why="app")
        return Response(status_code=204, headers=_NO_STORE)


def _of_oauth(answer: type[BaseModel] | None, *, status: int) -> dict[str, Any]:
    """What a route outside the API's conventions says of itself."""
    told = documented(answer=answer, status=status)
    refused = {"description": "A JSON object with `error`: `invalid_grant_id` for a grant that is not the app's own."}
    return {**told, "responses": {**told["responses"], "4XX": refused}}


async def _own(grants: Grants, who: Principal, grant_id: str) -> GrantRead | None:
    """The active grant of the caller's app by the caller's merchant, if that is its id."""
    grant = await grants.active_of(who.app_id, _merchant(who))
    return grant if grant is not None and grant.id == grant_id else None


def _invalid_grant_id() -> Response:
    answer = OAuthRefusal("invalid_grant_id", "There is no such grant of this app.", status=404).answer()
    return JSONResponse(dict(answer.body), status_code=answer.status, headers=_NO_STORE)


def _as_precondition(error: PlatformError, grant_id: str) -> PlatformError:
    """Somebody else's change is what If-Match is there to notice."""
    return changed_meanwhile(grant_id) if error.declared is CHANGED_MEANWHILE else error


def _merchant(who: Principal) -> str:
    assert who.merchant_id is not None, "the scopes are a merchant's"
    return who.merchant_id


def _position(grant: GrantRead) -> Position:
    return Position(grant.created_at, grant.id)

"""Routes of a party's staff: for people at a console. No app can hold their scopes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.errors_people import LAST_OWNER, STAFF_EXISTS, STAFF_NOT_FOUND, STAFF_REFUSED
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.router_parts import PartyServices, changing, once
from platform_core.identity.schemas_people import InvitationRead, StaffInvite, StaffRead, StaffUpdate
from platform_core.identity.staff import Giver, Party
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Page, PageLimit, Position

MayReadStaff = Annotated[Principal, permits("staff:read")]
MayWriteStaff = Annotated[Principal, permits("staff:write")]
StaffId = Annotated[str, Path(pattern=id_pattern("mbr"))]
InvitationId = Annotated[str, Path(pattern=id_pattern("inv"))]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
_CHANGES = (STAFF_NOT_FOUND, STAFF_REFUSED, LAST_OWNER, CHANGED_MEANWHILE)


def staff_router(services: PartyServices) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])
    _reads(router, services)
    _invitation_routes(router, services)
    _changes(router, services)
    return router


def _reads(router: APIRouter, services: PartyServices) -> None:
    @router.get("/staff", operation_id="staff.list")
    async def list_staff(who: MayReadStaff, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None) -> Page[StaffRead]:
        """Your party's staff, the longest-serving first."""
        bound_to = {"list": "staff", "party": who.party_id}
        after = services.cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        rows = await services.staff.members(_party(who), after=after, limit=limit + 1)
        return services.cursors.page(
            rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda staff: staff
        )

    @router.get(
        "/staff/{staff_id}",
        operation_id="staff.get",
        **documented(answer=StaffRead, errors=(STAFF_NOT_FOUND,), has_etag=True),
    )
    async def get_staff(who: MayReadStaff, staff_id: StaffId, request: Request) -> Response:
        """One of your party's staff."""
        staff = await services.staff.get(_party(who), staff_id)
        return shown(request, staff, version=staff.version)


def _invitation_routes(router: APIRouter, services: PartyServices) -> None:
    @router.get("/staff-invitations", operation_id="staff_invitations.list")
    async def list_invitations(who: MayReadStaff) -> Page[InvitationRead]:
        """Invitations that stand; at most 200."""
        return Page(data=await services.staff.invitations(_party(who)), next_cursor=None)

    @router.post(
        "/staff-invitations",
        operation_id="staff_invitations.create",
        **documented(
            answer=InvitationRead,
            body=StaffInvite,
            status=201,
            errors=(STAFF_REFUSED, STAFF_EXISTS),
            is_idempotent=True,
        ),
    )
    async def invite(who: MayWriteStaff, request: Request) -> Response:
        """Offer somebody a place. The link goes to the address alone and holds for seven days."""

        async def act(wanted: StaffInvite, idempotent: IdempotentRequest) -> Response:
            def claim(made: InvitationRead) -> list[object]:
                body = made.model_dump_json()
                return [idempotent.claim(created_at=made.created_at, object_id=made.id, status=201, body=body)]

            invited = await services.staff.invite(_party(who), wanted, by=_giver(who), also=claim)
            return _made(invited.invitation)

        return await once(request, StaffInvite, act, who=who, services=services)

    @router.delete(
        "/staff-invitations/{invitation_id}",
        operation_id="staff_invitations.remove",
        **documented(answer=None, status=204, errors=(STAFF_NOT_FOUND, CHANGED_MEANWHILE)),
    )
    async def withdraw(who: MayWriteStaff, invitation_id: InvitationId) -> Response:
        """Take an invitation back."""
        await services.staff.withdraw(_party(who), invitation_id)
        return Response(status_code=204)


def _changes(router: APIRouter, services: PartyServices) -> None:
    @router.patch(
        "/staff/{staff_id}",
        operation_id="staff.update",
        **changing(answer=StaffRead, body=StaffUpdate, errors=_CHANGES),
    )
    async def update_staff(who: MayWriteStaff, staff_id: StaffId, request: Request) -> Response:
        """Give other roles or stores, from the person's next page on."""
        party = _party(who)
        await services.staff.get(party, staff_id)
        wanted = await parse_body(request, StaffUpdate)
        expected = expected_version(request, object_id=staff_id)
        staff = await services.staff.update(party, staff_id, wanted, by=_giver(who), expected=expected)
        return shown(request, staff, version=staff.version)

    @router.delete("/staff/{staff_id}", operation_id="staff.remove", **changing(answer=None, errors=_CHANGES))
    async def remove_staff(who: MayWriteStaff, staff_id: StaffId, request: Request) -> Response:
        """Take somebody off the staff. Sessions stop acting for the party at once."""
        party = _party(who)
        await services.staff.get(party, staff_id)
        expected = expected_version(request, object_id=staff_id)
        await services.staff.remove(party, staff_id, by=_giver(who), expected=expected)
        return Response(status_code=204)


def _party(who: Principal) -> Party:
    assert who.party_kind is not None, "only people hold these scopes"
    assert who.party_id is not None, "a person acts for a party"
    return Party(kind=who.party_kind, id=who.party_id)


def _giver(who: Principal) -> Giver:
    return Giver(id=who.client_id, scopes=who.scopes, stores=who.stores)


def _made(invitation: InvitationRead) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(invitation.model_dump_json(), status_code=201, headers=headers, media_type="application/json")


def _position(staff: StaffRead) -> Position:
    return Position(staff.created_at, staff.id)

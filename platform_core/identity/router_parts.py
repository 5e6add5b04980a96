"""What the routes of parties, staff and apps share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from platform_core.identity.administration import Administration
from platform_core.identity.licences import Licences
from platform_core.identity.own_apps import Extra, OwnApps
from platform_core.identity.own_clients import OwnClients
from platform_core.identity.parties import Parties
from platform_core.identity.payout_destinations import PayoutDestinations
from platform_core.identity.principal import Principal
from platform_core.identity.staff import Staff
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import ErrorCode
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.idempotency import IdempotentRequest, find_record
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.pagination import Cursors

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyServices:
    """The services behind the routes."""

    parties: Parties
    administration: Administration
    staff: Staff
    apps: OwnApps
    clients: OwnClients
    licences: Licences
    destinations: PayoutDestinations
    cursors: Cursors
    database: Database
    clock: Clock


def changing(
    *, answer: type[BaseModel] | None, body: type[BaseModel] | None = None, errors: Iterable[ErrorCode] = ()
) -> dict[str, Any]:
    """`documented` for a change that names in If-Match what it was decided on; without an answer it removes."""
    if answer is None:
        return documented(answer=None, status=204, errors=errors, needs_match=True)
    return documented(answer=answer, body=body, errors=errors, has_etag=True, needs_match=True)


def claimed(idempotent: IdempotentRequest, services: PartyServices, *, status: int = 201) -> Extra:
    """The part that claims the Idempotency-Key with the answer, a secret left out of it."""

    def parts(answer: BaseModel, object_id: str) -> Iterable[object]:
        now = services.clock.now()
        return (idempotent.claim(created_at=now, object_id=object_id, status=status, body=answer.model_dump_json()),)

    return parts


def shown_once(model: BaseModel, *, status: int = 201) -> Response:
    """An answer that nobody may keep."""
    headers = {"cache-control": "no-store"}
    return Response(model.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


async def once(
    request: Request,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Response]],
    *,
    who: Principal,
    services: PartyServices,
) -> Response:
    """The act under its Idempotency-Key. Raises as `act_once` does."""

    async def look(idempotent: IdempotentRequest) -> Replayed | None:
        return await find_record(services.database, merchant_id=who.merchant_id, request=idempotent)

    return await act_once(request, model, act, client_id=who.client_id, look=look, clock=services.clock)

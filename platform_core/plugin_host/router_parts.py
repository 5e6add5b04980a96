"""What the routes of plugins share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from platform_core.contracts.manifest import PLUGIN_ID
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.acts import act_once
from platform_core.kernel.http.idempotency import IdempotentRequest, find_record
from platform_core.kernel.http.preconditions import changed_meanwhile
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX
from platform_core.plugin_host import repository
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.errors import CHANGED_MEANWHILE
from platform_core.plugin_host.host_deps import Extra, HostDeps

MayRead = Annotated[Principal, permits("plugins:read")]
MayWrite = Annotated[Principal, permits("plugins:write")]
MaySubmit = Annotated[Principal, permits("plugins:submit")]
MayReview = Annotated[Principal, permits("plugins.releases:review")]
MaySwitch = Annotated[Principal, permits("plugins.switches:write")]
PluginIdPath = Annotated[str, Path(pattern=PLUGIN_ID, max_length=120)]
InstallationId = Annotated[str, Path(pattern=id_pattern("pin"))]
ReleaseId = Annotated[str, Path(pattern=id_pattern("prl"))]
SwitchId = Annotated[str, Path(pattern=id_pattern("psw"))]
DeliveryId = Annotated[str, Path(pattern=id_pattern("pld"))]
SecretName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]
Body = TypeVar("Body", bound=BaseModel)


def claimed(idempotent: IdempotentRequest, deps: HostDeps, *, status: int) -> Extra:
    """The part that claims the Idempotency-Key with the answer."""

    def parts(answer: BaseModel, object_id: str) -> Iterable[object]:
        now = deps.clock.now()
        return (idempotent.claim(created_at=now, object_id=object_id, status=status, body=answer.model_dump_json()),)

    return parts


async def once(
    request: Request,
    model: type[Body],
    act: Callable[[Body, IdempotentRequest], Awaitable[Response]],
    *,
    who: Principal,
    deps: HostDeps,
    tenant: str | None,
) -> Response:
    """The act under its Idempotency-Key. `tenant`: whose plan the act commits; None for the platform's own."""

    async def look(idempotent: IdempotentRequest) -> Replayed | None:
        return await find_record(deps.database, merchant_id=tenant, request=idempotent)

    client_id = who.client_id if tenant is not None else f"{who.client_id} {who.merchant_id or ''}"
    return await act_once(request, model, act, client_id=client_id, look=look, clock=deps.clock)


def merchant_of(who: Principal) -> str:
    """The merchant that the caller acts for."""
    assert who.merchant_id is not None, "the route needs a merchant's scope"
    return who.merchant_id


async def publisher_of(life: PluginLife, who: Principal) -> str:
    """The ISV that the caller belongs to; a merchant's own app publishes nothing, and finds nothing."""
    if who.party_kind == "isv" and who.party_id is not None:
        return who.party_id
    async with life.deps.database.read_auth() as connection:
        return await repository.read_app_owner(connection, who.app_id) or ""


def as_precondition(error: PlatformError, object_id: str) -> PlatformError:
    """Somebody else's change is what If-Match is there to notice."""
    return changed_meanwhile(object_id) if error.declared is CHANGED_MEANWHILE else error


def answered(model: BaseModel, *, status: int = 200) -> Response:
    """An answer that belongs to its request alone."""
    headers = {"cache-control": "no-store"}
    return Response(model.model_dump_json(), status_code=status, headers=headers, media_type="application/json")

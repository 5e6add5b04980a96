"""Routes of the clients of a party's own apps: set-up, public keys, signing. For people with a fresh second factor."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from platform_core.identity.errors import CHANGED_MEANWHILE, CLIENT_NOT_FOUND, CLIENT_REFUSED
from platform_core.identity.errors_keys import (
    JWKS_URI_REFUSED,
    KEY_EXISTS,
    KEY_NEEDED,
    KEY_NOT_FOUND,
    KEY_REFUSED,
    KEYS_ELSEWHERE,
    KEYS_FULL,
)
from platform_core.identity.errors_people import APP_NOT_FOUND
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.router_parts import PartyServices, changing, claimed, once, shown_once
from platform_core.identity.schemas_clients import (
    ClientUpdate,
    JwksUriSet,
    OwnClientRead,
    PublicKeyAdd,
    PublicKeyRead,
    RequestSigningSet,
)
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import Page

MayReadApps = Annotated[Principal, permits("apps:read")]
MayWriteKeys = Annotated[Principal, permits("apps.keys:write")]
AppId = Annotated[str, Path(pattern=id_pattern("app"))]
ClientId = Annotated[str, Path(pattern=r"^app_(test|live)_[0-9a-z]{26}$")]
KeyId = Annotated[str, Path(pattern=id_pattern("key"))]
_CLIENT: Final = "/apps/{app_id}/clients/{client_id}"
_ABSENT: Final = (APP_NOT_FOUND, CLIENT_NOT_FOUND)


def clients_router(services: PartyServices) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])
    _set_up(router, services)
    _proofs(router, services)
    _keys(router, services)
    return router


def _set_up(router: APIRouter, services: PartyServices) -> None:
    clients = services.clients

    @router.get(
        _CLIENT, operation_id="app_clients.get", **documented(answer=OwnClientRead, errors=_ABSENT, has_etag=True)
    )
    async def get_client(who: MayReadApps, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """How one of your apps' clients is set up."""
        client = await clients.get(who, app_id, client_id)
        return shown(request, client, version=client.version)

    @router.patch(
        _CLIENT,
        operation_id="app_clients.update",
        **changing(answer=OwnClientRead, body=ClientUpdate, errors=(*_ABSENT, CLIENT_REFUSED)),
    )
    async def update_client(who: MayWriteKeys, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """Change redirect addresses, grant types, profile, or whether requests are pushed."""
        await clients.get(who, app_id, client_id)
        wanted = await parse_body(request, ClientUpdate)
        expected = expected_version(request, object_id=client_id)
        client = await clients.update(who, app_id, client_id, wanted, expected=expected)
        return shown(request, client, version=client.version)


def _proofs(router: APIRouter, services: PartyServices) -> None:
    clients = services.clients

    @router.put(
        f"{_CLIENT}/jwks-uri",
        operation_id="app_clients.set_jwks_uri",
        **changing(answer=OwnClientRead, body=JwksUriSet, errors=(*_ABSENT, JWKS_URI_REFUSED, KEYS_ELSEWHERE)),
    )
    async def set_jwks_uri(who: MayWriteKeys, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """Let the keys published at an address count, instead of uploaded ones."""
        await clients.get(who, app_id, client_id)
        wanted = await parse_body(request, JwksUriSet)
        expected = expected_version(request, object_id=client_id)
        client = await clients.set_jwks_uri(who, app_id, client_id, wanted.uri, expected=expected)
        return shown(request, client, version=client.version)

    @router.delete(
        f"{_CLIENT}/jwks-uri",
        operation_id="app_clients.remove_jwks_uri",
        **changing(answer=None, errors=(*_ABSENT, KEYS_ELSEWHERE)),
    )
    async def remove_jwks_uri(who: MayWriteKeys, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """Let the keys published at the address count no more, within a second."""
        await clients.get(who, app_id, client_id)
        expected = expected_version(request, object_id=client_id)
        await clients.set_jwks_uri(who, app_id, client_id, None, expected=expected)
        return Response(status_code=204)

    @router.put(
        f"{_CLIENT}/request-signing",
        operation_id="app_clients.set_request_signing",
        **changing(answer=OwnClientRead, body=RequestSigningSet, errors=(*_ABSENT, KEY_NEEDED)),
    )
    async def set_signing(who: MayWriteKeys, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """Let the client's requests count signed alone (RFC 9421) within a second, or end that."""
        await clients.get(who, app_id, client_id)
        wanted = await parse_body(request, RequestSigningSet)
        expected = expected_version(request, object_id=client_id)
        client = await clients.set_signing(who, app_id, client_id, is_required=wanted.is_required, expected=expected)
        return shown(request, client, version=client.version)


def _keys(router: APIRouter, services: PartyServices) -> None:
    clients = services.clients

    @router.get(f"{_CLIENT}/keys", operation_id="app_keys.list", responses=refusals(*_ABSENT))
    async def list_keys(who: MayReadApps, app_id: AppId, client_id: ClientId) -> Page[PublicKeyRead]:
        """The client's public keys, the oldest first; at most five."""
        return Page(data=list(await clients.keys(who, app_id, client_id)), next_cursor=None)

    @router.post(
        f"{_CLIENT}/keys",
        operation_id="app_keys.create",
        **documented(
            answer=PublicKeyRead,
            body=PublicKeyAdd,
            status=201,
            errors=(*_ABSENT, KEY_REFUSED, KEY_EXISTS, KEYS_FULL, KEYS_ELSEWHERE, CHANGED_MEANWHILE),
            is_idempotent=True,
        ),
    )
    async def add_key(who: MayWriteKeys, app_id: AppId, client_id: ClientId, request: Request) -> Response:
        """Add a public key: for signing in (`private_key_jwt`), signed requests, or both."""

        async def act(wanted: PublicKeyAdd, idempotent: IdempotentRequest) -> Response:
            extra = claimed(idempotent, services)
            return shown_once(await clients.add_key(who, app_id, client_id, wanted, extra=extra))

        return await once(request, PublicKeyAdd, act, who=who, services=services)

    @router.delete(
        f"{_CLIENT}/keys/{{key_id}}",
        operation_id="app_keys.remove",
        **documented(answer=None, status=204, errors=(*_ABSENT, KEY_NOT_FOUND, CHANGED_MEANWHILE)),
    )
    async def remove_key(who: MayWriteKeys, app_id: AppId, client_id: ClientId, key_id: KeyId) -> Response:
        """Refuse what the key signs, within a second."""
        await clients.remove_key(who, app_id, client_id, key_id)
        return Response(status_code=204)

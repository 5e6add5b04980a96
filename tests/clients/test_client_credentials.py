"""client_credentials by outside clients against a server of two processes, with every authentication they have."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.clients.conftest import SCOPES, Server, Shop
from tests.clients.outside import ClientFailed, OutsideClient
from tests.clients.person import new_key
from tests.support.processes_arsenal import server_children

pytestmark = pytest.mark.api
KNOW_PROOFS = ("oauth4webapi", "openid_client", "requests_oauth2client")
MATRIX = [
    *itertools.product(KNOW_PROOFS, ("basic", "post", "private_key_jwt"), (False, True)),
    *itertools.product(("authlib",), ("basic", "post", "private_key_jwt"), (False,)),
    *itertools.product(("requests_oauthlib",), ("basic", "post"), (False,)),
]
CLIENTS = ("oauth4webapi", "openid_client", "authlib", "requests_oauthlib", "requests_oauth2client")


def job(server: Server, shop: Shop, auth: str, **changed: Any) -> dict[str, Any]:
    """A job of one flow."""
    return {
        "issuer": server.origin,
        "audience": server.audience,
        "resource": server.resource,
        "flow": "client_credentials",
        "client_id": shop.client_id,
        "secret": shop.secret,
        "auth": auth,
        "scope": "stores:read",
        "parameters": {},
        "par": False,
        "dpop": False,
        "openid": False,
        "introspects": False,
        **changed,
    }


@pytest.mark.parametrize(("outside", "auth", "dpop"), MATRIX, indirect=["outside"])
async def test_a_client_gets_a_token_that_the_api_takes(
    server: Server, outside: OutsideClient, auth: str, *, dpop: bool
) -> None:
    shop = await server.new_shop()
    private_jwk = None
    if auth == "private_key_jwt":
        private_jwk = await new_key(server, shop.client_id, needs_rsa=outside.name == "authlib")
    done = await outside.run(job(server, shop, auth, dpop=dpop, private_jwk=private_jwk))
    kind = "dpop" if dpop else "bearer"
    assert (done["token_type"].lower(), done["scope"], done["expires_in"]) == (kind, "stores:read", 600)
    assert done["called"] == 200
    if outside.name == "oauth4webapi" and not dpop:  # it checks tokens as RFC 9068 says, with the keys that we publish
        claims = done["claims"]
        assert (claims["sub"], claims["client_id"]) == (shop.merchant.id, shop.client_id)
        assert (claims["iss"], claims["aud"]) == (server.origin, server.audience)


@pytest.mark.parametrize("outside", CLIENTS, indirect=True)
@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_a_wrong_secret_is_invalid_client(server: Server, outside: OutsideClient, auth: str) -> None:
    shop, other = await server.new_shop(), await server.new_shop()
    with pytest.raises(ClientFailed) as failed:
        await outside.run(job(server, shop, auth, secret=other.secret))
    assert failed.value.names("invalid_client")


@pytest.mark.parametrize("outside", CLIENTS, indirect=True)
async def test_a_scope_that_was_not_granted_is_invalid_scope(server: Server, outside: OutsideClient) -> None:
    shop = await server.new_shop(("stores:read",))
    with pytest.raises(ClientFailed) as failed:
        await outside.run(job(server, shop, "post", scope=" ".join(SCOPES)))
    assert failed.value.names("invalid_scope")


@pytest.mark.parametrize("outside", ["openid_client", "requests_oauth2client"], indirect=True)
async def test_the_api_may_be_named_as_resource_and_nothing_else(server: Server, outside: OutsideClient) -> None:
    shop = await server.new_shop()
    named = {"resource": server.audience}
    assert (await outside.run(job(server, shop, "basic", parameters=named)))["called"] == 200
    with pytest.raises(ClientFailed) as failed:
        await outside.run(job(server, shop, "basic", parameters={"resource": "https://elsewhere.example/v1"}))
    assert failed.value.names("invalid_target")


async def test_both_processes_are_there(server: Server) -> None:
    assert len(server_children(server.daemon)) == 2

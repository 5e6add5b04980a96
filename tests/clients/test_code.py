"""authorization_code by outside clients: every authentication x PAR x DPoP that each of them has, and what follows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.outside import ClientFailed, OutsideClient
from tests.clients.person import CALLBACK, Visit, new_visit

pytestmark = pytest.mark.api
SCOPE = "openid merchant:read stores:read"
METHODS = ("basic", "post", "private_key_jwt", "none")
ALL = ("oauth4webapi", "openid_client", "requests_oauth2client")
MATRIX = [
    *itertools.product(ALL, METHODS, (False, True), (False, True)),
    *itertools.product(("authlib",), METHODS, (False,), (False,)),
    *itertools.product(("requests_oauthlib",), ("basic", "post", "none"), (False,), (False,)),
]
KNOWS_ID_TOKENS = frozenset({"oauth4webapi", "openid_client"})


def job(visit: Visit, auth: str, **changed: Any) -> dict[str, Any]:
    """A job of the code flow."""
    server = visit.server
    return {
        "issuer": server.origin,
        "audience": server.audience,
        "resource": server.resource,
        "flow": "code",
        "client_id": visit.app.client.id,
        "secret": visit.app.secret.secret,
        "private_jwk": visit.private_jwk,
        "auth": auth,
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "parameters": {},
        "par": False,
        "dpop": False,
        "openid": True,
        "introspects": auth != "none",
        **changed,
    }


@pytest.mark.parametrize(("outside", "auth", "par", "dpop"), MATRIX, indirect=["outside"])
async def test_a_code_becomes_tokens_that_work(
    server: Server, outside: OutsideClient, auth: str, *, par: bool, dpop: bool
) -> None:
    visit = await new_visit(server, auth, needs_rsa=outside.name == "authlib")
    done = await outside.run(job(visit, auth, par=par, dpop=dpop), consent=visit.consent)
    assert done["token_type"].lower() == ("dpop" if dpop else "bearer")
    assert sorted(done["scope"].split()) == sorted(SCOPE.split())
    assert done["called"] == 200
    assert done["refreshed"] == {"rotated": auth == "none", "called": 200}
    if outside.name in KNOWS_ID_TOKENS:
        assert (done["id_claims"]["sub"], done["id_claims"]["aud"]) == (visit.merchant_id, visit.app.client.id)
        assert done["userinfo"]["sub"] == visit.merchant_id
    if auth != "none" and outside.name != "requests_oauthlib":  # which has no introspection
        assert done["introspected"]["active"] is True
        assert done["introspected_after"] == {"active": False}


@pytest.mark.parametrize("outside", ALL, indirect=True)
async def test_a_no_is_told_to_the_client_by_name(server: Server, outside: OutsideClient) -> None:
    visit = await new_visit(server, "basic")

    async def refuse(asked: dict[str, Any]) -> dict[str, str]:
        return {"redirect": await visit.refuse(asked)}

    with pytest.raises(ClientFailed) as failed:
        await outside.run(job(visit, "basic"), consent=refuse)
    assert failed.value.names("access_denied")


@pytest.mark.parametrize("outside", ALL, indirect=True)
async def test_a06_an_answer_of_another_server_is_refused_by_the_client(server: Server, outside: OutsideClient) -> None:
    """The `iss` that we send is what lets a client tell a mix-up (RFC 9207)."""
    visit = await new_visit(server, "basic")

    async def mixed_up(asked: dict[str, Any]) -> dict[str, str]:
        redirect = (await visit.consent(asked))["redirect"]
        ours = "iss=" + server.origin.replace(":", "%3A").replace("/", "%2F")
        assert ours in redirect
        return {"redirect": redirect.replace(ours, "iss=https%3A%2F%2Fother.example")}

    with pytest.raises(ClientFailed) as failed:
        await outside.run(job(visit, "basic"), consent=mixed_up)
    assert "iss" in failed.value.reason.lower()

"""The device grant by outside clients: a cash register shows a code, the owner enters it, the register gets tokens."""

from __future__ import annotations

import itertools

import pytest

from tests.clients.conftest import Server
from tests.clients.outside import OutsideClient
from tests.clients.person import new_visit
from tests.clients.test_code import job

pytestmark = pytest.mark.api
CLIENTS = ("oauth4webapi", "openid_client", "requests_oauth2client")
MATRIX = list(itertools.product(CLIENTS, [("basic", False), ("none", True)]))
SCOPE = "merchant:read stores:read"


@pytest.mark.parametrize(("outside", "how"), MATRIX, indirect=["outside"])
async def test_a_device_gets_tokens_for_one_store(
    server: Server, outside: OutsideClient, how: tuple[str, bool]
) -> None:
    auth, dpop = how
    visit = await new_visit(server, auth)
    asked = job(visit, auth, flow="device", scope=SCOPE, openid=False, dpop=dpop)
    done = await outside.run(asked, device=visit.enter)
    assert done["token_type"].lower() == ("dpop" if dpop else "bearer")
    assert sorted(done["scope"].split()) == sorted(SCOPE.split())
    assert (done["called"], done["refreshed"]["called"]) == (200, 200)
    if auth == "basic":
        assert done["introspected"]["active"] is True
        assert done["introspected_after"] == {"active": False}

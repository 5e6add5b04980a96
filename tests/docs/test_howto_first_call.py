"""docs/how-to/first-api-call.md: typed as its reader would, with the merchant's owner played at the consent page."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from platform_core.identity.schemas import AppCreate, ClientConfigure, IsvCreate
from platform_core.kernel.clock import SystemClock
from tests.clients.person import approve
from tests.docs.served import blocks, environment, files, run_shell, serving
from tests.identity.oauth.conftest import answer_of
from tests.support.processes import free_port
from tests.support.world import World

pytestmark = [pytest.mark.docs, pytest.mark.database]
PAGE = "docs/how-to/first-api-call.md"
TEST = "tests/docs/test_howto_first_call.py"


@pytest.fixture
async def world(database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    async with serving(database_url, clock=SystemClock(), home=tmp_path / "home", acquirer_url=acquirer) as world:
        yield world


async def isv_environment(world: World) -> dict[str, str]:
    """What the operator hands to the ISV, and where the ISV waits for the browser."""
    platform, redirect_uri = world.platform, f"http://127.0.0.1:{free_port()}/callback"
    isv = await platform.parties.create_isv(IsvCreate(name="Lantern"))
    app = await platform.apps.create_app(
        AppCreate(name="Lantern Hub", mode="test", isv_id=isv.id, api_version="2026-11-22")
    )
    grants = frozenset({"authorization_code", "refresh_token"})
    wanted = ClientConfigure(profile="confidential", redirect_uris=(redirect_uri,), grant_types=grants)
    await platform.apps.configure_client(app.client.id, wanted)
    return {
        "ARSENAL_URL": str(world.client.base_url).rstrip("/"),
        "ARSENAL_CLIENT_ID": app.client.id,
        "ARSENAL_CLIENT_SECRET": app.secret.secret,
        "REDIRECT_URI": redirect_uri,
    }


async def test_the_curl_way_and_a_merchants_own_app(world: World, tmp_path: Path) -> None:
    till = await world.new_till()
    extra = await isv_environment(world)
    own = await environment(world, merchant_id=till.merchant_id, scopes=("stores:read",))
    extra |= {"OWN_CLIENT_ID": own["ARSENAL_CLIENT_ID"], "OWN_CLIENT_SECRET": own["ARSENAL_CLIENT_SECRET"]}
    begin, exchange, refresh, own_app = blocks(PAGE, test=TEST, language="bash")
    address = (await run_shell(begin, folder=tmp_path, extra=extra)).strip()
    answer = answer_of(await approve(world.platform, till.merchant_id, address))
    assert answer["iss"] == extra["ARSENAL_URL"]
    assert f"STATE={answer['state']}\n" in (tmp_path / "pkce.env").read_text(encoding="utf-8")
    stores = json.loads(await run_shell(exchange, folder=tmp_path, extra={**extra, "CODE": answer["code"]}))
    assert [store["id"] for store in stores["data"]] == [till.store_id]
    refreshed = json.loads(await run_shell(refresh, folder=tmp_path, extra=extra))
    assert refreshed["token_type"] == "Bearer"
    assert (await till.client.get("/v1/stores", headers=_bearer(refreshed["access_token"]))).status_code == 200
    assert json.loads(await run_shell(own_app, folder=tmp_path, extra=extra)) == stores


async def test_the_python_way(world: World, tmp_path: Path) -> None:
    till = await world.new_till()
    extra = await isv_environment(world)
    (tmp_path / "first_call.py").write_text(files(PAGE, test=TEST)["first_call.py"], encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        sys.executable, "first_call.py", cwd=tmp_path, env={**os.environ, **extra}, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    async with asyncio.timeout(60):
        said = (await program.stdout.readline()).decode()
        redirect = await approve(world.platform, till.merchant_id, said.removeprefix("Open in a browser: ").strip())
        async with httpx.AsyncClient(trust_env=False) as browser:
            for _ in range(100):
                try:
                    await browser.get(redirect)
                    break
                except httpx.ConnectError:  # it prints the address a moment before it listens
                    await asyncio.sleep(0.05)
        printed, _ = await program.communicate()
    assert program.returncode == 0
    assert printed.decode().splitlines() == ["['Drum Tower']", "200"]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}

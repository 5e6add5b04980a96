"""What a process keeps of clients, keys and addresses, is read once, and forgotten within a second of a change in
another process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.revocation import PUBLIC_CLIENTS
from platform_core.identity.schemas import ClientConfigure
from platform_core.kernel.clock import ManualClock
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.identity.people.conftest import fetch
from tests.support.patience import HEARD_S
from tests.support.proofs import HeldKey

pytestmark = pytest.mark.database
HELD = HeldKey.generate()
PAGE = "https://till.example"


@pytest.fixture
async def far(other_process: Process) -> Process:
    """A process that hears of changes by its own polls alone, as servers do."""
    await other_process.feed.start()
    return other_process


async def until_heard(process: Process, act: Awaitable[object], holds: Callable[[], Awaitable[bool]]) -> None:
    """Do the act elsewhere, and see that what held here no longer does."""
    assert await holds()
    await act
    began = time.monotonic()
    while await holds():
        assert time.monotonic() - began < HEARD_S, "it was not heard"
        await asyncio.sleep(0.02)


async def proves(process: Process, shop: Shop) -> bool:
    """Whether an assertion of the key gets a token there; 401 or 400 is no."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": HELD.assertion(shop.app.client.id, ORIGIN, now=process.deps.clock.now()),
    }
    answer = await process.http.post("/oauth/token", data=form)
    assert answer.status_code in (200, 400, 401), answer.text
    return answer.status_code == 200


async def is_let_in(process: Process, origin: str = PAGE) -> bool:
    """Whether a page of the origin may read answers of the token endpoint."""
    answer = await process.http.request("OPTIONS", "/oauth/token", headers={"Origin": origin})
    assert answer.status_code == 204
    return bool(answer.headers.get("access-control-allow-origin") == origin)


def public(*redirects: str) -> ClientConfigure:
    grants = frozenset({"authorization_code", "refresh_token"})
    return ClientConfigure(profile="public", redirect_uris=redirects, grant_types=grants)


async def test_a_removed_key_is_refused_in_another_process(process: Process, far: Process, shop: Shop) -> None:
    keys, client_id = process.proofs.keys, shop.app.client.id
    made = await keys.add(client_id, HELD.public, by="per_dev")
    await until_heard(far, keys.remove(client_id, made.id, by="per_dev"), lambda: proves(far, shop))
    assert not await proves(process, shop), "and here at once"


async def test_an_added_key_counts_in_another_process(process: Process, far: Process, shop: Shop) -> None:
    async def is_unknown() -> bool:
        return not await proves(far, shop)

    adding = process.proofs.keys.add(shop.app.client.id, HELD.public, by="per_dev")
    await until_heard(far, adding, is_unknown)


async def test_a_removed_jwks_uri_is_asked_no_more(process: Process, far: Process, shop: Shop) -> None:
    keys, client_id = process.proofs.keys, shop.app.client.id
    uri = "https://keys.example/jwks.json"
    await keys.set_uri(client_id, uri, by="per_dev")
    asked: list[str] = []

    async def fetched(uri: str, *, kid: str | None = None) -> tuple[()]:
        asked.append(uri)
        return ()

    far.proofs.keys._sets.keys = fetched  # type: ignore[method-assign]

    async def asks() -> bool:
        asked.clear()
        await far.proofs.keys.find(client_id, kid="x")
        return asked == [uri]

    await until_heard(far, keys.set_uri(client_id, None, by="per_dev"), asks)


async def test_a_clients_keys_are_read_once(process: Process, shop: Shop) -> None:
    keys, client_id = process.proofs.keys, shop.app.client.id
    made = await keys.add(client_id, HELD.public, by="per_dev")
    await process.feed.poll()
    assert len(await keys.find(client_id)) == 1
    await fetch(process, "DELETE FROM client_key WHERE id = $1", made.id)  # behind the platform's back: no news
    assert len(await keys.find(client_id)) == 1, "kept: nothing was read"


async def test_in_doubt_the_rows_are_read(process: Process, shop: Shop, clock: ManualClock) -> None:
    """A feed that has not been heard for a second vouches for nothing."""
    keys, client_id = process.proofs.keys, shop.app.client.id
    made = await keys.add(client_id, HELD.public, by="per_dev")
    await Apps(process.deps).configure_client(client_id, public(f"{PAGE}/back"))
    await process.feed.poll()
    assert (len(await keys.find(client_id)), await is_let_in(process)) == (1, True)
    await fetch(process, "DELETE FROM client_key WHERE id = $1", made.id)
    await fetch(process, "UPDATE app_client SET redirect_uris = '' WHERE id = $1", client_id)
    assert (len(await keys.find(client_id)), await is_let_in(process)) == (1, True), "kept"
    clock.advance(timedelta(seconds=1.01))
    assert (len(await keys.find(client_id)), await is_let_in(process)) == (0, False)


async def test_a_removed_address_is_no_origin_in_another_process(process: Process, far: Process, shop: Shop) -> None:
    apps, client_id = Apps(process.deps), shop.app.client.id
    await apps.configure_client(client_id, public(f"{PAGE}/back", "https://other.example/back"))
    left = public("https://other.example/back")
    await until_heard(far, apps.configure_client(client_id, left), lambda: is_let_in(far))
    assert await is_let_in(far, "https://other.example")
    gone = apps.disable_client(client_id)
    await until_heard(far, gone, lambda: is_let_in(far, "https://other.example"))


async def test_a_client_that_is_public_no_more_opens_no_origin(process: Process, far: Process, shop: Shop) -> None:
    apps, client_id = Apps(process.deps), shop.app.client.id
    await apps.configure_client(client_id, public(f"{PAGE}/back"))
    grants = frozenset({"authorization_code"})
    kept = ClientConfigure(profile="confidential", redirect_uris=(f"{PAGE}/back",), grant_types=grants)
    await until_heard(far, apps.configure_client(client_id, kept), lambda: is_let_in(far))


async def test_strangers_origins_cost_no_query(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    await Apps(deps).configure_client(shop.app.client.id, public(f"{PAGE}/back"))
    await process.feed.poll()
    assert await is_let_in(process)
    connection = await asyncpg.connect(deps.database.urls.owner)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE app_client IN ACCESS EXCLUSIVE MODE")  # whoever reads would wait
            async with asyncio.timeout(HEARD_S):
                assert [await is_let_in(process, f"https://{n}.example") for n in range(50)] == [False] * 50
                assert await is_let_in(process)
    finally:
        await connection.close()


async def test_confidential_clients_bring_no_news_of_origins(process: Process, shop: Shop, deps: IdentityDeps) -> None:
    grants = frozenset({"authorization_code"})
    kept = ClientConfigure(profile="confidential", redirect_uris=(f"{PAGE}/back",), grant_types=grants)
    await Apps(deps).configure_client(shop.app.client.id, kept)
    assert await fetch(process, "SELECT 1 FROM revocation WHERE kind = 'origins'") == []
    await Apps(deps).configure_client(shop.app.client.id, public(f"{PAGE}/back"))
    told = await fetch(process, "SELECT subject_id FROM revocation WHERE kind = 'origins'")
    assert [row[0] for row in told] == [PUBLIC_CLIENTS]

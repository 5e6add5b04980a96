"""What a party changes has a version: 428 without it, 412 for another, 304 for whoever knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from platform_core.identity.schemas import StoreCreate
from tests.identity.conftest import Process, Shop
from tests.identity.people.conftest import Somebody, counts, fetch, join
from tests.identity.people.test_party_routes import code, desk_of

pytestmark = [pytest.mark.api, pytest.mark.database]
Maker = Callable[[Somebody, Shop], Awaitable[tuple[str, Any, Any]]]


async def _merchant(owner: Somebody, shop: Shop) -> tuple[str, Any, Any]:
    return f"/merchants/{shop.merchant.id}", {"name": "Bell Tower"}, {"time_zone": "Asia/Urumqi"}


async def _store(owner: Somebody, shop: Shop) -> tuple[str, Any, Any]:
    wanted = StoreCreate(merchant_id=shop.merchant.id, name="Front")
    store = await owner.process.people.services.parties.create_store(wanted)
    return f"/stores/{store.id}", {"name": "Back"}, {"state": "closed"}


async def _staff(owner: Somebody, shop: Shop) -> tuple[str, Any, Any]:
    helper = await join(owner.process, owner.clock, owner.party, "cashier", email="b@shop.example", console="merchant")
    return f"/staff/{helper.staff_id}", {"roles": ["manager"]}, {"roles": ["marketer"]}


async def _app(owner: Somebody, shop: Shop) -> tuple[str, Any, Any]:
    return f"/apps/{shop.app.id}", {"name": "Other till"}, {"state": "disabled"}


async def written(process: Process) -> list[object]:
    """Everything that a change would leave: rows, versions, the audit log, news."""
    sums = await fetch(
        process,
        "SELECT (SELECT sum(version) FROM merchant), (SELECT sum(version) FROM store), "
        "(SELECT sum(version) FROM membership), (SELECT sum(version) FROM app), "
        "(SELECT count(*) FROM audit_row), (SELECT count(*) FROM revocation)",
    )
    return [*sums[0], await counts(process)]


@pytest.mark.parametrize("make", [_merchant, _store, _staff, _app])
async def test_a_change_names_the_version_it_was_decided_on(
    owner: Somebody, process: Process, shop: Shop, make: Maker
) -> None:
    path, first, second = await make(owner, shop)
    desk = await desk_of(owner)
    seen = await desk.get(path)
    tag = seen.headers["etag"]
    assert tag == f'"{seen.json()["version"]}"'
    before = await written(process)
    missing = await desk.call("PATCH", path, first)
    assert code(missing) == (428, "kernel.precondition_missing")
    assert f"/v1{path}" in missing.json()["hint"]
    for stale in ('"99"', f"W/{tag}", "*", tag.strip('"'), f'{tag}, "99"', "\t"):
        refused = await desk.call("PATCH", path, first, **{"If-Match": stale})
        assert code(refused) == (412, "kernel.precondition_failed"), stale
    assert await written(process) == before
    changed = await desk.call("PATCH", path, first, **{"If-Match": tag})
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] == f'"{seen.json()["version"] + 1}"' != tag
    assert (await desk.get(path)).json() == changed.json()
    assert code(await desk.call("PATCH", path, second, **{"If-Match": tag})) == (412, "kernel.precondition_failed")
    again = await desk.call("PATCH", path, second, **{"If-Match": changed.headers["etag"]})
    assert again.status_code == 200, again.text


@pytest.mark.parametrize("make", [_merchant, _store, _staff, _app])
async def test_of_two_changes_by_one_version_one_counts(
    owner: Somebody, process: Process, shop: Shop, make: Maker
) -> None:
    path, first, second = await make(owner, shop)
    desk = await desk_of(owner)
    tag = (await desk.get(path)).headers["etag"]
    answers = await asyncio.gather(*(desk.call("PATCH", path, body, **{"If-Match": tag}) for body in (first, second)))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    done = next(answer for answer in answers if answer.status_code == 200)
    assert (await desk.get(path)).json() == done.json()


@pytest.mark.parametrize("make", [_merchant, _store, _staff, _app])
async def test_what_is_known_is_304_until_it_changes(
    owner: Somebody, process: Process, shop: Shop, make: Maker
) -> None:
    path, first, _ = await make(owner, shop)
    desk = await desk_of(owner)
    tag = (await desk.get(path)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"99", {tag}', "*"):
        same = await desk.get(path, **{"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag), known
    assert (await desk.get(path, **{"If-None-Match": '"99"'})).status_code == 200
    await desk.call("PATCH", path, first, **{"If-Match": tag})
    assert (await desk.get(path, **{"If-None-Match": tag})).status_code == 200


async def test_removing_staff_names_the_version_too(owner: Somebody, process: Process, shop: Shop) -> None:
    path, _, _ = await _staff(owner, shop)
    desk = await desk_of(owner)
    before = await written(process)
    assert code(await desk.call("DELETE", path)) == (428, "kernel.precondition_missing")
    assert code(await desk.call("DELETE", path, **{"If-Match": '"2"'})) == (412, "kernel.precondition_failed")
    assert await written(process) == before
    assert (await desk.call("DELETE", path, **{"If-Match": '"1"'})).status_code == 204


async def test_an_app_that_shows_the_same_has_the_same_tag(owner: Somebody, process: Process, shop: Shop) -> None:
    """A strong tag: what a client's change alters is not in the app's answer, whose version it leaves alone."""
    desk, path = await desk_of(owner), f"/apps/{shop.app.id}"
    before = await desk.get(path)
    await process.people.services.apps.apps.rotate_secret(shop.app.client.id, overlap=timedelta(0))
    await process.people.services.apps.apps.disable_client(shop.app.client.id)
    after = await desk.get(path)
    assert (after.headers["etag"], after.json()) == (before.headers["etag"], before.json())

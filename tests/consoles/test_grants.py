"""Grants over HTTP: the merchant's people at `/v1/grants`, the app at `/oauth/grants/{id}`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from platform_core.identity.grants import EXPIRE
from platform_core.identity.schemas import GrantCreate
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit.due import DueWork
from tests.consoles.browser import Browser, fields_of, sign_in
from tests.consoles.scene import SCOPE, Scene
from tests.support.patience import HEARD_S
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
MANAGED = f"{SCOPE} grant_management_query grant_management_revoke"


async def csrf_of(scene: Scene, browser: Browser) -> str:
    return fields_of((await browser.get(await scene.ask(browser))).text)["csrf"][0]


async def send(
    scene: Scene, browser: Browser, method: str, path: str, *, version: int | None = None, body: Any = None
) -> httpx.Response:
    headers = {
        "cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        "origin": ORIGIN,
        "x-csrf-token": await csrf_of(scene, browser),
        **({"if-match": f'"{version}"'} if version is not None else {}),
    }
    return await scene.world.client.request(method, path, json=body, headers=headers)


async def given(scene: Scene, browser: Browser) -> tuple[Any, Till]:
    """A grant by consent, and the app's token of it."""
    left = await scene.allow(browser, await scene.ask(browser, scope=MANAGED))
    tokens = await scene.tokens(left.headers["location"])
    [grant] = await scene.grants()
    return grant, Till(scene.world.client, tokens["access_token"], scene.merchant_id, scene.till.store_id)


async def test_the_owner_lists_reads_narrows_and_ends_a_grant(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    grant, till = await given(scene, browser)
    listed = await send(scene, browser, "GET", "/v1/grants?state=active")
    assert [one["id"] for one in listed.json()["data"]] == [scene.till.grant_id, grant.id]
    read = await send(scene, browser, "GET", f"/v1/grants/{grant.id}")
    assert read.headers["etag"] == '"1"'
    limits = {(limit["type"], limit["per"], limit["measure"]): limit for limit in read.json()["limits"]}
    assert limits["payment_refund", "day", "amount"]["left"] == 200_000
    assert [change["kind"] for change in read.json()["history"]] == ["created"]

    path = f"/v1/grants/{grant.id}"
    details = [d for d in read.json()["authorization_details"] if d["type"] == "payment_refund"]
    details[0].pop("id")
    details[0]["limits"][1]["amount_minor"] = 1_000
    body = {"scopes": ["openid", "refunds:write"], "authorization_details": details}
    assert (await send(scene, browser, "PATCH", path, body=body)).status_code == 428
    assert (await send(scene, browser, "PATCH", path, version=7, body=body)).status_code == 412
    narrowed = await send(scene, browser, "PATCH", path, version=1, body=body)
    assert (narrowed.status_code, narrowed.headers["etag"]) == (200, '"2"'), narrowed.text
    assert narrowed.json()["scopes"] == ["openid", "refunds:write"]

    assert (await send(scene, browser, "DELETE", path)).status_code == 428
    assert (await send(scene, browser, "DELETE", path, version=1)).status_code == 412
    assert (await send(scene, browser, "DELETE", path, version=2)).status_code == 204
    assert (await send(scene, browser, "DELETE", path, version=3)).status_code == 404
    after = (await send(scene, browser, "GET", path)).json()
    assert (after["state"], after["revoked_why"], after["version"]) == ("revoked", "merchant", 3)
    assert [change["kind"] for change in after["history"]] == ["revoked", "narrowed", "created"]
    async with asyncio.timeout(HEARD_S):
        while (await till.get("/payments")).status_code != 401:  # noqa: ASYNC110 - of the feed, which polls
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": ["openid", "payouts:write"]},
        {"stores": ["sto_00000000000000000000000000"]},
        {"authorization_details": [{"type": "payment_refund", "limits": [{"per": "day", "quantity": 1}]}]},
        {
            "authorization_details": [
                {
                    "type": "payment_refund",
                    "limits": [
                        {"per": "request", "amount_minor": 50_000, "currency": "CNY"},
                        {"per": "day", "amount_minor": 200_001, "currency": "CNY"},
                        {"per": "month", "quantity": 300},
                    ],
                }
            ]
        },
        {"authorization_details": []},
    ],
)
async def test_a17_a_grant_is_not_widened_by_narrowing_it(scene: Scene, body: dict[str, Any]) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    grant, _ = await given(scene, browser)
    answer = await send(scene, browser, "PATCH", f"/v1/grants/{grant.id}", version=1, body=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "identity.grant_refused")
    assert (await scene.grants()) == [grant]


async def test_another_merchants_grant_is_not_there_and_other_roles_may_not_look(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    other = await scene.world.new_till()
    for method, version in (("GET", None), ("DELETE", 1)):
        answer = await send(scene, browser, method, f"/v1/grants/{other.grant_id}", version=version)
        assert (answer.status_code, answer.json()["code"]) == (404, "identity.grant_not_found")
    clerk = await sign_in(scene.world, scene.merchant_id, roles="finance")
    assert (await send(scene, clerk, "GET", "/v1/grants")).status_code == 403
    assert (await scene.till.get("/grants")).status_code == 403  # a scope that no app holds
    stale = await sign_in(scene.world, scene.merchant_id, age_s=601)
    answer = await send(scene, stale, "DELETE", f"/v1/grants/{scene.till.grant_id}", version=1)
    assert (answer.status_code, answer.json()["code"]) == (401, "identity.step_up_required")


async def test_an_app_queries_and_gives_back_its_own_grant_alone(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    grant, till = await given(scene, browser)
    headers = {"Authorization": f"Bearer {till.token}"}
    client = scene.world.client
    own = await client.get(f"/oauth/grants/{grant.id}", headers=headers)
    assert own.json()["scopes"] == [{"scope": " ".join(grant.scopes), "resource": [f"{ORIGIN}/v1"]}]
    assert {detail["type"] for detail in own.json()["authorization_details"]} == {"payment_create", "payment_refund"}
    for foreign in (scene.till.grant_id, "gra_00000000000000000000000000", "x"):
        for method in ("GET", "DELETE"):
            answer = await client.request(method, f"/oauth/grants/{foreign}", headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "invalid_grant_id")
    assert (await client.delete(f"/oauth/grants/{grant.id}", headers=headers)).status_code == 204
    [ended] = await scene.grants()
    assert (ended.state, ended.revoked_by, ended.revoked_why) == ("revoked", scene.app.client.id, "app")


async def test_a_grant_ends_when_its_time_is_over(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    await scene.allow(browser, await scene.ask(browser), until="30")
    [grant] = await scene.grants()
    assert timedelta(days=29) < grant.expires_at - SystemClock().now() <= timedelta(days=30)
    platform = scene.world.platform
    work = DueWork(EXPIRE, grant.id, scene.merchant_id, platform.clock.now(), 0)
    again = await platform.grants.expire(work)
    assert again is not None
    assert [type(part).__name__ for part in again.parts] == ["Due"]  # not yet: it comes back in time


async def test_an_ended_grant_is_announced_and_its_tokens_die(scene: Scene) -> None:
    platform, world = scene.world.platform, scene.world
    wanted = GrantCreate(
        app_id=scene.app.id,
        merchant_id=scene.merchant_id,
        mode="test",
        scopes=frozenset({"payments:read", "refunds:write"}),
        given_by="per_owner",
        expires_at=SystemClock().now() + timedelta(seconds=2),
    )
    grant = await platform.grants.create(wanted)
    await asyncio.sleep(2.1)  # grants end by the real clock
    work = DueWork(EXPIRE, grant.id, scene.merchant_id, platform.clock.now(), 0)
    plan = await platform.grants.expire(work)
    assert plan is not None
    await platform.committer.commit(plan)
    [ended] = await scene.grants()
    assert (ended.state, ended.revoked_why, ended.version) == ("revoked", "expired", 2)
    async with world.platform.database.read_all() as connection:
        query = text("SELECT type FROM outbox WHERE object_id = :id ORDER BY sequence")
        types = list((await connection.execute(query, {"id": grant.id})).scalars())
    assert types == ["grant.created", "grant.expired"]
    assert [type(part).__name__ for part in (await platform.grants.expire(work)).parts] == ["DueDone"]  # type: ignore[union-attr]

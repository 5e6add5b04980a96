"""The page for devices in a browser without script."""

from __future__ import annotations

from typing import Any

import pytest

from platform_core.identity.consent import ScopeWish
from platform_core.identity.oauth.device import GRANT_TYPE
from platform_core.identity.schemas import AppCreate, AppCreated, ClientConfigure, IsvCreate
from platform_core.kernel.i18n import Text
from tests.consoles.browser import Browser, fields_of, sign_in
from tests.consoles.scene import Scene
from tests.support.world import ORIGIN

pytestmark = [pytest.mark.api, pytest.mark.database]


async def register(scene: Scene, scope: str = "payments:read stores:read") -> tuple[AppCreated, dict[str, Any]]:
    """A cash register that waits."""
    platform = scene.world.platform
    isv = await platform.parties.create_isv(IsvCreate(name="Till Makers"))
    app = await platform.apps.create_app(
        AppCreate(name="Register <7>", mode="test", api_version="2026-11-22", isv_id=isv.id)
    )
    wanted = ClientConfigure(profile="public", grant_types=frozenset({GRANT_TYPE, "refresh_token"}))
    await platform.apps.configure_client(app.client.id, wanted)
    form = {"client_id": app.client.id, "scope": scope}
    answer = await scene.world.client.post("/oauth/device_authorization", data=form)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return app, found


async def poll(scene: Scene, app: AppCreated, codes: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": GRANT_TYPE, "device_code": codes["device_code"], "client_id": app.client.id}
    answer = await scene.world.client.post("/oauth/token", data=form)
    return answer.status_code, answer.json()


async def send(browser: Browser, page: str, **changed: str) -> Any:
    """The page's form, with these fields."""
    form = {name: values[0] for name, values in fields_of(page).items()}
    return await browser.post("/device", {**form, **changed})


async def test_the_owner_compares_the_code_chooses_the_store_and_allows(scene: Scene) -> None:
    app, codes = await register(scene)
    browser = await sign_in(scene.world, scene.merchant_id)
    opened = await browser.get(codes["verification_uri_complete"].removeprefix(ORIGIN))
    assert opened.status_code == 200
    assert codes["user_code"] in opened.text
    assert "Till Makers" not in opened.text  # nothing is looked up by opening the page
    found = await send(browser, opened.text, step="find")
    assert found.status_code == 200, found.text
    for words in (
        "Register &lt;7&gt; asks to act for",
        "Till Makers",
        codes["user_code"],
        "Go on only if",
        "Drum Tower",
    ):
        assert words in found.text, words
    assert found.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
    without = await send(browser, found.text, step="allow")
    assert (without.status_code, "Drum Tower" in without.text) == (422, True)
    assert (await poll(scene, app, codes))[1]["error"] == "authorization_pending"
    allowed = await send(browser, found.text, step="allow", store=scene.till.store_id)
    assert (allowed.status_code, "The device is connected" in allowed.text) == (200, True)
    status, tokens = await poll(scene, app, codes)
    assert status == 200, tokens
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    stores = (await scene.world.client.get("/v1/stores", headers=headers)).json()["data"]
    assert [store["id"] for store in stores] == [scene.till.store_id]


async def test_refusing_is_told_to_the_device(scene: Scene) -> None:
    app, codes = await register(scene)
    browser = await sign_in(scene.world, scene.merchant_id, locale="zh")
    found = await browser.get("/device")
    found = await send(browser, found.text, step="find", user_code=codes["user_code"].lower().replace("-", " "))
    assert "请求代表" in found.text
    refused = await send(browser, found.text, step="refuse")
    assert "已拒绝该设备" in refused.text
    assert (await poll(scene, app, codes))[1]["error"] == "access_denied"


async def test_a_wrong_code_is_said_and_the_sixth_try_waits(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    page = (await browser.get("/device?user_code=%3Cscript%3E")).text
    assert "<script>" not in page
    for _ in range(5):
        answer = await send(browser, page, step="find", user_code="BCDF-GHJK")
        assert (answer.status_code, "The code is unknown" in answer.text) == (404, True)
    answer = await send(browser, page, step="find", user_code="BCDF-GHJK")
    assert (answer.status_code, "Five codes can be tried" in answer.text) == (429, True)


async def test_a18_nobody_decides_without_session_token_and_origin(scene: Scene) -> None:
    app, codes = await register(scene)
    stranger = Browser(scene.world.client)
    away = await stranger.get(f"/device?user_code={codes['user_code']}")
    assert (away.status_code, away.headers["location"].startswith("/sign-in?")) == (303, True)
    browser = await sign_in(scene.world, scene.merchant_id)
    page = await send(browser, (await browser.get("/device")).text, step="find", user_code=codes["user_code"])
    form = {name: values[0] for name, values in fields_of(page.text).items()} | {"store": scene.till.store_id}
    framed = await browser.post("/device", {**form, "step": "allow"}, origin="https://evil.example")
    bare = await browser.post("/device", {**form, "step": "allow", "csrf": ""})
    other = await sign_in(scene.world, scene.merchant_id)
    foreign = await send(other, (await other.get("/device")).text, step="allow", device=form["device"])
    assert [answer.status_code for answer in (framed, bare, foreign)] == [403, 403, 404]
    by_get = await browser.get(f"/device?step=allow&device={form['device']}&store={scene.till.store_id}")
    assert "The device is connected" not in by_get.text
    assert (await poll(scene, app, codes))[1]["error"] == "authorization_pending"


async def test_what_is_optional_is_not_given(scene: Scene) -> None:
    app, _ = await register(scene)
    wish = ScopeWish("payments:read", is_optional=True, purpose=Text(en="Look back", zh="回看"))
    await scene.world.platform.consent.declare_scopes(app.id, [wish])
    form = {"client_id": app.client.id, "scope": "payments:read stores:read"}
    codes = (await scene.world.client.post("/oauth/device_authorization", data=form)).json()
    browser = await sign_in(scene.world, scene.merchant_id)
    found = await send(browser, (await browser.get("/device")).text, step="find", user_code=codes["user_code"])
    assert found.status_code == 200, found.text
    assert ("See your stores" in found.text, "See payments" in found.text) == (True, False), found.text
    await send(browser, found.text, step="allow", store=scene.till.store_id)
    assert (await poll(scene, app, codes))[1]["scope"] == "stores:read"

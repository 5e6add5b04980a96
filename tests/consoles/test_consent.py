"""The consent page in a browser without script: what it shows, what it takes, who may decide."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from platform_core.identity.schemas import (
    GrantNarrow,
)
from tests.consoles.browser import REDIRECT, answer_of, fields_of, sign_in
from tests.consoles.scene import SCOPE, Scene
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_the_owner_lowers_a_limit_and_the_app_is_held_to_it(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    left = await scene.allow(browser, path, **{"limit.1.1": "30.00"})
    assert left.status_code == 303, left.text
    assert left.headers["referrer-policy"] == "no-referrer"
    tokens = await scene.tokens(left.headers["location"])
    [grant] = await scene.grants()
    assert "members.contact:read" not in grant.scopes  # optional, and left unticked
    assert "refunds:write" in grant.scopes
    refund = next(d for d in grant.authorization_details if d["type"] == "payment_refund")
    assert {"per": "day", "amount_minor": 3_000, "currency": "CNY"} in refund["limits"]
    assert any(d["type"] == "payment_create" for d in grant.authorization_details)  # the operator's default
    till = Till(scene.world.client, tokens["access_token"], scene.merchant_id, scene.till.store_id)
    payment = (await till.pay(form="local")).json()
    body = {"out_request_no": "r1", "amount_minor": 3_001}
    refused = await till.post(f"/payments/{payment['id']}/refunds", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.limit_exceeded")
    assert refused.json()["left"] == 3_000
    taken = await till.post(f"/payments/{payment['id']}/refunds", {**body, "amount_minor": 3_000})
    assert taken.status_code == 201, taken.text


async def test_the_page_says_what_is_asked_in_words(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    page = (await browser.get(await scene.ask(browser))).text
    for words in (
        "Refund Desk asks to act for Hutong Coffee.",
        "Till Makers",
        "Refund your customers",
        "The app says: “Refund &lt;b&gt;at the desk&lt;/b&gt;”",
        "At most CN¥2,000.00",
        "At most 300 refunds",
        "See names and phone numbers",
        "isv.example",
        "TEST MODE",
        "Drum Tower",
        "Bell Tower",
    ):
        assert words in page, words
    assert "refunds:write" in page.partition("Names for developers")[2]
    ticked = fields_of(page)
    assert "scope" not in ticked  # what is optional is not ticked
    assert ticked["stores"] == ["all"]
    zh = (await browser.get(await scene.ask(browser), accept_language="zh")).text
    assert "Refund Desk" in zh
    chinese = await sign_in(scene.world, scene.merchant_id, locale="zh")
    page = (await chinese.get(await scene.ask(chinese))).text
    for words in (
        "Refund Desk 请求代表 Hutong Coffee 进行操作。",
        "向顾客退款",
        "应用说明：“前台退款”",
        "最高 ¥2,000.00",
    ):
        assert words in page, words
    assert "None" not in page
    assert "{" not in page


async def test_refusing_goes_back_with_access_denied_and_gives_nothing(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    shown = await browser.get(path)
    left = await browser.post(path, {**fields_of(shown.text), "decision": "refuse"})
    answer = answer_of(left.headers["location"])
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "s1", ORIGIN)
    assert await scene.grants() == []


async def test_the_policy_lets_the_redirect_through_and_nothing_else(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    shown = await browser.get(await scene.ask(browser))
    policy = shown.headers["content-security-policy"]
    assert "form-action 'self' https://isv.example;" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert shown.headers["x-frame-options"] == "DENY"
    assert shown.headers["cache-control"] == "no-store"
    assert "<script" not in shown.text


@pytest.mark.parametrize("value", ["5000.01", "0", "-1", "1e3", "３", "1.001", "9" * 19, "x"])
async def test_a17_limits_are_not_raised_by_editing_the_form(scene: Scene, value: str) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    answer = await scene.allow(browser, path, **{"limit.1.0": value})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert await scene.grants() == []


@pytest.mark.parametrize("scope", ["payouts:write", "grants:approve", "nonsense"])
async def test_a17_scopes_are_not_added_by_editing_the_form(scene: Scene, scope: str) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    answer = await scene.allow(browser, path, scope=[scope])
    assert answer.status_code in (403, 422), answer.text
    assert await scene.grants() == []


async def test_a18_consent_without_the_right_is_refused_and_says_so(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id, roles="finance")
    path = await scene.ask(browser)
    shown = await browser.get(path)
    assert "Letting apps in is not part of your role." in shown.text
    assert 'value="allow" disabled' in shown.text
    answer = await scene.allow(browser, path)
    assert answer.status_code == 403
    assert "identity.consent_refused" in answer.text
    assert await scene.grants() == []


async def test_a18_a_foreign_store_cannot_be_given(scene: Scene) -> None:
    stranger = (await scene.world.new_till()).store_id
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    answer = await scene.allow(browser, path, stores="chosen", store=[stranger])
    assert answer.status_code == 422
    own = await sign_in(scene.world, scene.merchant_id, stores=scene.stores[0])
    path = await scene.ask(own)
    shown = await own.get(path)
    assert "Bell Tower" not in shown.text
    for chosen in ({"stores": "all"}, {"stores": "chosen", "store": [scene.stores[1]]}):
        answer = await scene.allow(own, path, **chosen)
        assert answer.status_code == 403, answer.text
    assert await scene.grants() == []


async def test_a18_without_the_token_of_the_session_or_from_elsewhere_nothing_is_decided(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    form = {**fields_of((await browser.get(path)).text), "decision": "allow"}
    tries = (
        ({**form, "csrf": ""}, {}),
        ({**form, "csrf": "A" * 43}, {}),
        (form, {"origin": "https://evil.example"}),
        (form, {"sec-fetch-site": "cross-site"}),
    )
    for sent, headers in tries:
        answer = await browser.post(path, sent, **headers)
        assert (answer.status_code, "identity.csrf_refused" in answer.text) == (403, True)
    assert (await browser.get(f"{path}&decision=allow&{urlencode({'csrf': form['csrf'][0]})}")).status_code == 200
    assert await scene.grants() == []


async def test_a18_a_request_of_another_browser_or_a_used_one_is_stale(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    path = await scene.ask(browser)
    other = await sign_in(scene.world, scene.merchant_id)
    await scene.ask(other)
    assert "identity.authorization_stale" in (await other.get(path)).text
    form = {**fields_of((await browser.get(path)).text), "decision": "allow"}
    assert (await browser.post(path, form)).status_code == 303
    again = await browser.post(path, form)
    assert (again.status_code, "identity.authorization_stale" in again.text) == (400, True)
    assert len(await scene.grants()) == 1


async def test_marked_scopes_want_a_fresh_second_factor(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id, age_s=601)
    path = await scene.ask(browser)
    answer = await scene.allow(browser, path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in/step-up?console=merchant&to=%2Fconsent%3Ftoken")
    assert await scene.grants() == []


async def test_coming_back_shows_what_is_new_and_keeps_what_was_used(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    await scene.allow(browser, await scene.ask(browser), **{"limit.1.1": "40.00"})
    [first] = await scene.grants()
    path = await scene.ask(browser, scope=f"{SCOPE} stores:read", grant_management_action="replace")
    page = (await browser.get(path)).text
    assert "already acts for" in page
    assert page.count("Has it already") == 5
    assert "now CN¥40.00" in page
    left = await scene.allow(browser, path)
    assert left.status_code == 303
    [second] = await scene.grants()
    assert (second.id, second.version) == (first.id, 2)
    ids = [{d["id"] for d in grant.authorization_details} for grant in (first, second)]
    assert ids[0] == ids[1]
    detailed = await scene.world.platform.grants.get(first.id, merchant_id=scene.merchant_id)
    assert [change.kind for change in detailed.history] == ["changed", "created"]
    assert detailed.history[0].difference["scopes_added"] == ["stores:read"]
    narrowed = GrantNarrow(scopes=frozenset({"openid", "merchant:read"}))
    after = await scene.world.platform.grants.narrow(
        first.id, narrowed, merchant_id=scene.merchant_id, by="per_owner", expected=2
    )
    assert (after.scopes, after.authorization_details, after.version) == (["merchant:read", "openid"], [], 3)


async def test_raising_a_limit_wants_a_fresh_second_factor_too(scene: Scene) -> None:
    browser = await sign_in(scene.world, scene.merchant_id)
    wanted = {"type": "payment_create", "limits": [{"per": "day", "amount_minor": 1_000, "currency": "CNY"}]}
    asked = {"scope": "openid payments:write", "authorization_details": json.dumps([wanted])}
    assert (await scene.allow(browser, await scene.ask(browser, **asked))).status_code == 303
    stale = await sign_in(scene.world, scene.merchant_id, age_s=700)
    same = await scene.allow(stale, await scene.ask(stale, **asked))
    assert same.headers["location"].startswith(REDIRECT)
    wanted["limits"] = [{"per": "day", "amount_minor": 2_000, "currency": "CNY"}]
    asked["authorization_details"] = json.dumps([wanted])
    kept = await scene.allow(stale, await scene.ask(stale, **asked))  # the page proposes what the app has now
    assert kept.headers["location"].startswith(REDIRECT)
    raised = await scene.allow(stale, await scene.ask(stale, **asked), **{"limit.0.0": "20.00"})
    assert raised.headers["location"].startswith("/sign-in/step-up")

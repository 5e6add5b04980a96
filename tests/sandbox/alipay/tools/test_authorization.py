"""A merchant lets an app in by the protocol's words; an end user does; what their tokens are good for, and how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from platform_core.identity.consent import ScopeWish
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan
from platform_core.kernel.i18n import Text
from sandbox.simulators.alipay_gateway.auth_tokens import CODE_LIFE, LIVES, AuthTokens, TokenRefused
from tests.consoles.browser import REDIRECT, Browser, answer_of, fields_of, sign_in
from tests.sandbox.alipay.tools.yard import App, Yard
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def _consent_path(yard: Yard, app: App, browser: Browser, **changes: str) -> str:
    asked = {"app_id": app.number, "redirect_uri": REDIRECT, "state": "s 1&2", **changes}
    answer = await browser.get(f"/oauth2/appToAppAuth.htm?{urlencode(asked)}")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{ORIGIN}/consent?token=")
    return str(answer.headers["location"]).removeprefix(ORIGIN)


async def _let_in(yard: Yard, app: App, till: Till, **changes: Any) -> dict[str, str]:
    """What comes back to the app when the owner agrees."""
    browser = await sign_in(yard.world, till.merchant_id)
    path = await _consent_path(yard, app, browser)
    shown = await browser.get(path)
    assert shown.status_code == 200, shown.text
    left = await browser.post(path, {**fields_of(shown.text), "decision": "allow", **changes})
    assert left.status_code == 303, left.text
    return answer_of(left.headers["location"])


async def _token(yard: Yard, app: App, till: Till) -> dict[str, Any]:
    code = (await _let_in(yard, app, till))["app_auth_code"]
    node = await app.ask("alipay.open.auth.token.app", {"grant_type": "authorization_code", "code": code})
    assert node["code"] == "10000", node
    return node


async def _isv_app(yard: Yard, *scopes: str) -> App:
    app = await yard.isv_app()
    wishes = [ScopeWish(scope, purpose=Text(en="to work", zh="工作所需")) for scope in scopes]
    await yard.world.platform.consent.declare_scopes(app.app_id, wishes)
    return app


async def test_from_consent_to_a_call_for_the_merchant_and_its_end(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read", "payments:write"), await yard.world.new_till()
    back = await _let_in(yard, app, till)
    assert (back["app_id"], back["state"]) == (app.number, "s 1&2")
    biz = {"grant_type": "authorization_code", "code": back["app_auth_code"]}
    token = await app.ask("alipay.open.auth.token.app", biz)
    assert (token["expires_in"], token["re_expires_in"]) == ("31536000", "32140800")
    assert token["user_id"].startswith("2088")
    assert token["tokens"][0]["app_auth_token"] == token["app_auth_token"]
    held = token["app_auth_token"]

    order = {"out_trade_no": "for_merchant", "total_amount": "1.00", "subject": "茶"}
    made = await app.ask("alipay.trade.precreate", order, app_auth_token=held)
    assert made["code"] == "10000", made
    bar = {**order, "out_trade_no": "for_merchant_paid", "scene": "bar_code", "auth_code": "287000000000000001"}
    paid = await app.ask("alipay.trade.pay", bar, app_auth_token=held, notify_url="http://isv.example/n")
    assert paid["code"] == "10000", paid
    await yard.follow(till.merchant_id)
    [told] = [n for n in await app.desk.notices(state=None, after=None, limit=9) if "trade_no" in n.fields]
    assert (told.fields["app_id"], told.fields["auth_app_id"]) == (app.number, token["auth_app_id"])
    assert told.fields["seller_id"] == token["user_id"]
    sql = "SELECT out_trade_no FROM pay_payment WHERE merchant_id = $1 ORDER BY out_trade_no"
    payments = await yard.owner.fetch(sql, till.merchant_id)
    assert [row["out_trade_no"] for row in payments] == ["for_merchant", "for_merchant_paid"]
    refund = {"out_trade_no": "for_merchant", "refund_amount": "1.00", "out_request_no": "r"}
    refused = await app.ask("alipay.trade.refund", refund, app_auth_token=held)
    assert (refused["code"], refused["sub_code"]) == ("20001", "aop.invalid-app-auth-token-no-api")

    about = await app.ask("alipay.open.auth.token.app.query", {"app_auth_token": held})
    assert (about["status"], about["auth_app_id"]) == ("valid", token["auth_app_id"])
    assert "alipay.trade.precreate" in about["auth_methods"]
    assert "alipay.trade.refund" not in about["auth_methods"]

    [mine] = [g for g in await yard.world.platform.grants.page(till.merchant_id) if g.app_id == app.app_id]
    assert mine.kind == "gateway"
    await yard.world.platform.grants.revoke(mine.id, merchant_id=till.merchant_id, by="per_owner", why="test")
    refused = await app.ask("alipay.trade.query", {"out_trade_no": "for_merchant"}, app_auth_token=held)
    assert (refused["code"], refused["sub_code"]) == ("20001", "aop.invalid-app-auth-token")


async def test_both_the_beginning_and_the_end_are_announced(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read"), await yard.world.new_till()
    address = "http://gateway.example/hear"
    await yard.tools.settings.change(app.number, {"gateway_url": address})
    token = await _token(yard, app, till)
    [grant] = [g for g in await yard.world.platform.grants.page(till.merchant_id) if g.app_id == app.app_id]
    await yard.world.platform.grants.revoke(grant.id, merchant_id=till.merchant_id, by="per_owner", why="test")
    await yard.follow(till.merchant_id)
    ended, begun = await app.desk.notices(state="pending", after=None, limit=10)
    assert (begun.address, ended.address) == (address, address)
    assert (begun.fields["status"], ended.fields["status"]) == ("execute_auth", "cancel_auth")
    for notice in (begun, ended):
        assert notice.fields["notify_type"] == "open_app_auth_notify"
        detail = json.loads(notice.fields["biz_content"])["detail"]
        assert (detail["user_id"], detail["auth_app_id"]) == (token["user_id"], token["auth_app_id"])


async def test_authorising_again_ends_the_older_token_and_refreshing_the_one_before(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read"), await yard.world.new_till()
    first = await _token(yard, app, till)
    asked = {"grant_type": "refresh_token", "refresh_token": first["app_refresh_token"]}
    second = await app.ask("alipay.open.auth.token.app", asked)
    assert second["code"] == "10000", second
    again = await app.ask("alipay.open.auth.token.app", asked)
    assert (again["code"], again["sub_code"]) == ("40002", "isv.refresh-token-invalid")
    await _let_in(yard, app, till)  # the merchant's word counts, whether the app fetches the new token or not
    told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, app_auth_token=second["app_auth_token"])
    assert told["sub_code"] == "aop.invalid-app-auth-token"
    third = await _token(yard, app, till)
    for node, sub_code in (
        (first, "aop.invalid-app-auth-token"),
        (second, "aop.invalid-app-auth-token"),
        (third, "ACQ.TRADE_NOT_EXIST"),
    ):
        told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, app_auth_token=node["app_auth_token"])
        assert told["sub_code"] == sub_code


async def test_a_code_counts_once_and_for_its_app_alone(yard: Yard) -> None:
    app, other = await _isv_app(yard, "payments:read"), await _isv_app(yard, "payments:read")
    till = await yard.world.new_till()
    code = (await _let_in(yard, app, till))["app_auth_code"]
    biz = {"grant_type": "authorization_code", "code": code}
    before = await yard.rows()
    foreign = await other.ask("alipay.open.auth.token.app", biz)
    assert (foreign["code"], foreign["sub_code"]) == ("40002", "isv.code-invalid")
    assert await yard.rows() == before
    assert (await app.ask("alipay.open.auth.token.app", biz))["code"] == "10000"
    before = await yard.rows()
    for wrong in (biz, {**biz, "code": code[:-1] + "!"}, {**biz, "code": "x"}):
        assert (await app.ask("alipay.open.auth.token.app", wrong))["sub_code"] == "isv.code-invalid"
    assert (await app.ask("alipay.open.auth.token.app", {**biz, "grant_type": "x"}))[
        "sub_code"
    ] == "isv.grant-type-invalid"
    assert await yard.rows() == before


async def test_declining_gives_nothing_but_access_denied(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read"), await yard.world.new_till()
    browser = await sign_in(yard.world, till.merchant_id)
    path = await _consent_path(yard, app, browser)
    shown = await browser.get(path)
    left = await browser.post(path, {**fields_of(shown.text), "decision": "refuse"})
    assert answer_of(left.headers["location"]) == {"app_id": app.number, "state": "s 1&2", "error": "access_denied"}
    assert not [g for g in await yard.world.platform.grants.page(till.merchant_id) if g.app_id == app.app_id]
    assert await app.desk.notices(state=None, after=None, limit=10) == []


async def test_an_address_that_is_not_the_apps_stays_on_our_page(yard: Yard) -> None:
    app, browser = await yard.isv_app(), Browser(yard.world.client)
    before = await yard.rows()
    for asked in (
        {"app_id": app.number, "redirect_uri": "https://evil.example/back"},
        {"app_id": "2021000000000000", "redirect_uri": REDIRECT},
        {"app_id": app.number, "redirect_uri": REDIRECT + "/"},
    ):
        for page in ("appToAppAuth", "publicAppAuthorize"):
            answer = await browser.get(f"/oauth2/{page}.htm?{urlencode(asked)}")
            assert answer.status_code == 400, answer.text
            assert "location" not in answer.headers
            assert "evil" not in answer.text
    assert await yard.rows() == before


async def test_asking_here_takes_nothing_of_what_was_given_by_oauth(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read"), await yard.world.new_till()
    await yard.give(app, till, ["refunds:read"])
    await _token(yard, app, till)
    [grant] = [g for g in await yard.world.platform.grants.page(till.merchant_id) if g.app_id == app.app_id]
    assert (grant.kind, grant.scopes) == ("merchant", ["payments:read", "refunds:read"])


async def test_a_token_that_nobody_gave_is_refused(yard: Yard) -> None:
    app = await yard.own_app()
    made_up = "aat_" + "0" * 26 + "_" + "A" * 43
    for token in (made_up, "x", "中"):
        told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, app_auth_token=token)
        assert (told["code"], told["sub_code"]) == ("20001", "aop.invalid-app-auth-token")
        told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, auth_token=token)
        assert (told["code"], told["sub_code"]) == ("20001", "aop.invalid-auth-token")


async def test_an_end_user_agrees_and_is_known_by_his_number(yard: Yard) -> None:
    app, browser = await yard.own_app(), Browser(yard.world.client)
    assert app.till is not None
    await yard.register(app)
    asked = {"app_id": app.number, "redirect_uri": REDIRECT, "scope": "auth_user", "state": "t"}
    shown = await browser.get(f"/oauth2/publicAppAuthorize.htm?{urlencode(asked)}")
    assert shown.status_code == 200, shown.text
    ticket = fields_of(shown.text)["ticket"][0]
    form = {"ticket": ticket, "buyer": "rich", "decision": "allow"}
    back = answer_of((await browser.post("/oauth2/publicAppAuthorize.htm", form)).headers["location"])
    assert (back["app_id"], back["scope"], back["state"]) == (app.number, "auth_user", "t")
    node = await app.ask("alipay.system.oauth.token", grant_type="authorization_code", code=back["auth_code"])
    assert node["code"] == "10000", node
    assert node["user_id"].startswith("2088")
    known = await yard.owner.fetch(
        "SELECT 1 FROM customer_key WHERE merchant_id = $1 AND kind = 'alipay_user'", app.till.merchant_id
    )
    assert len(known) == 1
    told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, auth_token=node["access_token"])
    assert told["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    again = await app.ask("alipay.system.oauth.token", grant_type="refresh_token", refresh_token=node["refresh_token"])
    assert (again["code"], again["user_id"]) == ("10000", node["user_id"])
    told = await app.ask("alipay.trade.query", {"out_trade_no": "none"}, auth_token=node["access_token"])
    assert told["sub_code"] == "aop.invalid-auth-token"
    refused = answer_of(
        (await browser.post("/oauth2/publicAppAuthorize.htm", form | {"decision": "no"})).headers["location"]
    )
    assert (refused["error"], "auth_code" in refused) == ("access_denied", False)
    stale = await browser.post("/oauth2/publicAppAuthorize.htm", form | {"ticket": ticket[:-8] + "AAAAAAA="})
    assert stale.status_code == 400


async def test_codes_and_tokens_end_to_the_second(yard: Yard) -> None:
    platform, clock = yard.world.platform, ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    tokens = AuthTokens(
        database=platform.database, committer=platform.committer, vault=platform.vault, clock=clock, ids=platform.ids
    )

    async def made() -> str:
        code, written = tokens.code("customer", app_id="app_1", merchant_id=None, user_id="2088", scopes=["auth_base"])
        await platform.committer.commit(Plan(None, [written]))
        return code

    late, good = await made(), await made()
    clock.advance(CODE_LIFE - timedelta(seconds=1))
    issued = await tokens.exchange("customer", app_id="app_1", code=good)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenRefused, match=r"^code$"):
        await tokens.exchange("customer", app_id="app_1", code=late)
    life, refresh_life = LIVES["customer"]
    clock.advance(life - timedelta(seconds=2))
    assert (await tokens.find("customer", app_id="app_1", token=issued.access)).user_id == "2088"
    clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenRefused, match="token_expired"):
        await tokens.find("customer", app_id="app_1", token=issued.access)
    with pytest.raises(TokenRefused, match=r"^token$"):
        await tokens.find("customer", app_id="app_1", token=issued.refresh)
    clock.advance(refresh_life - life)
    with pytest.raises(TokenRefused, match="refresh_expired"):
        await tokens.refresh("customer", app_id="app_1", refresh_token=issued.refresh)


async def test_nothing_secret_of_a_token_is_stored(yard: Yard) -> None:
    app, till = await _isv_app(yard, "payments:read"), await yard.world.new_till()
    token = await _token(yard, app, till)
    secret = token["app_auth_token"].rpartition("_")[2]
    rows = await yard.owner.fetch("SELECT row_to_json(t)::text AS told FROM sim_alipay_auth_token t")
    assert rows
    assert not [row for row in rows if secret in row["told"]]

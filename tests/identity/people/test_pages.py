"""The sign-in pages as a browser meets them, without script."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pyotp import TOTP

from platform_core.consoles.sign_in.desk import safe_target
from platform_core.consoles.sign_in.texts import TEXTS
from platform_core.identity.schemas_people import StaffInvite
from platform_core.identity.staff import AT_THE_TERMINAL
from tests.identity.conftest import ORIGIN, Process
from tests.identity.people.conftest import PASSWORD, Browser, Somebody, counts, join
from tests.identity.people.test_sign_in import Outbox

pytestmark = [pytest.mark.api, pytest.mark.database]
SIGN_IN = "/sign-in?console=merchant"


async def type_password(browser: Browser, somebody: Somebody, path: str = SIGN_IN) -> httpx.Response:
    await browser.get(path)
    return await browser.post(path, {"email": somebody.email, "password": PASSWORD})


async def test_a_cashier_reaches_the_account_page(browser: Browser, cashier: Somebody) -> None:
    answer = await type_password(browser, cashier)
    assert answer.status_code == 303
    cookies = answer.headers.get_list("set-cookie")
    [session] = [cookie for cookie in cookies if cookie.startswith("__Host-arsenal_merchant=")]
    assert session.endswith("; HttpOnly; Path=/; SameSite=lax; Secure")
    shown = await browser.follow(answer)
    assert shown.status_code == 200
    assert "Wang Fang" in shown.text
    assert "Corner shop" in shown.text
    assert "TEST MODE" in shown.text


async def test_every_page_is_strict(browser: Browser, owner: Somebody) -> None:
    for path in (SIGN_IN, "/sign-in/recovery", "/sign-in/account?console=admin", "/sign-in/recovery/unknown"):
        answer = await browser.get(path)
        if answer.status_code == 303:
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self';" in policy
        assert "script" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "<script" not in answer.text
        assert "style=" not in answer.text


async def test_the_style_sheet_is_kept_for_ever(browser: Browser) -> None:
    page = await browser.get(SIGN_IN)
    [path] = re.findall(r'href="(/static/[^"]+[.]css)"', page.text)
    answer = await browser.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]


async def test_an_owner_types_a_code_and_returns(browser: Browser, owner: Somebody) -> None:
    answer = await type_password(browser, owner, f"{SIGN_IN}&to=/consent%3Ftoken%3Dx")
    page = await browser.follow(answer)
    assert TEXTS["second_lead"].en in page.text
    path = str(page.url.raw_path.decode())
    wrong = await browser.post(path, {"code": "000000"})
    assert (wrong.status_code, "The code is not right" in wrong.text) == (422, True)
    right = await browser.post(path, {"code": owner.code()})
    onward = await browser.get(right.headers["location"])
    assert (onward.status_code, onward.headers["location"]) == (303, "/consent?token=x")


async def test_enrolment_shows_the_seed_and_the_codes_once(browser: Browser, process: Process, owner: Somebody) -> None:
    newcomer = await join(
        process, owner.clock, owner.party, "administrator", email="new@shop.example", console="merchant"
    )
    page = await browser.follow(await type_password(browser, newcomer))
    [seed] = re.findall(r'<code class="secret">([^<]+)</code>', page.text)
    [sealed] = re.findall(r'name="seed" value="([^"]+)"', page.text)
    assert seed.replace(" ", "") not in sealed
    path = page.url.raw_path.decode()
    refused = await browser.post(path, {"seed": sealed, "code": "000000"})
    assert (refused.status_code, seed in refused.text) == (422, True)
    code = TOTP(seed.replace(" ", "")).at(owner.clock.now())
    done = await browser.post(path, {"seed": sealed, "code": code})
    codes = re.findall(r"<li>([0-9a-z]{5}-[0-9a-z]{5})</li>", done.text)
    assert (done.status_code, len(codes)) == (200, 10)
    await browser.get(path)
    again = await browser.post(path, {"seed": sealed, "code": code})
    assert again.status_code == 409
    [onward] = re.findall(r'href="(/sign-in/next[^"]+)"', done.text)
    account = await browser.follow(await browser.get(onward.replace("&amp;", "&")))
    assert "Corner shop" in account.text


async def test_a_foreign_or_altered_seed_is_refused(browser: Browser, process: Process, owner: Somebody) -> None:
    before = await counts(process)
    await browser.follow(await type_password(browser, owner))
    for seed in ("", "AAAA", "é", "A" * 200):
        answer = await browser.post("/sign-in/enrol?console=merchant", {"seed": seed, "code": "000000"})
        assert answer.status_code == 409, seed
    assert (await counts(process))["recovery_code"] == before["recovery_code"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{ORIGIN}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a21_sign_in_csrf_by_origin(browser: Browser, cashier: Somebody, headers: dict[str, str]) -> None:
    await browser.get(SIGN_IN)
    answer = await browser.post(SIGN_IN, {"email": cashier.email, "password": PASSWORD}, **headers)
    assert (answer.status_code, "identity.csrf_refused" in answer.text) == (403, True)
    assert "__Host-arsenal_merchant" not in browser.http.cookies


async def test_a21_sign_in_csrf_by_token(browser: Browser, cashier: Somebody, process: Process) -> None:
    form = {"email": cashier.email, "password": PASSWORD}
    before = await counts(process)
    for token in ("", "AAAA", "é"):
        await browser.get(SIGN_IN)
        assert (await browser.post(SIGN_IN, {**form, "csrf": token})).status_code == 403
    await browser.get(SIGN_IN)
    held = browser.csrf
    browser.http.cookies.clear()
    assert (await browser.post(SIGN_IN, {**form, "csrf": held})).status_code == 403
    await browser.get(SIGN_IN)
    assert (await browser.post(SIGN_IN, {**form, "csrf": held})).status_code == 403
    assert await counts(process) == before


async def test_a_request_without_origin_needs_our_referer(browser: Browser, cashier: Somebody) -> None:
    await browser.get(SIGN_IN)
    form = {"email": cashier.email, "password": PASSWORD, "csrf": browser.csrf}
    for referer, status in ((None, 403), ("https://evil.example/", 403), (f"{ORIGIN}/sign-in", 303)):
        headers = {"Referer": referer} if referer else {}
        assert (await browser.http.post(SIGN_IN, data=form, headers=headers)).status_code == status


async def test_the_token_of_one_session_is_not_that_of_another(browser: Browser, cashier: Somebody) -> None:
    await browser.follow(await type_password(browser, cashier))
    stale = browser.csrf
    await browser.follow(await type_password(browser, cashier))
    assert (await browser.post("/sign-in/out?console=merchant", {"csrf": stale})).status_code == 403
    assert (await browser.get("/sign-in/account?console=merchant")).status_code == 200
    out = await browser.post("/sign-in/out?console=merchant", {})
    assert (out.status_code, out.headers["location"]) == (303, "/sign-in?console=merchant&to=")
    assert (await browser.get("/sign-in/account?console=merchant")).status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie: x\r\ny",
        "/ space",
        "/\x00",
        "/é",
        "",
        "evil.example",
        "/" + "a" * 5000,
    ],
)
def test_a05_open_redirect_leads_to_the_account_page(target: str) -> None:
    assert safe_target(target, console="merchant") == "/sign-in/account?console=merchant"


@pytest.mark.parametrize("target", ["/consent?token=a.b-c_d&x=%2F%2Fevil", "/", "/sign-in/party?console=isv"])
def test_a05_our_own_paths_are_kept(target: str) -> None:
    assert safe_target(target, console="merchant") == target


async def test_a05_open_redirect_at_sign_in(browser: Browser, cashier: Somebody) -> None:
    for target in ("https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example"):
        answer = await type_password(browser, cashier, f"{SIGN_IN}&to={target}")
        onward = await browser.get(answer.headers["location"])
        assert (onward.status_code, onward.headers["location"]) == (303, "/sign-in/account?console=merchant")


async def test_a_page_of_a_session_leads_to_sign_in_and_back(browser: Browser) -> None:
    answer = await browser.get("/sign-in/party?console=isv&to=/x")
    found = urlsplit(answer.headers["location"])
    assert (answer.status_code, found.path) == (303, "/sign-in")
    assert parse_qs(found.query) == {"console": ["isv"], "to": ["/x"]}


async def test_step_up_returns_to_the_act(browser: Browser, owner: Somebody) -> None:
    page = await browser.follow(await type_password(browser, owner))
    await browser.post(page.url.raw_path.decode(), {"code": owner.code()})
    owner.clock.advance(timedelta(hours=1))
    path = "/sign-in/step-up?console=merchant&to=/v1/stores"
    assert TEXTS["step_up_lead"].en in (await browser.get(path)).text
    done = await browser.post(path, {"code": owner.code()})
    assert (await browser.get(done.headers["location"])).headers["location"] == "/v1/stores"


async def test_one_text_for_every_failure(browser: Browser, cashier: Somebody) -> None:
    shown = set()
    for email in (cashier.email, "nobody@shop.example", "", "no address", "x" * 254):
        await browser.get(SIGN_IN)
        answer = await browser.post(SIGN_IN, {"email": email, "password": "x"})
        assert answer.status_code in (422, 429)
        if answer.status_code == 422:
            shown.add(re.sub(r'value="[^"]*"', "", answer.text))
    assert len(shown) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"csrf=%ff",
        b"a" * 70_000,
        b"email=a&email=b&csrf=x",
        "é".encode(),
        b"&".join([b"x=1"] * 10_000),
        b"csrf=%00",
    ],
)
async def test_a25_forms_that_are_none_are_refused(browser: Browser, body: bytes) -> None:
    await browser.get(SIGN_IN)
    headers = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await browser.http.post(SIGN_IN, content=body, headers=headers)
    assert answer.status_code in (400, 403)


async def test_pages_speak_chinese(browser: Browser, cashier: Somebody) -> None:
    answer = await browser.http.get(SIGN_IN, headers={"Accept-Language": "zh-CN"})
    assert (answer.headers["content-language"], TEXTS["sign_in_title"].zh in answer.text) == ("zh", True)
    switched = await browser.get(f"{SIGN_IN}&lang=zh")
    assert '<html lang="zh-Hans">' in switched.text


async def test_recovery_by_the_pages(browser: Browser, cashier: Somebody, process: Process) -> None:
    await browser.get("/sign-in/recovery")
    known = await browser.post("/sign-in/recovery", {"email": cashier.email})
    await browser.get("/sign-in/recovery")
    unknown = await browser.post("/sign-in/recovery", {"email": "nobody@shop.example"})
    assert known.status_code == unknown.status_code == 200
    assert known.text == unknown.text
    outbox = Outbox()
    await process.people.messages.deliver(outbox)
    [link] = [message.link for message in outbox.messages.values() if message.kind == "recovery"]
    path = urlsplit(link).path
    assert (await browser.get(path)).status_code == 200
    done = await browser.post(path, {"password": "another quiet river"})
    assert done.status_code == 303
    assert (await browser.post(path, {"password": "yet another river"})).status_code == 404


async def test_invitations_by_the_pages(browser: Browser, process: Process, owner: Somebody) -> None:
    wanted = StaffInvite(email="new@shop.example", roles=["cashier"])
    invited = await process.people.staff.invite(owner.party, wanted, by=AT_THE_TERMINAL)
    path = urlsplit(invited.link).path
    page = await browser.get(path)
    assert (page.status_code, "Join Corner shop" in page.text, "Cashier" in page.text) == (200, True, True)
    weak = await browser.post(path, {"name": "Li Wei", "password": "short"})
    assert (weak.status_code, "12 to 128" in weak.text) == (422, True)
    done = await browser.post(path, {"name": "Li <b>Wei</b>", "password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/sign-in?console=merchant&to=")
    assert (await browser.get(path)).status_code == 404
    newcomer = Somebody(process, owner.clock, "new@shop.example", "", "", owner.party, "merchant")
    account = await browser.follow(await type_password(browser, newcomer))
    assert "Li &lt;b&gt;Wei&lt;/b&gt;" in account.text

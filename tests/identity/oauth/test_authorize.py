"""GET /oauth/authorize: which requests reach the consent page, and where every other one goes."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.schemas import ClientConfigure
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.identity.oauth.conftest import ALL_GRANTS, CALLBACK, Journey, answer_of, count, open_journey

pytestmark = [pytest.mark.database, pytest.mark.api]
DETAILS = [{"type": "payment_refund", "limits": [{"per": "day", "amount_minor": 200_000, "currency": "CNY"}]}]


REFUSED = "identity.authorization_refused"


async def said_on_our_page(journey: Journey, parameters: dict[str, str]) -> str:
    """The code of the error; the browser is sent nowhere."""
    answer = await journey.authorize(parameters)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    return str(answer.json()["code"])


async def test_a_valid_request_opens_the_consent_page_and_writes_nothing(journey: Journey) -> None:
    wanted = {"nonce": "n-1", "max_age": "300", "ui_locales": "zh en", "prompt": "login consent"}
    answer = await journey.authorize(**wanted, acr_values="urn:arsenal:acr:mfa urn:other")
    request = journey.opened(answer)
    assert (request.client_id, request.app_id, request.mode) == (journey.client_id, journey.app.id, "test")
    assert (request.redirect_uri, request.state, request.nonce) == (CALLBACK, "st-1", "n-1")
    assert request.scopes == {"merchant:read", "payments:read", "stores:read"}
    assert (request.max_age, request.acr_values, request.ui_locales) == (300, ("urn:arsenal:acr:mfa",), ("zh", "en"))
    assert request.prompt == {"login", "consent"}
    assert request.resource == f"{ORIGIN}/v1"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for table in ("oauth_code", "oauth_pushed_request", "oauth_used_once", "access_grant"):
        assert await count(journey.process.deps, table) == 0


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK + "x",
        CALLBACK[:-1],
        CALLBACK + "&next=https://evil.example",
        "https://till.example:444/callback?from=arsenal",
        "https://TILL.example/callback?from=arsenal",
        "https://till.example/./callback?from=arsenal",
        "https://till.example/a/../callback?from=arsenal",
        "https://user@till.example/callback?from=arsenal",
        "https://till.example%2fcallback?from=arsenal",
        "https://till.example.evil.example/callback?from=arsenal",
        "http://till.example/callback?from=arsenal",
        "https://till.example/callback?from=arsenal#fragment",
        "javascript:alert(1)",
        "//evil.example",
    ],
)
async def test_a04_a_redirect_address_that_only_looks_registered_stays_on_our_page(journey: Journey, uri: str) -> None:
    assert await said_on_our_page(journey, journey.parameters(redirect_uri=uri)) == REFUSED


async def test_a04_a_missing_or_second_address_and_an_unknown_client_stay_on_our_page(journey: Journey) -> None:
    assert await said_on_our_page(journey, journey.parameters(redirect_uri=None)) == REFUSED
    assert await said_on_our_page(journey, journey.parameters(client_id=None)) == REFUSED
    assert (
        await said_on_our_page(journey, journey.parameters(client_id="app_test_00000000000000000000000000")) == REFUSED
    )
    query = urlencode([*journey.parameters().items(), ("redirect_uri", "https://evil.example/")])
    answer = await journey.process.http.get(f"/oauth/authorize?{query}")
    assert (answer.status_code, "location" in answer.headers) == (400, False)


async def test_a_disabled_client_stays_on_our_page(journey: Journey, deps: IdentityDeps) -> None:
    await Apps(deps).disable_client(journey.client_id)
    assert await said_on_our_page(journey, journey.parameters()) == REFUSED


async def test_the_page_speaks_both_languages_and_repeats_nothing_of_the_request(journey: Journey) -> None:
    headers = {"Accept": "text/html", "Accept-Language": "zh"}
    parameters = journey.parameters(redirect_uri="https://evil.example/<script>")
    answer = await journey.process.http.get("/oauth/authorize", params=parameters, headers=headers)
    assert (answer.status_code, answer.headers["content-language"]) == (400, "zh")
    assert "回调地址缺失" in answer.text
    assert "evil" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    english = await journey.process.http.get("/oauth/authorize", params=parameters, headers={"Accept": "text/html"})
    assert "The address to return to is missing" in english.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),  # F05
        ({"response_type": 'code"\\支'}, "unsupported_response_type"),  # F03
        ({"response_mode": "fragment"}, "invalid_request"),  # F26
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"scope": "grants:approve"}, "invalid_scope"),
        ({"scope": "introspect:any"}, "invalid_scope"),
        ({"scope": '"\\支付'}, "invalid_scope"),
        ({"resource": "https://other.example/v1"}, "invalid_target"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "A" * 43 + "\n"}, "invalid_request"),
        ({"code_challenge": "A" * 42}, "invalid_request"),
        ({"code_challenge": "A" * 128}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "١"}, "invalid_request"),
        ({"acr_values": "urn:other"}, "unmet_authentication_requirements"),
        ({"nonce": "n" * 257}, "invalid_request"),
        ({"nonce": "a\r\nb"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"grant_management_action": "create"}, "invalid_request"),
        ({"grant_id": "gra_00000000000000000000000000"}, "invalid_grant_id"),
        ({"authorization_details": "[" * 2000}, "invalid_authorization_details"),  # F21
        ({"authorization_details": '[{"type":"no_such"}]'}, "invalid_authorization_details"),
        ({"authorization_details": '[{"type":"payment_refund","type":"x"}]'}, "invalid_authorization_details"),
        ({"authorization_details": json.dumps(DETAILS)}, "invalid_authorization_details"),  # of no scope asked for
        ({"authorization_details": json.dumps(DETAILS), "scope": "refunds:write"}, "invalid_request"),  # PAR alone
    ],
)
async def test_a_bad_request_goes_back_with_the_rfcs_error_and_iss(
    journey: Journey, changes: dict[str, str | None], error: str
) -> None:
    answer = await journey.authorize(**changes)
    assert answer.status_code == 303  # F28
    location = answer.headers["location"]
    assert location.startswith(CALLBACK + "&")
    found = answer_of(location)
    assert (found["error"], found["iss"], found["state"]) == (error, ORIGIN, "st-1")  # A06, F14
    assert found["error_description"].isascii()
    assert "code" not in found


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": "A" * 43 + "\n"},
        {"code_challenge_method": "plain"},
        {"code_challenge": None, "code_challenge_method": None},
    ],
)
async def test_a03_f13_pkce_is_asked_of_public_clients_too(public: Journey, changes: dict[str, str | None]) -> None:
    answer = await public.authorize(**changes)
    assert answer_of(answer.headers["location"])["error"] == "invalid_request"


@pytest.mark.parametrize("name", ["scope", "prompt", "max_age", "request_uri", "authorization_details", "unknown"])
async def test_f24_a16_any_doubled_parameter_is_refused_on_our_page(journey: Journey, name: str) -> None:
    query = urlencode([*journey.parameters().items(), (name, "a"), (name, "b")])
    answer = await journey.process.http.get(f"/oauth/authorize?{query}")
    assert (answer.status_code, "location" in answer.headers) == (400, False)


@pytest.mark.parametrize("state", ["a\r\nSet-Cookie: x=1", "a\nb", "支付", "\x7f", "x" * 1025])
async def test_a28_a_state_that_is_not_plain_is_not_given_back(journey: Journey, state: str) -> None:
    answer = await journey.authorize(state=state)
    if len(state) > 1024:
        assert (answer.status_code, "location" in answer.headers) == (400, False)
        return
    found = answer_of(answer.headers["location"])
    assert (found["error"], "state" in found) == ("invalid_request", False)
    assert all("x=1" not in value for name, value in answer.headers.multi_items() if name == "set-cookie")


async def test_a28_an_odd_but_plain_state_comes_back_as_it_was(journey: Journey) -> None:
    state = "a&code=forged#x%0d%0a+ \"'"
    location = await journey.decide(await journey.request(state=state))
    assert answer_of(location)["state"] == state


@pytest.mark.parametrize(
    "query",
    [
        b"client_id=%FF",
        b"client_id=%00",
        b"client_id=%ED%A0%80",
        b"&".join(b"p%d=1" % n for n in range(65)),
        b"%",
        b"\xe6",
    ],
)
async def test_a25_garbage_in_the_address_is_no_5xx(process: Process, query: bytes) -> None:
    answer = await process.http.get(b"/oauth/authorize?".decode() + query.decode("latin-1"))
    assert answer.status_code == 400


async def test_prompt_none_with_somebody_signed_in_still_shows_the_page(journey: Journey) -> None:
    parameters = journey.parameters(prompt="none")
    redirect = await journey.process.oauth.open_authorization(parameters, browser=journey.browser, who=journey.who())
    assert answer_of(redirect.location)["error"] == "interaction_required"


async def test_a_loopback_address_of_a_public_client_fits_with_any_port(process: Process) -> None:
    native = await open_journey(process, profile="public", redirects=("http://127.0.0.1/cb", "http://[::1]:9/cb"))
    for uri in ("http://127.0.0.1:51004/cb", "http://[::1]/cb"):
        assert (await native.request(redirect_uri=uri)).redirect_uri == uri
    for uri in ("http://127.0.0.1:51004/cb2", "http://127.0.0.2/cb", "http://localhost/cb", "https://127.0.0.1/cb"):
        assert await said_on_our_page(native, native.parameters(redirect_uri=uri)) == REFUSED
    kept = await open_journey(process, redirects=("http://127.0.0.1/cb",))
    assert await said_on_our_page(kept, kept.parameters(redirect_uri="http://127.0.0.1:51004/cb")) == REFUSED


@pytest.mark.parametrize(
    "uri",
    [
        "https://till.example/#x",
        "https://*.till.example/cb",
        "https://user:pw@till.example/cb",
        "http://till.example/cb",
        "https:///cb",
        "https://till.example:0/cb",
        "https://till.example/c b",
        "https://till.example/支",
        "https://till.example/" + "x" * 500,
        "com.example:/cb",
    ],
)
def test_an_address_that_can_never_be_safe_is_not_registered(uri: str) -> None:
    with pytest.raises(ValueError, match="redirect address"):
        ClientConfigure(profile="confidential", redirect_uris=(uri,), grant_types=ALL_GRANTS)


async def test_what_does_not_go_together_is_not_configured(journey: Journey, deps: IdentityDeps) -> None:
    before = await count(deps, "app_client", "version > 2")
    for wanted in (
        ClientConfigure(profile="public", redirect_uris=(CALLBACK,), grant_types=frozenset({"client_credentials"})),
        ClientConfigure(profile="confidential", grant_types=frozenset({"authorization_code"})),
        ClientConfigure(profile="confidential", redirect_uris=(CALLBACK, CALLBACK), grant_types=ALL_GRANTS),
    ):
        with pytest.raises(PlatformError) as refused:
            await Apps(deps).configure_client(journey.client_id, wanted)
        assert refused.value.code == "identity.client_refused"
    assert await count(deps, "app_client", "version > 2") == before


async def test_a_client_without_the_grant_type_is_refused(shop: Shop, process: Process, deps: IdentityDeps) -> None:
    wanted = ClientConfigure(
        profile="confidential", redirect_uris=(CALLBACK,), grant_types=frozenset({"client_credentials"})
    )
    await Apps(deps).configure_client(shop.app.client.id, wanted)
    journey = Journey(process, shop.app, shop.merchant)
    assert answer_of((await journey.authorize()).headers["location"])["error"] == "unauthorized_client"


async def test_a_consent_token_opens_only_in_its_browser_and_for_ten_minutes(
    journey: Journey, clock: ManualClock
) -> None:
    answer = await journey.authorize()
    for wrong in ("A" * 43, "", journey.browser + "x"):
        with pytest.raises(PlatformError) as refused:
            journey.opened(answer, browser=wrong or "-")
        assert refused.value.code == "identity.authorization_stale"
    request = journey.opened(answer)
    clock.advance(timedelta(minutes=10, seconds=1))
    with pytest.raises(PlatformError) as old:
        journey.opened(answer)
    with pytest.raises(PlatformError) as stale:
        await journey.decide(request)
    assert old.value.code == stale.value.code == "identity.authorization_stale"
    assert await count(journey.process.deps, "oauth_code") == 0

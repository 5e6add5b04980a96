"""Whatever is sent to an OAuth endpoint: the RFC's code in ASCII, never a 5xx, nothing given."""

from __future__ import annotations

import base64
import random
import re
from typing import Final
from urllib.parse import quote

import httpx
import pytest

from platform_core.identity.oauth.clients import ASSERTION_TYPE
from platform_core.kernel.errors import catalogue
from tests.identity.conftest import Process
from tests.identity.oauth.conftest import Journey, count

pytestmark = [pytest.mark.database, pytest.mark.api]
PATHS: Final = ("/oauth/token", "/oauth/par", "/oauth/introspect", "/oauth/revoke")
ERRORS: Final = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_target", "unsupported_response_type", "invalid_dpop_proof", "use_dpop_nonce",
        "invalid_authorization_details", "request_not_supported", "invalid_grant_id", "login_required",
        "unmet_authentication_requirements",
    }
)  # fmt: skip
PLAIN: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)  # RFC 6749 section 5.2
NAMES: Final = (
    "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "resource", "client_id",
    "client_secret", "client_assertion", "client_assertion_type", "token", "token_type_hint", "response_type", "state",
    "code_challenge", "code_challenge_method", "authorization_details", "dpop_jkt", "prompt", "max_age", "request_uri",
    "grant_id", "nonce",
)  # fmt: skip
KINDS: Final = ("authorization_code", "refresh_token", "client_credentials", "password", "urn:x")
ODD: Final = (
    '"', "\\", "支付", "\x00", "\r\n", "\ud800", "%", "%ff", "[" * 900, "{" * 900, "9" * 400, "-1", "1e999", "null",
    "a.b.c",
    "..", "' OR 1=1 --", "cod_00000000000000000000000000_" + "A" * 43, "x" * 3000, "\u202e", "a\nb",
    base64.b64encode(b'{"alg":"none"}').decode(), ASSERTION_TYPE, "S256", "code",
)  # fmt: skip


def encoded(form: list[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in form).encode()


def random_form(chance: random.Random) -> list[tuple[str, str]]:
    names = chance.sample(NAMES, chance.randint(0, 8))
    form = [(name, chance.choice(ODD)) for name in names if name != "grant_type"]
    if chance.random() < 0.8:
        form.append(("grant_type", chance.choice((*KINDS, *ODD))))
    if chance.random() < 0.2 and form:
        form.append(chance.choice(form))
    return form


@pytest.mark.property
@pytest.mark.parametrize("seed", range(6))
async def test_a25_f03_any_form_at_any_endpoint_gets_an_rfcs_error(journey: Journey, seed: int) -> None:
    chance = random.Random(seed)
    http = journey.process.http
    for _ in range(40):
        path = chance.choice(PATHS)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if chance.random() < 0.3:
            headers["DPoP"] = chance.choice(("x", "a.b.c", "e30.e30.e30", "A" * 4000))
        auth = journey.auth if chance.random() < 0.7 else httpx.Auth()
        form = random_form(chance)
        answer = await http.post(path, content=encoded(form), headers=headers, auth=auth)
        body = answer.json()
        if answer.status_code == 200:
            assert body in ({"active": False}, {}) or dict(form)["grant_type"] == "client_credentials"
            continue
        assert answer.status_code in {400, 401}, (path, form)
        assert body["error"] in ERRORS
        assert PLAIN.fullmatch(body["error_description"])
        assert answer.headers["cache-control"] == "no-store"
        assert not {"access_token", "refresh_token", "code", "request_uri"} & body.keys()
    for table in ("oauth_code", "oauth_token_family", "oauth_refresh_token"):
        assert await count(journey.process.deps, table) == 0


@pytest.mark.property
@pytest.mark.parametrize("seed", range(6))
async def test_a25_any_authorization_request_is_a_redirect_with_an_error_or_our_page(
    journey: Journey, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        parameters = journey.parameters()
        for name in chance.sample((*parameters, "prompt", "max_age", "request_uri", "authorization_details"), 2):
            parameters[name] = chance.choice(ODD)
        query = encoded(list(parameters.items())).decode()
        answer = await journey.process.http.get(f"/oauth/authorize?{query}")
        assert answer.status_code in {303, 400, 414}, query
        location = answer.headers.get("location", "")
        assert answer.status_code != 303 or location.startswith(
            ("https://arsenal.test/consent?", "https://till.example")
        )
        assert "&code=" not in location
        if answer.status_code == 400:
            assert answer.json()["code"] == "identity.authorization_refused"
    assert await count(journey.process.deps, "oauth_code") == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a16_f25_secrets_in_the_address_and_doubled_parameters_are_refused(journey: Journey, path: str) -> None:
    http = journey.process.http
    in_address = await http.post(f"{path}?client_secret=x", data={"token": "x"}, auth=journey.auth)
    assert (in_address.status_code, in_address.json()["error"]) == (400, "invalid_request")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for name in ("token", "grant_type", "unknown"):
        twice = await http.post(path, content=f"{name}=a&{name}=b".encode(), headers=headers, auth=journey.auth)
        assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    large = await http.post(path, content=b"x=" + b"a" * 65_536, headers=headers, auth=journey.auth)
    assert large.status_code == 413
    many = await http.post(path, content=b"&".join(b"p%d=1" % n for n in range(10_000)), headers=headers)
    assert (many.status_code in {400, 413}, many.json()["error"]) == (True, "invalid_request")


@pytest.mark.parametrize("path", PATHS)
async def test_a16_f23_two_credentials_are_refused_at_every_endpoint(journey: Journey, path: str) -> None:
    secret = journey.app.secret.secret
    for more in (
        {"client_id": journey.client_id, "client_secret": secret},
        {"client_assertion": "a.b.c", "client_assertion_type": ASSERTION_TYPE},
    ):
        answer = await journey.process.http.post(path, data={"token": "x", **more}, auth=journey.auth)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    both = {"client_secret": secret, "client_id": journey.client_id, "client_assertion": "a.b.c"}
    answer = await journey.process.http.post(path, data=both)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_every_error_has_a_page_in_both_languages(journey: Journey, process: Process) -> None:
    answer = await journey.token({"grant_type": "refresh_token", "refresh_token": "x"})
    address = answer.json()["error_uri"]
    assert address == "https://arsenal.test/problems/oauth.invalid_grant"
    declared = catalogue()[address.rpartition("/")[2]]
    assert declared.title.zh
    assert {name.removeprefix("oauth.") for name in catalogue() if name.startswith("oauth.")} >= {
        "invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_target",
        "unauthorized_client", "unsupported_grant_type", "invalid_dpop_proof", "use_dpop_nonce",
    }  # fmt: skip

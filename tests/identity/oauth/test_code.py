"""authorization_code: what a code gives, to whom, and once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from joserfc import jwt

from platform_core.identity.consent import Approved
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process
from tests.identity.oauth.conftest import CALLBACK, SCOPE, Journey, answer_of, count, open_journey

pytestmark = [pytest.mark.database, pytest.mark.api]


async def test_a_code_gives_tokens_for_the_merchant_who_said_yes(journey: Journey, clock: ManualClock) -> None:
    request = await journey.request(scope=f"{SCOPE} openid", nonce="n-1")
    answer = answer_of(await journey.decide(request))
    assert set(answer) == {"from", "code", "state", "iss"}
    assert (answer["state"], answer["iss"], answer["from"]) == ("st-1", ORIGIN, "arsenal")
    got = await journey.exchange(answer["code"])
    assert (got.status_code, got.headers["cache-control"]) == (200, "no-store")
    body = got.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert body["scope"] == "merchant:read openid payments:read stores:read"
    now = int(clock.now().timestamp())
    who, claims = await journey.process.access.inspect(body["access_token"])
    assert (who.merchant_id, who.client_id, who.grant_id) == (journey.merchant.id, journey.client_id, body["grant_id"])
    assert (claims["iat"], claims["exp"], claims["gv"]) == (now, now + 600, 1)  # F06, F34
    assert claims["fam"] == who.family_id
    assert (who.acr, who.auth_time) == ("urn:arsenal:acr:mfa", now)
    key = journey.process.keys.signing.keys[0]
    id_token = jwt.decode(body["id_token"], key, algorithms=["ES256"])
    assert id_token.header["kid"] == key.kid  # F01
    assert {name: id_token.claims[name] for name in ("iss", "sub", "aud", "nonce", "iat", "exp", "auth_time")} == {
        "iss": ORIGIN,
        "sub": claims["sub"],
        "aud": journey.client_id,
        "nonce": "n-1",
        "iat": now,
        "exp": now + 600,
        "auth_time": now,
    }
    assert await journey.works(body["access_token"])


async def test_without_openid_there_is_no_id_token(journey: Journey) -> None:
    assert "id_token" not in await journey.tokens()


async def test_saying_no_goes_back_with_access_denied_and_writes_nothing(journey: Journey) -> None:
    answer = answer_of(await journey.decide(await journey.request(), approve=False))
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "st-1", ORIGIN)
    for table in ("oauth_code", "access_grant"):
        assert await count(journey.process.deps, table) == 0


async def test_a17_more_than_was_asked_for_cannot_be_approved(journey: Journey) -> None:
    request = await journey.request()
    more = Approved(request.scopes | {"refunds:write"}, None, (), None)
    with pytest.raises(PlatformError) as refused:
        await journey.process.oauth.decide(request, journey.who(), more)
    assert refused.value.code == "identity.grant_refused"
    assert await count(journey.process.deps, "access_grant") == 0


@pytest.mark.parametrize(
    ("parameters", "age_s", "acr"),
    [
        ({"max_age": "60"}, 61, "urn:arsenal:acr:mfa"),
        ({"prompt": "login"}, 1, "urn:arsenal:acr:mfa"),
        ({"acr_values": "urn:arsenal:acr:mfa"}, 0, "urn:arsenal:acr:pwd"),
    ],
)
async def test_f26_a_sign_in_that_is_too_old_or_too_weak_decides_nothing(
    journey: Journey, parameters: dict[str, str | None], age_s: int, acr: str
) -> None:
    request = await journey.request(**parameters)
    now = int(journey.process.deps.clock.now().timestamp())
    with pytest.raises(PlatformError) as refused:
        await journey.decide(request, auth_time=now - age_s, acr=acr)
    assert refused.value.code == "identity.sign_in_too_weak"
    assert await count(journey.process.deps, "oauth_code") == 0
    assert "code" in answer_of(await journey.decide(request))


async def test_a01_a_code_of_another_client_gives_nothing_and_stays_good(journey: Journey, process: Process) -> None:
    thief, code = await open_journey(process), await journey.code()
    thief.verifier = journey.verifier
    refused = await thief.exchange(code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert await count(process.deps, "oauth_token_family") == 0
    assert (await journey.exchange(code)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "A" * 64},  # A02: the code of another session
        {"code_verifier": None},
        {"code_verifier": "A" * 42},
        {"code_verifier": "支" * 43},
        {"code_verifier": "A" * 43 + "\n"},
    ],
)
async def test_a02_a03_f29_a_failed_verifier_burns_the_code(journey: Journey, changes: dict[str, str | None]) -> None:
    code = await journey.code()
    refused = await journey.exchange(code, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    again = await journey.exchange(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert await count(journey.process.deps, "oauth_token_family") == 0
    assert await count(journey.process.deps, "access_grant", "state = 'active'") == 1  # the grant is not the code's


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": None}, "invalid_grant"),
        ({"redirect_uri": CALLBACK + "x"}, "invalid_grant"),
        ({"redirect_uri": 'https://支.example/"\\'}, "invalid_grant"),
        ({"code": None}, "invalid_request"),
        ({"code": "cod_00000000000000000000000000_" + "A" * 43}, "invalid_grant"),
        ({"code": '"\\支'}, "invalid_grant"),
        ({"code": "x" * 2048}, "invalid_grant"),
        ({"resource": "https://other.example/v1"}, "invalid_target"),
    ],
)
async def test_what_does_not_fit_the_code_gets_nothing(
    journey: Journey, changes: dict[str, str | None], error: str
) -> None:
    code = await journey.code()
    form: dict[str, str | None] = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    refused = await journey.token({**form, "code_verifier": journey.verifier, **changes})
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refused.json()["error_description"].isascii()
    assert await count(journey.process.deps, "oauth_token_family") == 0


async def test_a_code_with_a_right_id_and_a_wrong_secret_is_unknown(journey: Journey) -> None:
    code = await journey.code()
    refused = await journey.exchange(code[:-1] + ("A" if code[-1] != "A" else "B"))
    assert refused.json()["error"] == "invalid_grant"
    assert (await journey.exchange(code)).status_code == 200


async def test_f06_a_code_lives_sixty_seconds(journey: Journey, clock: ManualClock) -> None:
    code, late = await journey.code(), await journey.code()
    clock.advance(timedelta(seconds=59))
    assert (await journey.exchange(code)).status_code == 200
    clock.advance(timedelta(seconds=1))
    assert (await journey.exchange(late)).json()["error"] == "invalid_grant"


async def test_a07_reuse_of_a_code_ends_its_tokens_in_both_processes_and_leaves_the_grant(
    journey: Journey, other_process: Process, clock: ManualClock
) -> None:
    code = await journey.code()
    tokens = (await journey.exchange(code)).json()
    other = await journey.tokens()  # of another consent of the same merchant
    assert await journey.works(tokens["access_token"])
    assert await journey.works(tokens["access_token"], process=other_process)
    again = await journey.exchange(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    clock.advance(timedelta(milliseconds=250))
    for process in (journey.process, other_process):
        await process.feed.poll()
        assert not await journey.works(tokens["access_token"], process=process)
        assert await journey.works(other["access_token"], process=process)
    assert (await journey.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    events = await count(journey.process.deps, "oauth_token_family", "revoked_why = 'reused'")
    assert events == 1


async def test_f07_of_many_uses_of_one_code_exactly_one_wins(journey: Journey, other_process: Process) -> None:
    for _ in range(3):
        code = await journey.code()
        processes = [journey.process, other_process] * 20
        answers = await asyncio.gather(*(journey.exchange(code, process) for process in processes))
        won = [answer for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        lost = [answer.json()["error"] for answer in answers if answer.status_code != 200]
        assert lost == ["invalid_grant"] * 39
        assert await count(journey.process.deps, "oauth_token_family", "state = 'active'") == 0


async def test_a_grant_that_ended_meanwhile_gives_nothing(journey: Journey, deps: IdentityDeps) -> None:
    code = await journey.code()
    connection = await deps.database.connect("auth")
    grant_id = await connection.fetchval("SELECT grant_id FROM oauth_code")
    await connection.close()
    await Grants(deps).revoke(grant_id, merchant_id=journey.merchant.id, by="per_owner", why="test")
    assert (await journey.exchange(code)).json()["error"] == "invalid_grant"
    assert await count(deps, "oauth_token_family") == 0


async def test_a_narrowed_grant_gives_a_code_only_what_is_left(journey: Journey, deps: IdentityDeps) -> None:
    code = await journey.code()
    narrower = await journey.request(scope="stores:read", grant_management_action="replace")
    await journey.decide(narrower)
    body = (await journey.exchange(code)).json()
    assert body["scope"] == "stores:read"


async def test_saying_yes_again_adds_to_the_grant(journey: Journey) -> None:
    first = await journey.tokens(scope="stores:read")
    second = await journey.tokens(scope="payments:read")
    assert second["grant_id"] == first["grant_id"]
    assert second["scope"] == "payments:read"
    fresh = (await journey.refresh(first["refresh_token"])).json()
    assert fresh["scope"] == "stores:read"


async def test_a_public_client_needs_no_secret_but_its_verifier(public: Journey) -> None:
    body = await public.tokens()
    assert (body["token_type"], "refresh_token" in body) == ("Bearer", True)
    assert public.profile == "public"
    stolen = await public.exchange(await public.code(), code_verifier="B" * 43)
    assert stolen.json()["error"] == "invalid_grant"


async def test_a_confidential_client_cannot_pass_as_public(journey: Journey) -> None:
    code = await journey.code()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    form |= {"code_verifier": journey.verifier, "client_id": journey.client_id}
    answer = await journey.process.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


async def test_a_client_that_became_public_keeps_no_secret(public: Journey) -> None:
    auth = (public.client_id, public.app.secret.secret)
    answer = await public.process.http.post("/oauth/token", data={"grant_type": "refresh_token"}, auth=auth)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")

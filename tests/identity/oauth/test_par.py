"""POST /oauth/par: requests that come before the browser does."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.schemas import ClientConfigure
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import ORIGIN, Process
from tests.identity.oauth.conftest import ALL_GRANTS, CALLBACK, Journey, answer_of, count, open_journey
from tests.identity.oauth.test_authorize import DETAILS, REFUSED, said_on_our_page

pytestmark = [pytest.mark.database, pytest.mark.api]


async def push(journey: Journey, **changes: str | None) -> httpx.Response:
    return await journey.post("/oauth/par", **journey.parameters(**changes))


async def pushed(journey: Journey, **changes: str | None) -> dict[str, str]:
    answer = await push(journey, **changes)
    assert answer.status_code == 201, answer.text
    assert answer.json()["expires_in"] == 90
    assert answer.headers["cache-control"] == "no-store"
    return {"client_id": journey.client_id, "request_uri": answer.json()["request_uri"]}


async def test_a_pushed_request_reaches_consent_and_a_code(journey: Journey) -> None:
    found = await pushed(
        journey, nonce="n-1", scope="refunds:write stores:read", authorization_details=json.dumps(DETAILS)
    )
    assert found["request_uri"].startswith("urn:ietf:params:oauth:request_uri:par_")
    request = journey.opened(await journey.authorize(found))
    assert (request.nonce, request.state, request.redirect_uri) == ("n-1", "st-1", CALLBACK)
    assert request.details[0]["type"] == "payment_refund"
    assert await count(journey.process.deps, "oauth_used_once") == 0  # opening writes nothing
    body = (await journey.exchange(answer_of(await journey.decide(request))["code"])).json()
    assert body["authorization_details"][0]["type"] == "payment_refund"


async def test_a09_a_pushed_request_is_decided_once(journey: Journey) -> None:
    found = await pushed(journey)
    first, second = [journey.opened(await journey.authorize(found)) for _ in range(2)]
    assert "code" in answer_of(await journey.decide(first))
    with pytest.raises(PlatformError) as refused:
        await journey.decide(second)
    assert refused.value.code == "identity.authorization_stale"
    assert await count(journey.process.deps, "oauth_code") == 1
    assert await said_on_our_page(journey, found) == REFUSED


async def test_a09_of_many_decisions_on_one_pushed_request_exactly_one_wins(
    journey: Journey, other_process: Process
) -> None:
    await journey.tokens()  # so that the grant is there, and only the request is fought for
    for _ in range(3):
        request = journey.opened(await journey.authorize(await pushed(journey)))
        before = await count(journey.process.deps, "oauth_code")
        decided = await asyncio.gather(*(journey.decide(request) for _ in range(40)), return_exceptions=True)
        assert sum(isinstance(one, str) for one in decided) == 1
        refused = [one.code for one in decided if isinstance(one, PlatformError)]
        assert refused == ["identity.authorization_stale"] * 39
        assert await count(journey.process.deps, "oauth_code") == before + 1


async def test_saying_no_uses_a_pushed_request_up(journey: Journey) -> None:
    found = await pushed(journey)
    await journey.decide(journey.opened(await journey.authorize(found)), approve=False)
    assert await said_on_our_page(journey, found) == REFUSED


async def test_a09_another_clients_or_an_old_or_unknown_uri_stays_on_our_page(
    journey: Journey, process: Process, clock: ManualClock
) -> None:
    found = await pushed(journey)
    thief = await open_journey(process)
    assert await said_on_our_page(thief, {**found, "client_id": thief.client_id}) == REFUSED
    assert await said_on_our_page(journey, {**found, "request_uri": found["request_uri"][:-1]}) == REFUSED
    assert await said_on_our_page(journey, {**found, "request_uri": "https://till.example/request.jwt"}) == REFUSED
    assert await said_on_our_page(journey, {"request_uri": found["request_uri"]}) == REFUSED
    clock.advance(timedelta(seconds=89))
    journey.opened(await journey.authorize(found))
    clock.advance(timedelta(seconds=1))
    assert await said_on_our_page(journey, found) == REFUSED


async def test_a09_parameters_beside_the_uri_change_nothing_and_a_different_one_is_refused(journey: Journey) -> None:
    found = await pushed(journey)
    same = journey.opened(await journey.authorize({**found, "scope": journey.parameters()["scope"]}))
    assert same.scopes == {"merchant:read", "payments:read", "stores:read"}
    for extra in ({"scope": "refunds:write"}, {"redirect_uri": "https://evil.example/"}, {"max_age": "9"}):
        answer = await journey.authorize({**found, **extra})
        assert answer.headers["location"].startswith(CALLBACK)
        assert answer_of(answer.headers["location"])["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"request_uri": "urn:x"}, "invalid_request"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        ({"resource": "https://other.example"}, "invalid_target"),
    ],
)
async def test_a_bad_pushed_request_is_refused_in_json_and_kept_nowhere(
    journey: Journey, changes: dict[str, str | None], error: str
) -> None:
    answer = await push(journey, **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["error_description"].isascii()
    assert await count(journey.process.deps, "oauth_pushed_request") == 0


async def test_pushing_needs_the_client_itself(journey: Journey, process: Process) -> None:
    answer = await process.http.post("/oauth/par", data=journey.parameters())
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    wrong = await process.http.post("/oauth/par", data=journey.parameters(), auth=(journey.client_id, "ask_test_x"))
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Basic realm="arsenal"')
    assert await count(process.deps, "oauth_pushed_request") == 0


async def test_a_public_client_may_push(public: Journey) -> None:
    request = public.opened(await public.authorize(await pushed(public)))
    assert "code" in answer_of(await public.decide(request))


async def test_a_client_that_must_push_is_refused_otherwise(journey: Journey, deps: IdentityDeps) -> None:
    wanted = ClientConfigure(
        profile="confidential", redirect_uris=(CALLBACK,), grant_types=ALL_GRANTS, requires_par=True
    )
    await Apps(deps).configure_client(journey.client_id, wanted)
    assert answer_of((await journey.authorize()).headers["location"])["error"] == "invalid_request"
    journey.opened(await journey.authorize(await pushed(journey)))


async def test_secrets_are_not_kept_with_a_pushed_request(journey: Journey) -> None:
    form = {**journey.parameters(), "client_secret": journey.app.secret.secret}
    answer = await journey.process.http.post("/oauth/par", data=form)
    assert answer.status_code == 201
    connection = await journey.process.deps.database.connect("auth")
    kept = await connection.fetchval("SELECT parameters FROM oauth_pushed_request")
    await connection.close()
    assert journey.app.secret.secret not in kept
    assert answer.json()["request_uri"].rpartition("_")[2] not in kept
    assert json.loads(kept)["client_id"] == journey.client_id
    assert ORIGIN.startswith("https://")

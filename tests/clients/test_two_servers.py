"""Two server processes on one database: what is good once is good once when forty ask at the same time, and keys are
rotated under load without refusing anybody.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from platform_core.bootstrap.platform import Platform
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.clients.conftest import Shop
from tests.clients.pair import PARALLEL, ROUNDS, Pair, running_pair
from tests.clients.person import CALLBACK, DEVICE, Visit, new_visit
from tests.consoles.browser import Browser, fields_of, sign_in
from tests.identity.oauth.conftest import answer_of, challenge_of
from tests.support.patience import HEARD_S

pytestmark = pytest.mark.api
SCOPE = "merchant:read stores:read"


@pytest.fixture(scope="module")
async def pair(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Without grace: whoever repeats the use of a refresh token loses."""
    async with running_pair(postgres, tmp_path_factory.mktemp("races"), name="races", grace_s=0) as pair:
        yield pair


async def code_form(visit: Visit) -> dict[str, str]:
    """The token request for a fresh code."""
    verifier = secrets.token_urlsafe(48)
    asked = {**_wanted(visit), "code_challenge": challenge_of(verifier)}
    redirect = (await visit.consent({"url": f"{visit.server.origin}/oauth/authorize?{urlencode(asked)}"}))["redirect"]
    return {
        "grant_type": "authorization_code",
        "code": answer_of(redirect)["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
        "client_id": visit.app.client.id,
    }


def _wanted(visit: Visit) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": visit.app.client.id,
        "redirect_uri": CALLBACK,
        "scope": SCOPE,
        "code_challenge_method": "S256",
    }


def outcomes(answers: list[httpx.Response]) -> Counter[str]:
    """How many got a token, and which errors the others; what is no OAuth error is told whole."""
    return Counter(
        "token" if answer.status_code == 200 else answer.json().get("error", answer.text) for answer in answers
    )


async def test_one_of_forty_uses_of_a_code_wins(pair: Pair) -> None:
    visit = await new_visit(pair.main, "none")
    for _ in range(ROUNDS):
        answers = await pair.at_once(await code_form(visit))
        assert outcomes(answers) == {"token": 1, "invalid_grant": PARALLEL - 1}
    (winner,) = [answer.json()["access_token"] for answer in answers if answer.status_code == 200]
    async with asyncio.timeout(HEARD_S):  # A07: a code used twice ends what came of it, in both processes
        while await pair.statuses(winner) != [401, 401]:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.05)


async def test_one_of_forty_uses_of_a_refresh_token_wins_without_grace(pair: Pair) -> None:
    visit = await new_visit(pair.main, "none")
    for _ in range(ROUNDS):
        first = await pair.clients[0].post("/oauth/token", data=await code_form(visit))
        form = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"]}
        answers = await pair.at_once({**form, "client_id": visit.app.client.id})
        assert outcomes(answers) == {"token": 1, "invalid_grant": PARALLEL - 1}


async def test_with_grace_all_forty_carry_the_one_successor(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with running_pair(postgres, tmp_path_factory.mktemp("grace"), name="grace", grace_s=30) as pair:
        visit = await new_visit(pair.main, "none")
        answer = await pair.clients[0].post("/oauth/token", data=await code_form(visit))
        for _ in range(ROUNDS):
            form = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
            answers = await pair.at_once({**form, "client_id": visit.app.client.id})
            assert outcomes(answers) == {"token": PARALLEL}
            assert len({answer.json()["refresh_token"] for answer in answers}) == 1
            assert len({answer.json()["access_token"] for answer in answers}) == PARALLEL
            answer = answers[-1]
        assert await pair.statuses(answer.json()["access_token"]) == [200, 200]


async def test_one_of_forty_uses_of_a_par_uri_wins(pair: Pair) -> None:
    """A use is a decision, opening the page writes nothing: two browsers open one, each at a server of its own.

    Through the pages, as a browser sends them: the session's cookie, the form's fields and its CSRF token.
    """
    visit = await new_visit(pair.main, "basic")
    signed_in = await sign_in(AtServer(pair.main.platform, pair.clients[0]), visit.merchant_id)
    browsers = [Browser(client, dict(signed_in.cookies)) for client in pair.clients]
    sent_from = {"origin": pair.main.origin}
    codes = set()
    for _ in range(ROUNDS):
        address = await _pushed(pair, visit)
        shown = [await _open(browser, address) for browser in browsers]
        calls = (browsers[n % 2].post(*shown[n % 2], **sent_from) for n in range(PARALLEL))
        answers = await asyncio.gather(*calls)
        assert Counter(answer.status_code for answer in answers) == {303: 1, 400: PARALLEL - 1}
        assert all("identity.authorization_stale" in a.text for a in answers if a.status_code == 400)
        (winner,) = [a.headers["location"] for a in answers if a.status_code == 303]
        codes.add(answer_of(winner)["code"])
    assert len(codes) == ROUNDS


async def _open(browser: Browser, address: str) -> tuple[str, dict[str, Any]]:
    """The consent page's path, and its form with everything as proposed."""
    path = _path_of((await browser.get(_path_of(address))).headers["location"])
    assert path.startswith("/consent?")
    return path, {**fields_of((await browser.get(path)).text), "decision": "allow"}


def _path_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


@dataclass(frozen=True, slots=True)
class AtServer:
    """Where a browser signs in."""

    platform: Platform
    client: httpx.AsyncClient


async def test_one_of_forty_polls_for_a_device_wins(pair: Pair) -> None:
    visit = await new_visit(pair.main, "none")
    client = {"client_id": visit.app.client.id}
    for _ in range(ROUNDS):
        begun = await pair.clients[0].post("/oauth/device_authorization", data={**client, "scope": SCOPE})
        await visit.enter(begun.json())
        form = {**client, "grant_type": DEVICE, "device_code": begun.json()["device_code"]}
        answers = await pair.at_once(form)
        assert outcomes(answers) == {"token": 1, "invalid_grant": PARALLEL - 1}


async def _pushed(pair: Pair, visit: Visit) -> str:
    answer = await pair.clients[1].post(
        "/oauth/par",
        data={**_wanted(visit), "code_challenge": challenge_of("v" * 43)},
        auth=(visit.app.client.id, visit.app.secret.secret),
    )
    assert answer.status_code == 201, answer.text
    asked = {"client_id": visit.app.client.id, "request_uri": answer.json()["request_uri"]}
    return f"{pair.main.origin}/oauth/authorize?{urlencode(asked)}"


async def test_keys_rotate_under_load_and_no_valid_token_is_refused(pair: Pair) -> None:
    shop = await pair.main.new_shop()
    drill = Drill(pair, shop)
    callers = [asyncio.create_task(drill.call_until_over(n)) for n in range(8)]
    kids = []
    for _ in range(5):
        await asyncio.sleep(0.7)
        kids.append(await pair.main.platform.keys.rotate(by="per_drill"))
        async with asyncio.timeout(HEARD_S):
            while kids[-1] not in drill.kids:  # noqa: ASYNC110 - of callers at other processes
                await asyncio.sleep(0.02)
    drill.is_over = True
    await asyncio.gather(*callers)
    assert drill.refused == []
    assert drill.calls > 50
    assert set(kids) <= drill.kids, "tokens of every generation were used"
    published = {key["kid"] for key in (await pair.clients[1].get("/oauth/jwks")).json()["keys"]}
    assert drill.kids <= published, "what signed a living token is published"


async def test_a14_an_emergency_refuses_the_old_kid_everywhere(pair: Pair) -> None:
    shop = await pair.main.new_shop()
    drill = Drill(pair, shop)
    old = await drill.token(0)
    assert await pair.statuses(old) == [200, 200]
    signs_now = await pair.main.platform.keys.revoke(kid_of(old), by="per_drill")
    async with asyncio.timeout(HEARD_S):
        while await pair.statuses(old) != [401, 401]:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)
    for place in (0, 1):
        token = await drill.token(place)
        assert kid_of(token) == signs_now
        assert await pair.statuses(token) == [200, 200]
    keys = [(await client.get("/oauth/jwks")).json()["keys"] for client in pair.clients]
    assert all(key["kid"] != kid_of(old) for found in keys for key in found)


def kid_of(token: str) -> str:
    """The key that a token says signed it."""
    header = token.partition(".")[0]
    return str(json.loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


@dataclass
class Drill:
    """Tills that fetch tokens of one server and use them at both, all the time."""

    pair: Pair
    shop: Shop
    is_over: bool = False
    calls: int = 0
    kids: set[str] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)

    async def token(self, place: int) -> str:
        """A fresh one."""
        answer = await self.pair.clients[place].post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=(self.shop.client_id, self.shop.secret)
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def call_until_over(self, number: int) -> None:
        """A fresh token now, used at both servers at once, and the one before it once more."""
        before = await self.token(number % 2)
        while not self.is_over:
            token = await self.token(number % 2)
            statuses = await self.pair.statuses(token) + await self.pair.statuses(before)
            self.calls += len(statuses)
            self.refused += [status for status in statuses if status != 200]
            self.kids |= {kid_of(token), kid_of(before)}
            before = token

"""Apps, owners and cash registers that go through consent, exchange, refresh and devices while servers are killed.

Each turn brings a new app and a new merchant, so that nobody's grant waits for another's. What is not answered is sent
again as it was; then the first try may have won, and the second one is told that it came too late.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from platform_core.bootstrap.platform import Platform
from tests.clients.conftest import Server
from tests.clients.person import CALLBACK, DEVICE, Visit, new_visit
from tests.consoles.browser import Browser, fields_of, sign_in
from tests.identity.oauth.conftest import answer_of, challenge_of

KINDS: Final = ("consent", "exchange", "refresh", "device decision")
SCOPE: Final = "stores:read"
WIDER: Final = "merchant:read stores:read"
ASKED_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
ANSWERED_WITHIN_S: Final = 90.0
REFRESHES: Final = 3
Call = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a browser signs in: past the server, by this process's platform, and then at the server."""

    platform: Platform
    client: httpx.AsyncClient


@dataclass(slots=True)
class Held:
    """What a client was told to be good: of one code or device code."""

    visit: Visit
    used: dict[str, str]  # the form that won it
    access: list[str]
    refresh: list[str]  # the last one is to be used, the others were
    is_superseded: bool = False  # a later consent changed the grant, which ends older access tokens

    @property
    def grant_id(self) -> str:
        """As the access token names it."""
        return str(claims_of(self.access[-1])["grant_id"])


class OAuthLoad:
    """Clients that run until `stop`. After that: what was acknowledged, and how often what was good once won."""

    def __init__(self, server: Server) -> None:
        self.held: list[Held] = []
        self.pages: list[tuple[Browser, str, dict[str, Any]]] = []  # that gave a code
        self.won: Counter[str] = Counter()  # answers that gave something, by what they used up
        self.under_way: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.too_late: Counter[str] = Counter()  # told so on a second try: the first had won, unheard
        self.bugs: list[str] = []
        self._server = server
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()

    async def run(self, clients: int) -> None:
        """So many at once, half of them with public clients, a third with cash registers."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(number))

    async def _client(self, number: int) -> None:
        limits = httpx.Limits(max_connections=4, max_keepalive_connections=0)  # a killed server's are no use
        async with httpx.AsyncClient(base_url=self._server.origin, trust_env=False, timeout=15, limits=limits) as http:
            while not self._stopping.is_set():
                visit = await new_visit(self._server, "none" if number % 2 else "basic")
                browser = await sign_in(Site(self._server.platform, http), visit.merchant_id)
                if number % 3 == 0:
                    await self._register(http, visit, browser)
                else:
                    await self._app(http, visit, browser)

    async def _app(self, http: httpx.AsyncClient, visit: Visit, browser: Browser) -> None:
        first = await self._let_in(http, visit, browser, SCOPE)
        second = await self._let_in(http, visit, browser, WIDER)
        if first is not None and second is not None:
            first.is_superseded = True

    async def _let_in(self, http: httpx.AsyncClient, visit: Visit, browser: Browser, scope: str) -> Held | None:
        """Consent, exchange and three refreshes; None when an answer was lost that cannot be had again."""
        verifier = secrets.token_urlsafe(48)
        path, form = await self._page(http, visit, browser, scope=scope, verifier=verifier)
        answer, is_repeated = await self._sent("consent", lambda: self._twice(browser, path, form))
        if answer.status_code != 303:
            self._must_be_late("consent", answer, is_repeated=is_repeated)
            return None
        self.pages.append((browser, path, form))
        self.won[path] += 1
        exchange = {
            "grant_type": "authorization_code",
            "code": answer_of(answer.headers["location"])["code"],
            "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        }
        return await self._hold(http, visit, "exchange", exchange)

    async def _twice(self, browser: Browser, path: str, form: dict[str, Any]) -> httpx.Response:
        """As a double click does; the answer that a browser would show is the one with the code."""
        send = [browser.post(path, form, origin=self._server.origin) for _ in range(2)]
        answers = await asyncio.gather(*send, return_exceptions=True)
        good = [a for a in answers if isinstance(a, httpx.Response)]
        if (winners := [a for a in good if a.status_code == 303]) and len(winners) > 1:
            self.bugs.append(f"two codes of one request: {path}")
        if winners:
            return winners[0]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return good[0]

    async def _page(
        self, http: httpx.AsyncClient, visit: Visit, browser: Browser, *, scope: str, verifier: str
    ) -> tuple[str, dict[str, Any]]:
        """Push the request and open it: the consent page's path, and its form as proposed, allowed."""
        asked = {
            "response_type": "code",
            "client_id": visit.app.client.id,
            "redirect_uri": CALLBACK,
            "scope": scope,
            "code_challenge_method": "S256",
            "code_challenge": challenge_of(verifier),
        }
        pushed, _ = await self._sent("push", lambda: self._post(http, visit, "/oauth/par", asked))
        assert pushed.status_code == 201, pushed.text
        there = urlencode({"client_id": visit.app.client.id, "request_uri": pushed.json()["request_uri"]})
        opened, _ = await self._sent("open", lambda: browser.get(f"/oauth/authorize?{there}"))
        parts = urlsplit(opened.headers["location"])
        path = f"{parts.path}?{parts.query}"
        shown, _ = await self._sent("open", lambda: browser.get(path))
        assert shown.status_code == 200, shown.text
        return path, {**fields_of(shown.text), "decision": "allow"}

    async def _register(self, http: httpx.AsyncClient, visit: Visit, browser: Browser) -> None:
        """A cash register's code, entered and allowed by the owner, then polled for and refreshed."""
        begun, _ = await self._sent(
            "begin", lambda: self._post(http, visit, "/oauth/device_authorization", {"scope": WIDER})
        )
        assert begun.status_code == 200, begun.text
        codes, origin = begun.json(), self._server.origin
        entry, _ = await self._sent("open", lambda: browser.get("/device"))
        typed = {**fields_of(entry.text), "step": "find", "user_code": codes["user_code"]}
        found, _ = await self._sent("find", lambda: browser.post("/device", typed, origin=origin))
        assert found.status_code == 200, found.text
        allow = {**fields_of(found.text), "step": "allow", "store": visit.store_id}
        decided, is_repeated = await self._sent(
            "device decision", lambda: browser.post("/device", allow, origin=origin)
        )
        if decided.status_code != 200:
            self._must_be_late("device decision", decided, is_repeated=is_repeated)
        else:
            self.won[codes["user_code"]] += 1
        await self._hold(http, visit, "poll", {"grant_type": DEVICE, "device_code": codes["device_code"]})

    async def _hold(self, http: httpx.AsyncClient, visit: Visit, kind: str, form: dict[str, str]) -> Held | None:
        """Tokens for a code of either kind, refreshed three times: with the grace, no lost answer costs a client."""
        answer, is_repeated = await self._sent(kind, lambda: self._post(http, visit, "/oauth/token", form))
        if answer.status_code != 200:
            self._must_be_late(kind, answer, is_repeated=is_repeated)
            return None
        told = answer.json()
        self.won[form.get("code", form.get("device_code", ""))] += 1
        held = Held(visit, form, [told["access_token"]], [told["refresh_token"]])
        self.held.append(held)
        for _ in range(REFRESHES):
            again = {"grant_type": "refresh_token", "refresh_token": held.refresh[-1]}
            answer, _ = await self._sent("refresh", lambda form=again: self._post(http, visit, "/oauth/token", form))
            if answer.status_code != 200:
                self.bugs.append(f"an acknowledged refresh token was refused: {answer.text}")
                break
            held.access.append(answer.json()["access_token"])
            if "refresh_token" in answer.json():
                held.refresh.append(answer.json()["refresh_token"])
        return held

    async def _post(self, http: httpx.AsyncClient, visit: Visit, path: str, form: dict[str, str]) -> httpx.Response:
        return await http.post(path, data=form | named(visit), headers=proven(visit))

    async def _sent(self, kind: str, call: Call) -> tuple[httpx.Response, bool]:
        """The answer, however often it must be asked for, and whether a try before it was never answered."""
        is_repeated = False
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while True:
                self.under_way[kind] += 1
                try:
                    answer = await call()
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    pass  # nobody heard of it
                except httpx.TransportError:
                    self.unanswered[kind] += 1
                    is_repeated = True
                else:
                    if answer.status_code == 500:
                        self.bugs.append(f"{kind}: {answer.text}")
                    if answer.status_code not in ASKED_AGAIN:
                        return answer, is_repeated
                finally:
                    self.under_way[kind] -= 1
                await asyncio.sleep(0.1)

    def _must_be_late(self, kind: str, answer: httpx.Response, *, is_repeated: bool) -> None:
        said = answer.text
        late = ("identity.authorization_stale", "identity.device_decided", '"invalid_grant"')
        if is_repeated and any(word in said for word in late):
            self.too_late[kind] += 1
        else:
            self.bugs.append(f"{kind} refused with {answer.status_code}: {said[:400]}")


def named(visit: Visit) -> dict[str, str]:
    """What a public client says of itself."""
    return {"client_id": visit.app.client.id} if visit.is_public else {}


def proven(visit: Visit) -> dict[str, str]:
    """How a client with a secret proves itself."""
    if visit.is_public:
        return {}
    shown = f"{visit.app.client.id}:{visit.app.secret.secret}".encode()
    return {"authorization": "Basic " + base64.b64encode(shown).decode()}


def claims_of(token: str) -> dict[str, Any]:
    """An access token's."""
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


async def check_all_work(http: httpx.AsyncClient, held: Sequence[Held]) -> int:
    """Every acknowledged access token of a grant's newest version is taken, every last refresh token too; how many."""
    count = 0
    for one in held:
        for token in () if one.is_superseded else one.access:
            answer = await http.get("/v1/stores", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200, f"an acknowledged token is refused: {answer.text}"
            count += 1
        form = {"grant_type": "refresh_token", "refresh_token": one.refresh[-1], **named(one.visit)}
        answer = await http.post("/oauth/token", data=form, headers=proven(one.visit))
        assert answer.status_code == 200, f"an acknowledged refresh token is refused: {answer.text}"
        count += 1
    return count


async def check_none_wins_again(http: httpx.AsyncClient, load: OAuthLoad, *, origin: str) -> None:
    """Whatever was used is used: requests at the page, codes of either kind, rotated refresh tokens."""
    for browser, path, form in load.pages:
        answer = await Browser(http, browser.cookies).post(path, form, origin=origin)
        assert (answer.status_code, "identity.authorization_stale" in answer.text) == (400, True), answer.text
    for held in load.held:
        forms = [held.used]
        if len(held.refresh) > 2:
            forms.append({"grant_type": "refresh_token", "refresh_token": held.refresh[0]})
        for form in forms:
            answer = await http.post("/oauth/token", data={**form, **named(held.visit)}, headers=proven(held.visit))
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text

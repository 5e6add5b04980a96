"""`token`: what it costs to know who asks, what a token costs, and how soon a revoked one is refused everywhere.

In this process, CPU time alone: the access check of the hot route on a token seen before, the same on one never seen,
and one ES256 verification by joserfc. Against a server: a paid order (for the share); client_credentials and
introspection beside an empty synchronous route; refunds under one metered limit beside refunds without; and two
servers on one database of which both must refuse a revoked grant's token. What is compared is measured there and
back again (A, B, B, A), so that a machine that grows slower meanwhile slows both.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import uvloop
from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.ground import Ground, Seller, bench_settings, fetch_token, open_ground, seed_sellers, serving
from benchmarks.load import Job, drive
from benchmarks.options import QUICK, Options
from benchmarks.processes import Child, cpu_s, running
from platform_core.bootstrap.app import attach, create_app
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.contracts.rar import Detail
from platform_core.identity.oauth.protocol import OAuthRequest
from platform_core.identity.requires import Requirement
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.http.envelope import RequestEnvelope
from platform_core.kernel.http.problem import Problems

NAME = "token"
CONNECTIONS = 64
REFUNDING = 16  # connections; each refund reads and writes several times
BATCHES = 5  # of which the median counts
HITS = 2_000
MISSES = 100
REFUNDED = 512  # payments, refunded in turn
REFUND_SCOPES = ("payments:write", "refunds:write")
REVOKED = 30
POLL_S = 0.005
REFUSED_WITHIN_S = 5.0
GOALS = {
    "hit_us": Goal("<=", 60, 25),
    "hit_against_verification": Goal("<=", 0.3, 0.15),
    "miss_against_verification": Goal("<=", 3.0, 2.0),
    "client_credentials_against_empty_route": Goal("<=", 4.0, 2.5),
    "introspection_against_empty_route": Goal("<=", 3.0, 2.0),
    "metered_limit_against_refund": Goal("<=", 0.1, 0.05),
    "revocation_seen_p99_ms": Goal("<=", 1000, 500),
}


class NeverRefused(AssertionError):
    """A revoked token was still taken after 5 s, or a good one was not."""


def run(options: Options) -> list[Figure]:
    """All figures."""
    rounds = Rounds()
    with open_ground() as ground, ExitStack() as stack:
        url = ground.database("app")
        count = REVOKED if options.seconds > 1 else 5
        sellers = seed_sellers(ground, url, count=1 + count)
        plain = seed_sellers(ground, url, count=1, scopes=REFUND_SCOPES)
        metered = seed_sellers(ground, url, count=1, scopes=REFUND_SCOPES, details=(_limit(),))
        server = stack.enter_context(serving(ground, url))
        other = stack.enter_context(serving(ground, url))
        empty = stack.enter_context(running([sys.executable, "-m", "benchmarks.empty_route"]))
        refunds = Refunding(ground, server, {"refund": plain[0], "metered_refund": metered[0]})
        drive(Job(server.port, [fetch_token(server.port, sellers[0])], 16, min(2.0, options.seconds), "warm"))
        _tokens(server, empty, sellers[0], QUICK)
        refunds.measure(QUICK, "warm")
        for number in range(options.rounds):
            rounds.add(uvloop.run(_measure_here(ground, url, sellers[0])))
            rounds.add(_orders(server, sellers[0], options, f"o{number}"))
            rounds.add(_tokens(server, empty, sellers[0], options))
            rounds.add(refunds.measure(options, f"f{number}"))
        seen = _revocations(ground, (server, other), sellers, options)
    return _figures(rounds, seen)


async def _measure_here(ground: Ground, url: str, seller: Seller) -> dict[str, float]:
    """CPU microseconds of this process; the platform is the one that a server opens."""
    async with open_platform(bench_settings(ground.home), DatabaseUrls(owner=url)) as platform:
        await platform.access.authenticate(await _issue(platform, seller))  # the statement is prepared, the pool open
        verifications, misses = [], []
        for _ in range(BATCHES):
            tokens = [await _issue(platform, seller) for _ in range(MISSES)]
            verifications.append(await _cpu_us(MISSES, partial(_verify, tokens, platform.keys.signing)))
            misses.append(await _cpu_us(MISSES, partial(_miss, tokens, platform)))
        return {
            "verification_us": statistics.median(verifications),
            "miss_us": statistics.median(misses),
            "hit_us": await _hit_us(platform, tokens[0]),
        }


async def _verify(tokens: Sequence[str], keys: KeySet, number: int) -> None:
    jwt.decode(tokens[number], keys, algorithms=["ES256"])


async def _miss(tokens: Sequence[str], platform: Platform, number: int) -> None:
    await platform.access.authenticate(tokens[number])


async def _issue(platform: Platform, seller: Seller) -> str:
    answer = await platform.oauth.issue_token(
        OAuthRequest("POST", "/oauth/token", _basic(seller), {"grant_type": "client_credentials"})
    )
    token: str = answer.body["access_token"]
    return token


async def _cpu_us(times: int, act: Callable[[int], Awaitable[object]]) -> float:
    started = time.process_time()
    for number in range(times):
        await act(number)
    return (time.process_time() - started) / times * 1e6


async def _hit_us(platform: Platform, token: str) -> float:
    """The check as the hot route makes it: what the route declares, on a request that came through the envelope."""
    app = create_app(None, public_origin="http://127.0.0.1:8080", ids=platform.ids)  # type: ignore[arg-type]  # attached
    attach(app, platform)
    check = Requirement("payments:write")
    found: list[float] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        async def once(_: int) -> None:
            await check(Request(scope, receive))

        await once(0)
        found.extend([await _cpu_us(HITS, once) for _ in range(BATCHES)])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(f"the check was refused: {message}")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/payments",
        "raw_path": b"/v1/payments",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "app": app,
        "state": {},
    }
    await RequestEnvelope(inner, ids=platform.ids, problems=Problems(type_base=""))(scope, receive, send)
    return statistics.median(found)


def _orders(server: Child, seller: Seller, options: Options, run_name: str) -> dict[str, float]:
    """Server CPU of a paid order, of which the access check is a share."""
    token = fetch_token(server.port, seller)
    before_s = cpu_s(server.pid)
    outcome = drive(Job(server.port, [token], CONNECTIONS, options.seconds, run_name))
    return {"order_us": (cpu_s(server.pid) - before_s) / outcome.orders * 1e6}


def _tokens(server: Child, empty: Child, seller: Seller, options: Options) -> dict[str, float]:
    """Server CPU of a token and of an introspection beside that of an empty route that got the same request."""
    told: dict[str, float] = {}
    asked = {
        "client_credentials": ("/oauth/token", "grant_type=client_credentials", '"access_token"'),
        "introspection": ("/oauth/introspect", f"token={fetch_token(server.port, seller)}", '"active":true'),
    }
    for name, (path, body, expected) in asked.items():
        request = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {_basic(seller)}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        ours = partial(_asked, server, request, expected, options)
        nothing = partial(_asked, empty, request, "", options)
        first, second = _there_and_back(ours, nothing)
        told |= {f"{name}_us": first.cpu_us, f"{name}_p99_ms": first.p99_ms, f"{name}_empty_us": second.cpu_us}
    return told


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one request: CPU time of the process that answered it, and the slowest hundredth's latency."""

    cpu_us: float
    p99_ms: float


def _asked(child: Child, request: str, expected: str, options: Options) -> Cost:
    job = Job(child.port, [], CONNECTIONS, options.seconds / 2, "t", request=request, expected=expected)
    return _cost(child, job)


def _cost(child: Child, job: Job) -> Cost:
    before_s = cpu_s(child.pid)
    outcome = drive(job)
    return Cost((cpu_s(child.pid) - before_s) / outcome.orders * 1e6, outcome.p99_ms)


def _there_and_back(one: Callable[[], Cost], other: Callable[[], Cost]) -> tuple[Cost, Cost]:
    """What each costs, measured in the order A, B, B, A."""
    first, second, third, fourth = one(), other(), other(), one()
    return _mean(first, fourth), _mean(second, third)


def _mean(one: Cost, other: Cost) -> Cost:
    return Cost((one.cpu_us + other.cpu_us) / 2, (one.p99_ms + other.p99_ms) / 2)


class Refunding:
    """Refunds of many payments, by an app under one limit a day and by one without any."""

    def __init__(self, ground: Ground, server: Child, sellers: Mapping[str, Seller]) -> None:
        self._server = server
        self._sellers = sellers
        self._payments: dict[str, list[str]] = {}
        for name, seller in sellers.items():
            sold = 0
            while sold < REFUNDED:
                job = Job(server.port, [fetch_token(server.port, seller)], CONNECTIONS, 1.0, f"sold{sold}")
                sold += drive(job).orders
            query = (
                f"SELECT id FROM pay_payment WHERE merchant_id = '{seller.merchant_id}' ORDER BY id LIMIT {REFUNDED}"
            )
            self._payments[name] = ground.sql(query, database="app").split()

    def measure(self, options: Options, run_name: str) -> dict[str, float]:
        """Server CPU of a refund, and of one that is metered."""
        plain, metered = (partial(self._refund, name, options, itertools.count(), run_name) for name in self._sellers)
        first, second = _there_and_back(plain, metered)
        return {
            "refund_us": first.cpu_us,
            "metered_refund_us": second.cpu_us,
            "metered_limit_us": second.cpu_us - first.cpu_us,
        }

    def _refund(self, name: str, options: Options, runs: Iterator[int], run_name: str) -> Cost:
        token = fetch_token(self._server.port, self._sellers[name])
        job = Job(
            self._server.port,
            [token],
            REFUNDING,
            options.seconds / 2,
            f"{run_name}_{next(runs)}",
            payments=self._payments[name],
        )
        return _cost(self._server, job)


def _limit() -> Detail:
    """So much a day that it is never reached."""
    limits = [{"per": "day", "amount_minor": 10**9, "currency": "CNY"}]
    return Detail.model_validate({"type": "payment_refund", "limits": limits})


def _revocations(ground: Ground, servers: Sequence[Child], sellers: Sequence[Seller], options: Options) -> list[float]:
    """Milliseconds from the revocation's commit until the last server refused, while orders come at 64 connections."""
    token = fetch_token(servers[0].port, sellers[0])
    lasts_s = max(options.seconds, len(sellers) * 0.5)
    load = threading.Thread(target=drive, args=(Job(servers[0].port, [token], CONNECTIONS, lasts_s, "revoked"),))
    load.start()
    try:
        return uvloop.run(_revoke_all(ground, ground.postgres.url("app"), servers, sellers[1:]))
    finally:
        load.join()


async def _revoke_all(ground: Ground, url: str, servers: Sequence[Child], sellers: Sequence[Seller]) -> list[float]:
    seen = []
    async with open_platform(bench_settings(ground.home), DatabaseUrls(owner=url)) as platform:
        for seller in sellers:
            token = await asyncio.to_thread(fetch_token, servers[0].port, seller)
            for server in servers:
                if await asyncio.to_thread(_status, server.port, token) != 200:
                    raise NeverRefused("a good token was refused")
            grant_id = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["grant_id"]
            await platform.grants.revoke(grant_id, merchant_id=seller.merchant_id, by="per_bench", why="measured")
            started = time.monotonic()
            refused = await asyncio.gather(*(_until_refused(server.port, token, started) for server in servers))
            seen.append(max(refused) * 1e3)
    return seen


async def _until_refused(port: int, token: str, started: float) -> float:
    while time.monotonic() - started < REFUSED_WITHIN_S:
        if await asyncio.to_thread(_status, port, token) == 401:
            return time.monotonic() - started
        await asyncio.sleep(POLL_S)
    raise NeverRefused("a revoked token was taken for 5 s")


def _status(port: int, token: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/payments?limit=1", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _basic(seller: Seller) -> str:
    return "Basic " + base64.b64encode(f"{seller.client_id}:{seller.secret}".encode()).decode()


def _figures(rounds: Rounds, seen: Sequence[float]) -> list[Figure]:
    def plain(name: str, unit: str = "us") -> Figure:
        return Figure(NAME, name, rounds.of(name), unit, GOALS.get(name))

    def ratio(name: str, of: str, against: str) -> Figure:
        return Figure(NAME, name, rounds.ratios(of, against), "x", GOALS.get(name))

    ordered = sorted(seen)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return [
        plain("hit_us"),
        ratio("hit_share_of_paid_order", "hit_us", "order_us"),
        ratio("hit_against_verification", "hit_us", "verification_us"),
        ratio("miss_against_verification", "miss_us", "verification_us"),
        ratio("client_credentials_against_empty_route", "client_credentials_us", "client_credentials_empty_us"),
        ratio("introspection_against_empty_route", "introspection_us", "introspection_empty_us"),
        ratio("metered_limit_against_refund", "metered_limit_us", "refund_us"),
        Figure(NAME, "revocation_seen_p99_ms", [p99], "ms", GOALS["revocation_seen_p99_ms"]),
        Figure(NAME, "revocation_seen_median_ms", [statistics.median(seen)], "ms"),
        plain("verification_us"),
        plain("miss_us"),
        plain("order_us"),
        plain("client_credentials_us"),
        plain("client_credentials_p99_ms", "ms"),
        plain("client_credentials_empty_us"),
        plain("introspection_us"),
        plain("introspection_p99_ms", "ms"),
        plain("introspection_empty_us"),
        plain("refund_us"),
        plain("metered_refund_us"),
    ]

"""Counting requests: per app, per merchant of an app, per address; at a time; among several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.principal import Principal
from platform_core.identity.processes import ServerProcesses
from platform_core.identity.rate_limits import Rate, RateLimits, address_key
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import Envelope
from platform_core.kernel.http.version import ONE_VERSION
from platform_core.kernel.telemetry import Correlation
from tests.support.world import Till, World

pytestmark = pytest.mark.unit
ISV_APP = Principal(
    kind="app",
    client_id="app_test_1",
    app_id="app_1",
    merchant_id="mer_1",
    standing="active",
    mode="test",
    scopes=frozenset(),
    stores=None,
    grant_id="gra_1",
    grant_version=1,
    token_id="jti",
    key_id="kid",
    expires_at=2**40,
    api_version="2026-11-22",
    tier="standard",
)
OWN_APP = replace(ISV_APP, tier=None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, tzinfo=UTC))


@pytest.fixture
def limits(clock: ManualClock) -> RateLimits:
    return RateLimits(clock, own_app_per_s=10, address_per_s=5, open_paths=("/v1/notices/",))


def envelope() -> Envelope:
    return Envelope("req_1", "en", Correlation("0" * 32, "0" * 16), "2026-11-22", None, None, ONE_VERSION)


def ask(limits: RateLimits, who: Principal, *, is_kept: bool = True, stays: bool = False) -> dict[bytes, bytes]:
    """One request that ends at once unless it `stays`; the answer's fields."""
    one = envelope()
    try:
        limits.admit(who, one, is_kept=is_kept)
    finally:
        if one.on_end is not None and not stays:
            one.on_end()
    return dict(one.headers)


def admitted(limits: RateLimits, who: Principal, *, is_kept: bool = True) -> int:
    """How many requests come through now."""
    for number in count():
        try:
            ask(limits, who, is_kept=is_kept)
        except PlatformError as error:
            return number if error.code == "identity.rate_exceeded" else -1
    raise AssertionError


def test_a_burst_passes_then_the_rate(limits: RateLimits, clock: ManualClock) -> None:
    assert admitted(limits, OWN_APP) == 20
    clock.advance(timedelta(seconds=1))
    assert admitted(limits, OWN_APP) == 10
    clock.advance(timedelta(hours=1))
    assert admitted(limits, OWN_APP) == 20


def test_the_fields_say_what_is_left(limits: RateLimits, clock: ManualClock) -> None:
    first = ask(limits, OWN_APP)
    assert first == {b"ratelimit-policy": b'"app";q=20;w=2', b"ratelimit": b'"app";r=19;t=1'}
    for _ in range(18):
        ask(limits, OWN_APP)
    assert ask(limits, OWN_APP)[b"ratelimit"] == b'"app";r=0;t=2'
    one = envelope()
    with pytest.raises(PlatformError) as refused:
        limits.admit(OWN_APP, one, is_kept=True)
    assert dict(one.headers)[b"ratelimit"] == b'"app";r=0;t=2'
    assert refused.value.retry_after_s == 1
    clock.advance(timedelta(seconds=0.5))
    assert ask(limits, OWN_APP)[b"ratelimit"] == b'"app";r=4;t=2'


def test_a_tenth_stays_for_refunds_and_queries(limits: RateLimits) -> None:
    assert admitted(limits, OWN_APP, is_kept=False) == 18
    assert admitted(limits, OWN_APP, is_kept=True) == 2


def test_one_merchant_of_an_app_has_its_own_limit(limits: RateLimits) -> None:
    fields = ask(limits, ISV_APP)
    assert fields[b"ratelimit-policy"] == b'"app";q=400;w=2, "merchant";q=100;w=2'
    assert fields[b"ratelimit"] == b'"app";r=399;t=1, "merchant";r=99;t=1'
    assert admitted(limits, ISV_APP) == 99
    other = replace(ISV_APP, merchant_id="mer_2")
    assert ask(limits, other)[b"ratelimit"] == b'"app";r=299;t=1, "merchant";r=99;t=1'


def test_an_unknown_tier_counts_as_the_smallest(limits: RateLimits) -> None:
    stranger = replace(ISV_APP, tier="golden", merchant_id=None)
    assert ask(limits, stranger)[b"ratelimit-policy"] == b'"app";q=40;w=2'


def test_a_refused_request_costs_nothing(limits: RateLimits, clock: ManualClock) -> None:
    assert admitted(limits, ISV_APP) == 100
    for _ in range(1_000):
        with pytest.raises(PlatformError):
            ask(limits, ISV_APP)
    clock.advance(timedelta(seconds=2))
    assert admitted(limits, ISV_APP) == 100


def test_so_many_at_a_time_and_the_place_is_given_back(limits: RateLimits) -> None:
    for _ in range(5):
        ask(limits, OWN_APP, stays=True)
    one = envelope()
    with pytest.raises(PlatformError) as refused:
        limits.admit(OWN_APP, one, is_kept=True)
    assert (refused.value.code, refused.value.retry_after_s) == ("identity.concurrency_exceeded", 1)
    assert one.on_end is None
    ask(limits, replace(OWN_APP, client_id="app_test_2"))
    limits._release(OWN_APP.client_id)
    ask(limits, OWN_APP, stays=True)


def test_processes_divide_a_limit_evenly(limits: RateLimits, clock: ManualClock) -> None:
    limits.share_among(4)
    assert admitted(limits, OWN_APP) == 5
    clock.advance(timedelta(seconds=2))
    assert ask(limits, OWN_APP)[b"ratelimit"] == b'"app";r=16;t=1'
    limits.share_among(0)
    assert limits.processes == 1


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2::1", "20010db800010002/64"),
        ("2001:db8:1:2:ffff::9", "20010db800010002/64"),
        ("fe80::1%eth0", "fe80000000000000/64"),
        ("unix", "unknown"),
    ],
)
def test_an_address_is_counted_ipv6_by_its_64(host: str, key: str) -> None:
    assert address_key({"client": (host, 1)}) == key


def test_strangers_are_counted_by_address_but_on_open_paths(limits: RateLimits) -> None:
    def strangers(path: str, hosts: Iterator[str]) -> int:
        for number, host in enumerate(hosts):
            try:
                limits.admit_stranger({"path": path, "client": (host, 1)}, envelope())
            except PlatformError:
                return number
        return -1

    assert strangers("/oauth/token", (f"2001:db8::{number}" for number in range(1, 99))) == 10
    assert strangers("/oauth/token", (f"2001:db8:0:{number}::1" for number in range(1, 99))) == -1
    assert strangers("/v1/notices/x/y", ("203.0.113.7" for _ in range(99))) == -1


def test_keys_are_bounded(limits: RateLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_core.identity.rate_limits.KEYS_MAX", 50)
    for number in range(200):
        limits.admit_stranger({"path": "/", "client": (f"203.0.113.{number}", 1)}, envelope())
    assert len(limits._addresses._empty_at) == 50


@pytest.mark.database
async def test_two_live_processes_share_and_one_that_stops_is_left_out(deps: IdentityDeps, clock: ManualClock) -> None:
    first, second = RateLimits(clock), RateLimits(clock)
    one, two = ServerProcesses(deps, first, beat_s=3600), ServerProcesses(deps, second, beat_s=3600)
    async with one.counted():
        assert first.processes == 1
        async with two.counted():
            assert second.processes == 2
            assert await one.beat() == first.processes == 2
        assert await one.beat() == first.processes == 1


@pytest.mark.database
async def test_a_process_that_crashed_is_left_out_after_15_s(deps: IdentityDeps, clock: ManualClock) -> None:
    limits = RateLimits(clock)
    await ServerProcesses(deps, RateLimits(clock)).beat()
    living = ServerProcesses(deps, limits)
    assert await living.beat() == 2
    clock.advance(timedelta(seconds=16))
    assert await living.beat() == limits.processes == 1
    clock.advance(timedelta(hours=2))
    await living.beat()
    async with deps.database.read_all() as connection:
        rows = (await connection.exec_driver_sql("SELECT count(*) FROM server_process")).scalar_one()
    assert rows == 1


@pytest.mark.api
@pytest.mark.database
async def test_the_hot_route_and_every_other_are_counted_and_a_refusal_writes_nothing(world: World, till: Till) -> None:
    taken = await till.pay()
    assert taken.status_code == 201
    assert taken.headers["ratelimit-policy"] == '"app";q=2000;w=2'
    assert taken.headers["ratelimit"].startswith('"app";r=')
    assert (await till.get("/stores")).headers["ratelimit-policy"] == '"app";q=2000;w=2'
    limits = world.platform.access.limits
    before = await till.balances(world.platform)
    limits._own = replace(limits._own, app=Rate(1, 1))
    assert (await till.get("/stores")).status_code == 200
    refused = [await till.pay(), await till.get("/stores")]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(429, "identity.rate_exceeded")] * 2
    assert [answer.headers["ratelimit"] for answer in refused] == ['"app";r=0;t=1'] * 2
    assert await till.balances(world.platform) == before


@pytest.mark.api
@pytest.mark.database
async def test_who_guesses_tokens_is_slowed_by_address(world: World) -> None:
    limits = world.platform.access.limits
    limits._address = replace(limits._address, per_s=1, burst=3)
    statuses = []
    for _ in range(5):
        answer: Any = await world.client.get("/v1/stores", headers={"Authorization": "Bearer guess"})
        statuses.append((answer.status_code, answer.json()["code"]))
    assert statuses[:3] == [(401, "identity.token_invalid")] * 3
    assert statuses[3:] == [(429, "identity.rate_exceeded")] * 2
    assert answer.headers["ratelimit-policy"] == '"address";q=3;w=3'
    assert answer.headers["retry-after"] == "1"
    bare = await world.client.get("/v1/stores")
    assert bare.status_code == 429
    assert (await world.client.get("/healthz")).status_code == 200

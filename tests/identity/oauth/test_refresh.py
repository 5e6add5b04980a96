"""refresh_token: kept by confidential clients, rotated for public ones, and what reuse means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import Profile
from platform_core.identity.oauth.grants.refresh_token import Refresh
from platform_core.kernel.clock import ManualClock
from tests.identity.conftest import Process, open_process
from tests.identity.oauth.conftest import Journey, count, open_journey

pytestmark = [pytest.mark.database, pytest.mark.api]


@pytest.fixture
async def strict(deps: IdentityDeps, process: Process) -> AsyncIterator[Process]:
    """A process without grace."""
    made = await open_process(deps, refresh_grace=timedelta(0))
    yield made
    await made.feed.stop()
    await made.http.aclose()


async def test_a_confidential_client_keeps_its_token(journey: Journey) -> None:
    tokens = await journey.tokens()
    for _ in range(2):
        body = (await journey.refresh(tokens["refresh_token"])).json()
        assert "refresh_token" not in body
        assert body["scope"] == tokens["scope"]
        who, _ = await journey.process.access.inspect(body["access_token"])
        assert (who.merchant_id, who.grant_id) == (journey.merchant.id, tokens["grant_id"])  # F08


async def test_a_public_clients_token_is_followed_by_another(public: Journey) -> None:
    tokens = await public.tokens()
    first = (await public.refresh(tokens["refresh_token"])).json()
    assert first["refresh_token"] != tokens["refresh_token"]
    second = (await public.refresh(first["refresh_token"])).json()
    assert len({tokens["refresh_token"], first["refresh_token"], second["refresh_token"]}) == 3
    assert await public.works(second["access_token"])


async def test_f27_a_lesser_wish_leaves_the_successor_its_scopes(public: Journey, journey: Journey) -> None:
    tokens = await public.tokens()
    lesser = (await public.refresh(tokens["refresh_token"], scope="stores:read")).json()
    assert lesser["scope"] == "stores:read"
    assert (await public.refresh(lesser["refresh_token"])).json()["scope"] == tokens["scope"]


@pytest.mark.parametrize("scope", ["stores:read refunds:write", "no:such", '"\\支'])
async def test_a17_widening_is_refused_and_burns_nothing(public: Journey, scope: str) -> None:
    tokens = await public.tokens()
    refused = await public.refresh(tokens["refresh_token"], scope=scope)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    assert (await public.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_retry_within_the_grace_gets_the_same_successor(public: Journey, clock: ManualClock) -> None:
    tokens = await public.tokens()
    first = (await public.refresh(tokens["refresh_token"])).json()
    clock.advance(timedelta(seconds=30))
    again = (await public.refresh(tokens["refresh_token"])).json()
    assert again["refresh_token"] == first["refresh_token"]
    assert again["access_token"] != first["access_token"]
    assert await count(public.process.deps, "oauth_refresh_token") == 2


async def test_a08_a_retry_after_the_grace_is_reuse_and_ends_the_family(
    public: Journey, other_process: Process, clock: ManualClock
) -> None:
    tokens = await public.tokens()
    fresh = (await public.refresh(tokens["refresh_token"])).json()
    assert await public.works(fresh["access_token"], process=other_process)
    clock.advance(timedelta(seconds=31))
    assert (await public.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    await other_process.feed.poll()
    assert not await public.works(fresh["access_token"], process=other_process)
    assert (await public.refresh(fresh["refresh_token"])).json()["error"] == "invalid_grant"
    assert await count(public.process.deps, "oauth_token_family", "revoked_why = 'reused'") == 1
    assert await count(public.process.deps, "access_grant", "state = 'active'") == 1


async def test_a08_a_retry_after_the_successor_was_used_is_reuse(public: Journey) -> None:
    tokens = await public.tokens()
    fresh = (await public.refresh(tokens["refresh_token"])).json()
    assert (await public.refresh(fresh["refresh_token"])).status_code == 200
    assert (await public.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await count(public.process.deps, "oauth_token_family", "state = 'revoked'") == 1


@pytest.mark.parametrize("profile", ["confidential", "public"])
async def test_a08_another_client_gets_nothing_and_ends_nothing(process: Process, profile: Profile) -> None:
    owner, thief = await open_journey(process, profile=profile), await open_journey(process, profile=profile)
    tokens = await owner.tokens()
    assert (await thief.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await owner.refresh(tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "rft_00000000000000000000000000_" + "A" * 43, '"\\支', "x" * 2048])
async def test_an_unknown_token_gets_nothing(journey: Journey, token: str) -> None:
    answer = await journey.refresh(token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant" if token else "invalid_request")


async def test_f07_with_grace_all_get_the_one_successor(public: Journey, other_process: Process) -> None:
    for _ in range(3):
        token = (await public.tokens())["refresh_token"]
        processes = [public.process, other_process] * 20
        answers = await asyncio.gather(*(public.refresh(token, process) for process in processes))
        assert [answer.status_code for answer in answers] == [200] * 40
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert len({answer.json()["access_token"] for answer in answers}) == 40


async def test_f07_without_grace_exactly_one_is_answered(strict: Process) -> None:
    public = await open_journey(strict, profile="public")
    for _ in range(3):
        token = (await public.tokens())["refresh_token"]
        answers = await asyncio.gather(*(public.refresh(token) for _ in range(40)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 39
        assert {answer.json().get("error") for answer in answers if answer.status_code == 400} == {"invalid_grant"}


@pytest.mark.parametrize(("profile", "unused", "overall"), [("confidential", 90, 365), ("public", 30, 180)])
async def test_a_token_dies_unused_and_a_family_dies_in_all(
    process: Process, clock: ManualClock, profile: Profile, unused: int, overall: int
) -> None:
    journey = await open_journey(process, profile=profile)
    left = (await journey.tokens())["refresh_token"]
    used = (await journey.tokens())["refresh_token"]
    lived, step, end = timedelta(0), timedelta(days=unused // 2), timedelta(days=overall)
    while lived + step < end:
        clock.advance(step)
        lived += step
        used = await still_good(journey, used)
        if lived == timedelta(days=unused):
            assert (await journey.refresh(left)).json()["error"] == "invalid_grant"
    clock.advance(end - lived - timedelta(seconds=1))
    used = await still_good(journey, used)
    clock.advance(timedelta(seconds=1))
    assert (await journey.refresh(used)).json()["error"] == "invalid_grant"


async def still_good(journey: Journey, token: str) -> str:
    answer = await journey.refresh(token)
    assert answer.status_code == 200
    following: str = answer.json().get("refresh_token", token)
    return following


async def test_a_narrowed_grant_gives_the_lesser(journey: Journey) -> None:
    tokens = await journey.tokens()
    await journey.decide(await journey.request(scope="stores:read", grant_management_action="replace"))
    assert (await journey.refresh(tokens["refresh_token"])).json()["scope"] == "stores:read"


def test_a_grace_beyond_a_minute_is_refused(deps: IdentityDeps, process: Process) -> None:
    with pytest.raises(ValueError, match="grace"):
        Refresh(deps, deps.database.engine("auth"), grace=timedelta(seconds=61))

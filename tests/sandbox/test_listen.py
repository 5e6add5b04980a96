"""Listening: no event is lost and none comes twice, whatever commits late or restarts; what is forwarded is signed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from platform_core.bootstrap.commands.listen import secret_of
from platform_core.bootstrap.jobs import webhook_deps
from platform_core.delivery.webhooks.feed import Feed, Place, read_place
from sandbox.testbed.listener import Listener, forward
from sandbox.testbed.trigger_till import PlatformAway, Till
from tests.support.world import SCOPES, World
from tests.support.world import Till as WorldTill

EVENTS = "/sandbox/v1/events"


class Feeding:
    """A till whose feed answers from a list, or is away."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []

    async def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        self.asked.append(params or {})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def event(name: str, kind: str = "payment.captured") -> dict[str, Any]:
    return {"id": name, "type": kind, "body": f'{{"type":"{kind}"}}'}


@pytest.mark.unit
async def test_a_restart_of_the_server_and_a_page_that_comes_twice_lose_and_double_nothing() -> None:
    one = {"data": [event("evt_1"), event("evt_2", "refund.created")], "next": "7.3"}
    two = {"data": [event("evt_2"), event("evt_1"), event("evt_3")], "next": "9"}
    till = Feeding([one, PlatformAway("restarting"), two])
    away: list[str] = []

    async def no_wait(_: float) -> None:
        return None

    listener = Listener(till, ["payment.*"], on_away=away.append, sleep=no_wait)  # type: ignore[arg-type]
    heard = [each["id"] async for each in _first(listener, 2)]
    assert (heard, away) == (["evt_1", "evt_3"], ["restarting"])
    assert [asked["after"] for asked in till.asked] == ["5", "7.3", "7.3"]


async def _first(listener: Listener, count: int) -> Any:
    async for each in listener.events("5"):
        yield each
        count -= 1
        if count == 0:
            return


@pytest.mark.unit
async def test_what_is_forwarded_verifies_and_a_receiver_that_starts_late_gets_it_once() -> None:
    seen: list[httpx.Request] = []
    secret = bytes(range(32))

    def receive(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) < 3:
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(418)

    async def no_wait(_: float) -> None:
        return None

    async with httpx.AsyncClient(transport=httpx.MockTransport(receive)) as client:
        done = await forward(client, "http://127.0.0.1/hook", event("evt_9"), secret=secret, sleep=no_wait)
    assert (done.status, done.tries) == (418, 3)
    body = seen[-1].content
    assert Webhook(base64.b64encode(secret).decode()).verify(body, dict(seen[-1].headers)) == json.loads(body)
    assert abs(int(seen[-1].headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


@pytest.mark.unit
async def test_a_receiver_that_may_have_got_it_is_not_told_twice() -> None:
    asked = 0

    def receive(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise httpx.ReadTimeout("slow")

    async with httpx.AsyncClient(transport=httpx.MockTransport(receive)) as client:
        done = await forward(client, "http://127.0.0.1/hook", event("evt_9"), secret=b"x" * 32)
    assert (asked, done.status, done.error) == (1, None, "ReadTimeout")


@pytest.mark.unit
def test_the_secret_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    secret = secret_of(tmp_path, "app_test_1")
    assert (secret_of(tmp_path, "app_test_1"), len(secret)) == (secret, 32)
    assert secret_of(tmp_path, "app_test_2") != secret
    assert (tmp_path / "listen" / "app_test_1.secret").stat().st_mode & 0o077 == 0


@pytest.mark.unit
def test_a_place_reads_as_it_was_written() -> None:
    assert read_place(str(Place(12, (3, 7)))) == Place(12, (3, 7))
    for wrong in ("", "a", "1..2", "-1", "1.2." + "3." * 300, "9" * 19):
        with pytest.raises(ValueError, match="place"):
            read_place(wrong)


@pytest.mark.database
async def test_an_event_that_commits_late_is_heard_once_and_foreign_ones_never(
    sandbox_world: World, sandbox_till: WorldTill, sandbox_database_url: str
) -> None:
    platform = sandbox_world.platform
    stranger = await sandbox_world.new_till()
    who = await platform.access.authenticate(sandbox_till.token)
    feed = Feed(webhook_deps(platform))
    place = await feed.end()
    late = await asyncpg.connect(sandbox_database_url)
    async with late.transaction():
        await late.execute(
            "INSERT INTO outbox (id, merchant_id, type, object_id, sequence, occurred_at, body) "
            "VALUES ('evt_late', $1, 'payment.captured', 'pay_late', 1, now(), '{}')",
            sandbox_till.merchant_id,
        )
        assert (await sandbox_till.pay()).status_code == 201
        assert (await stranger.pay()).status_code == 201
        first, place = await feed.read(who, place, limit=100)
    again, place = await feed.read(who, place, limit=100)
    rest, place = await feed.read(who, place, limit=100)
    await late.close()
    assert {each.event.merchant_id for each in first} == {sandbox_till.merchant_id}
    assert [each.event.type for each in first] == ["payment.created", "payment.captured"]
    assert [each.event.id for each in again] == ["evt_late"]
    assert (rest, place.gaps) == ([], ())
    assert json.loads(first[1].body)["merchant"] == sandbox_till.merchant_id


@pytest.mark.database
async def test_small_pages_leave_out_nothing(sandbox_world: World, sandbox_till: WorldTill) -> None:
    platform = sandbox_world.platform
    who = await platform.access.authenticate(sandbox_till.token)
    feed, heard = Feed(webhook_deps(platform)), []
    place = await feed.end()
    for _ in range(4):
        await sandbox_till.pay()
    for _ in range(8):
        page, place = await feed.read(who, place, limit=3)
        heard += [each.event.id for each in page]
    whole, _ = await feed.read(who, Place(0), limit=100)
    assert (len(heard), len(set(heard))) == (8, 8)
    assert heard == [each.event.id for each in whole][-8:]


@pytest.mark.api
async def test_the_feed_waits_for_what_comes_and_refuses_a_foreign_place(
    sandbox_world: World, sandbox_till: WorldTill
) -> None:
    client, origin = sandbox_world.client, "http://127.0.0.1:8080"
    till = Till(client, origin, "", "")
    till._token, till._until = sandbox_till.token, float("inf")
    place = (await till.get(EVENTS))["next"]
    waiting = asyncio.create_task(till.get(EVENTS, {"after": place, "wait_s": "20"}))
    await sandbox_till.pay()
    page = await waiting
    assert page["data"][0]["type"] == "payment.created"
    headers = {"Authorization": f"Bearer {sandbox_till.token}"}
    wrong = await client.get(f"{EVENTS}?after=x", headers=headers)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "sandbox.place_invalid")
    assert (await client.get(EVENTS)).status_code == 401
    plain = await sandbox_world.new_till(scopes=SCOPES)
    refused = await client.get(EVENTS, headers={"Authorization": f"Bearer {plain.token}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "identity.scope_missing")

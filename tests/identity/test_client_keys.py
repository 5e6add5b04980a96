"""Clients' public keys: uploaded ones, five of them, and published ones from addresses that are guarded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpcore
import pytest
from sqlalchemy import text

from platform_core.identity.client_keys import KEYS_MAX, ClientKeys
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.key_sets import BYTES_MAX, KEPT_S, REFETCH_S, KeySets
from platform_core.identity.oauth.assertion import Assertions, read_assertion
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.seen_jti import AlreadySeen
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.guarded_client import GuardedBackend, GuardedClient
from tests.delivery.receiver import Receiver, receiving
from tests.identity.conftest import ORIGIN, Process, Shop
from tests.support.proofs import HeldKey

HELD = [HeldKey.generate() for _ in range(KEYS_MAX + 1)]
pytestmark = pytest.mark.database


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Where a client publishes its keys."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def sets(clock: ManualClock) -> AsyncIterator[KeySets]:
    """Fetched sets, loopback allowed."""
    sets = KeySets(GuardedClient(allow_loopback_http=True), clock)
    yield sets
    await sets.aclose()


@pytest.fixture
def keys(deps: IdentityDeps, sets: KeySets, process: Process) -> ClientKeys:
    """The service."""
    return ClientKeys(deps, sets, process.feed, allow_loopback_http=True)


def publish(receiver: Receiver, *held: HeldKey, **beside: Any) -> None:
    receiver.body = json.dumps({"keys": [{**key.public, **beside} for key in held]}).encode()


async def code_of(awaitable: Any) -> str:
    with pytest.raises(PlatformError) as refused:
        await awaitable
    return refused.value.code


async def events(deps: IdentityDeps) -> int:
    async with deps.database.read_all() as connection:
        query = text("SELECT count(*) FROM outbox WHERE type = 'app.key_changed'")
        return int((await connection.execute(query)).scalar_one())


async def test_keys_are_taken_listed_found_and_removed(keys: ClientKeys, shop: Shop, deps: IdentityDeps) -> None:
    client_id = shop.app.client.id
    first = await keys.add(client_id, {**HELD[0].public, "kid": "till-1", "use": "sig"}, by="per_dev")
    second = await keys.add(client_id, HeldKey.generate("PS256").public, by="per_dev")
    assert (first.thumbprint, first.kid, first.kind, first.added_by) == (HELD[0].jkt, "till-1", "P-256", "per_dev")
    assert [key.id for key in (await keys.list(client_id)).keys] == [first.id, second.id]
    found = await keys.find(client_id)
    assert [(key.thumbprint, key.kid) for key in found] == [(HELD[0].jkt, "till-1"), (second.thumbprint, None)]
    await keys.remove(client_id, first.id, by="per_dev")
    assert [key.thumbprint for key in await keys.find(client_id)] == [second.thumbprint]
    assert await code_of(keys.remove(client_id, first.id, by="per_dev")) == "identity.key_not_found"
    assert await events(deps) == 3


async def test_what_is_refused_leaves_nothing_behind(
    keys: ClientKeys, shop: Shop, other_shop: Shop, deps: IdentityDeps
) -> None:
    client_id = shop.app.client.id
    private = HELD[0].key.as_dict(private=True)
    assert await code_of(keys.add(client_id, private, by="per_dev")) == "identity.key_refused"
    assert await code_of(keys.add("app_test_x", HELD[0].public, by="per_dev")) == "identity.client_not_found"
    for address in ("http://example.com/jwks", "https://10.0.0.1/jwks", "https://user@example.com/", "https://xn--/"):
        assert await code_of(keys.set_uri(client_id, address, by="per_dev")) == "identity.jwks_uri_refused"
    assert (await keys.list(client_id)).model_dump() == {
        "client_id": client_id,
        "jwks_uri": None,
        "must_sign": False,
        "keys": [],
    }
    theirs = await keys.add(other_shop.app.client.id, HELD[0].public, by="per_dev")
    assert await code_of(keys.remove(client_id, theirs.id, by="per_dev")) == "identity.key_not_found"
    assert len(await keys.find(other_shop.app.client.id)) == 1
    assert await keys.find("app_test_x") == ()
    assert await events(deps) == 1


async def test_five_keys_at_most_also_when_many_are_sent_at_once(keys: ClientKeys, shop: Shop) -> None:
    client_id = shop.app.client.id
    for held in HELD[: KEYS_MAX - 1]:
        await keys.add(client_id, held.public, by="per_dev")
    outcomes = await asyncio.gather(
        *(keys.add(client_id, held.public, by="per_dev") for held in HELD[KEYS_MAX - 1 :] * 3), return_exceptions=True
    )
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, PlatformError)}
    assert len(outcomes) - sum(isinstance(outcome, PlatformError) for outcome in outcomes) == 1
    assert refused <= {"identity.changed_meanwhile", "identity.key_exists", "identity.keys_full"}
    assert len(await keys.find(client_id)) == KEYS_MAX
    assert await code_of(keys.add(client_id, HeldKey.generate().public, by="p")) == "identity.keys_full"
    assert await code_of(keys.add(client_id, HELD[0].public, by="p")) == "identity.key_exists"


async def test_keys_are_uploaded_or_published_not_both(keys: ClientKeys, shop: Shop, receiver: Receiver) -> None:
    client_id = shop.app.client.id
    made = await keys.add(client_id, HELD[0].public, by="per_dev")
    assert await code_of(keys.set_uri(client_id, receiver.url(), by="p")) == "identity.keys_elsewhere"
    await keys.remove(client_id, made.id, by="per_dev")
    await keys.set_uri(client_id, receiver.url("/old"), by="per_dev")
    await keys.set_uri(client_id, receiver.url("/jwks"), by="per_dev")
    assert (await keys.list(client_id)).jwks_uri == receiver.url("/jwks")
    assert await code_of(keys.add(client_id, HELD[0].public, by="p")) == "identity.keys_elsewhere"
    publish(receiver, HELD[1])
    assert [key.thumbprint for key in await keys.find(client_id)] == [HELD[1].jkt]
    await keys.set_uri(client_id, None, by="per_dev")
    await keys.set_uri(client_id, None, by="per_dev")
    assert await keys.find(client_id) == ()


async def test_a_published_set_is_fetched_once_and_kept_ten_minutes(
    sets: KeySets, receiver: Receiver, clock: ManualClock
) -> None:
    publish(receiver, *HELD[:2])
    found = await asyncio.gather(*(sets.keys(receiver.url(), kid=None) for _ in range(20)))
    assert {tuple(key.thumbprint for key in keys) for keys in found} == {(HELD[0].jkt, HELD[1].jkt)}
    clock.advance(_seconds(KEPT_S - 1))
    assert len(await sets.keys(receiver.url())) == 2
    assert len(receiver.got) == 1
    clock.advance(_seconds(1))
    publish(receiver, HELD[2])
    assert [key.thumbprint for key in await sets.keys(receiver.url())] == [HELD[2].jkt]
    assert len(receiver.got) == 2
    clock.advance(_seconds(KEPT_S))
    receiver.status = 500
    assert await sets.keys(receiver.url()) == ()  # a key that was withdrawn must not outlive the ten minutes


async def test_an_unknown_kid_asks_anew_once_a_minute(sets: KeySets, receiver: Receiver, clock: ManualClock) -> None:
    publish(receiver, HELD[0], kid="old")
    await sets.keys(receiver.url(), kid="old")
    publish(receiver, HELD[1], kid="new")
    assert [key.kid for key in await sets.keys(receiver.url(), kid="new")] == ["old"]
    clock.advance(_seconds(REFETCH_S))
    found = await asyncio.gather(*(sets.keys(receiver.url(), kid="new") for _ in range(20)))
    assert {tuple(key.kid for key in keys) for keys in found} == {("new",)}
    for _ in range(5):
        await sets.keys(receiver.url(), kid="made-up")
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [', b"[" * 1000, b'{"keys": [], "keys": []}', b"\xff",
        b'{"keys": ["x", null, {"kty": "oct", "k": "AA"}]}', b'{"keys": []}' + b" " * BYTES_MAX,
    ],
)  # fmt: skip
async def test_what_is_no_key_set_gives_no_keys(sets: KeySets, receiver: Receiver, body: bytes) -> None:
    receiver.body = body
    assert await sets.keys(receiver.url()) == ()
    assert await sets.keys(receiver.url()) == ()
    assert len(receiver.got) == 1


async def test_unfit_keys_of_a_set_are_passed_over_and_five_are_kept(sets: KeySets, receiver: Receiver) -> None:
    listed = [{"kty": "oct", "k": "AA"}, {**HELD[0].public, "use": "enc"}, *(held.public for held in HELD)]
    receiver.body = json.dumps({"keys": listed}).encode()
    assert [key.thumbprint for key in await sets.keys(receiver.url())] == [held.jkt for held in HELD[:KEYS_MAX]]


async def test_a26_a_redirect_is_not_followed(sets: KeySets, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"location": receiver.url("/inwards")}
    publish(receiver, HELD[0])
    assert await sets.keys(receiver.url()) == ()
    assert [request.target for request in receiver.got] == ["/hooks"]


class Wire(httpcore.AsyncNetworkBackend):
    """Where a connection would go; none is made."""

    def __init__(self) -> None:
        self.went_to: list[str] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.went_to.append(host)
        raise httpcore.ConnectError("no network in this test")


@pytest.mark.parametrize(
    ("uri", "addresses"),
    [
        ("https://127.0.0.1/jwks", []),
        ("https://[::1]/jwks", []),
        ("https://[64:ff9b::7f00:1]/jwks", []),
        ("https://[2002:7f00:1::]/jwks", []),
        ("https://[::ffff:127.0.0.1]/jwks", []),
        ("https://169.254.169.254/latest/", []),
        ("http://example.com/jwks", ["93.184.215.14"]),
        ("https://2130706433/jwks", ["127.0.0.1"]),
        ("https://127.1/jwks", ["127.0.0.1"]),
        ("https://0x7f.1/jwks", ["127.0.0.1"]),
        ("https://inside.example/jwks", ["10.0.0.1"]),
        ("https://half.example/jwks", ["93.184.215.14", "10.0.0.1"]),
        ("https://user@example.com/jwks", ["93.184.215.14"]),
        ("https://xn--/", []),
    ],
)
async def test_a26_a_jwks_uri_reaches_nothing_inside(clock: ManualClock, uri: str, addresses: list[str]) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    wire = Wire()
    client = GuardedClient(backend=GuardedBackend(allow_loopback=False, resolver=resolve, inner=wire))
    sets = KeySets(client, clock)
    assert await sets.keys(uri) == ()
    assert wire.went_to == []
    await sets.aclose()


async def test_a26_a_name_that_changes_between_check_and_use_gains_nothing(clock: ManualClock) -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    wire = Wire()
    client = GuardedClient(backend=GuardedBackend(allow_loopback=False, resolver=resolve, inner=wire))
    sets = KeySets(client, clock)
    assert await sets.keys("https://rebind.example/jwks") == ()
    clock.advance(_seconds(REFETCH_S))
    assert await sets.keys("https://rebind.example/jwks") == ()
    assert wire.went_to == ["93.184.215.14"]
    await sets.aclose()


async def test_a15_of_forty_uses_of_one_assertion_one_counts(keys: ClientKeys, shop: Shop, deps: IdentityDeps) -> None:
    client_id, assertions = shop.app.client.id, Assertions(keys)
    await keys.add(client_id, HELD[0].public, by="per_dev")
    now = datetime.now(UTC)
    for _ in range(20):
        text_ = HELD[0].assertion(client_id, ORIGIN, now=now)

        async def use(shown: str) -> None:
            read = assertions.read(shown)
            found = await assertions.keys_of(read.client_id, kid=read.kid)
            proof = read.verify(found, audiences=[ORIGIN], now=now)
            await deps.committer.commit(Plan(None, [assertions.claim(proof)]))

        outcomes = await asyncio.gather(*(use(text_) for _ in range(40)), return_exceptions=True)
        refused = [type(outcome.refusal) for outcome in outcomes if isinstance(outcome, PlanRefused)]
        assert (outcomes.count(None), refused) == (1, [AlreadySeen] * 39)


async def test_a_removed_key_proves_nothing_any_more(keys: ClientKeys, shop: Shop) -> None:
    client_id, now = shop.app.client.id, datetime.now(UTC)
    made = await keys.add(client_id, HELD[0].public, by="per_dev")
    shown = read_assertion(HELD[0].assertion(client_id, ORIGIN, now=now))
    assert shown.verify(await keys.find(client_id), audiences=[ORIGIN], now=now).client_id == client_id
    await keys.remove(client_id, made.id, by="per_dev")
    with pytest.raises(OAuthRefusal):
        shown.verify(await keys.find(client_id), audiences=[ORIGIN], now=now)


def _seconds(count: float) -> timedelta:
    return timedelta(seconds=count)

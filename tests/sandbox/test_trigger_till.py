"""The example of a client: it repeats what may be repeated, under the same key, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused

pytestmark = pytest.mark.unit
TOKEN = httpx.Response(200, json={"access_token": "t", "expires_in": 600})
BODY = {"out_trade_no": "o_1"}


def problem(status: int, code: str, *, is_retryable: bool) -> httpx.Response:
    """A refusal as the platform words it."""
    return httpx.Response(status, json={"code": code, "retryable": is_retryable, "detail": "because"})


def till(answers: list[httpx.Response | Exception], seen: list[httpx.Request], *, patience_s: float = 60.0) -> Till:
    """A till whose platform gives these answers one after the other, and the last one for ever."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            return TOKEN
        seen.append(request)
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(said, Exception):
            raise said
        return said

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Till(client, "http://platform.test", "app_test_1", "secret", patience_s)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, instead of sleeping."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("sandbox.testbed.trigger_till.asyncio.sleep", sleep)
    return slept


@pytest.mark.parametrize(
    "first",
    [
        lambda: problem(409, "kernel.in_flight", is_retryable=True),
        lambda: problem(503, "kernel.commit_busy", is_retryable=True),
        lambda: httpx.Response(503, text="a proxy's own page"),
        lambda: httpx.ConnectError("refused"),
    ],
)
async def test_what_may_be_repeated_is_repeated_under_its_key(
    first: Callable[[], httpx.Response | Exception], waits: list[float]
) -> None:
    seen: list[httpx.Request] = []
    said = await till([first(), first(), httpx.Response(201, json={"id": "pay_1"})], seen).post(
        "/payments", BODY, key="k_1"
    )
    assert said == {"id": "pay_1"}
    assert [(request.headers["idempotency-key"], request.content) for request in seen] == [
        ("k_1", b'{"out_trade_no":"o_1"}')
    ] * 3
    assert waits == [0.2, 0.4]


async def test_a_wait_that_the_platform_names_is_kept(waits: list[float]) -> None:
    busy = problem(429, "identity.rate_exceeded", is_retryable=True)
    busy.headers["retry-after"] = "7"
    await till([busy, httpx.Response(200, json={})], []).get("/payments")
    assert waits == [7.0]


async def test_what_repeating_does_not_mend_is_refused_at_once(waits: list[float]) -> None:
    seen: list[httpx.Request] = []
    with pytest.raises(TillRefused, match=r"409 payments\.state_conflict: because"):
        await till([problem(409, "payments.state_conflict", is_retryable=False)], seen).post("/x", BODY, key="k")
    assert (len(seen), waits) == (1, [])


async def test_patience_ends(waits: list[float]) -> None:
    with pytest.raises(PlatformAway, match=r"kernel\.in_flight"):
        await till([problem(409, "kernel.in_flight", is_retryable=True)], [], patience_s=0.0).post("/x", BODY, key="k")
    assert waits == []

"""The example of a client: it repeats what may be repeated, under the same key, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from sandbox.testbed.trigger_till import PlatformAway, Till, TillRefused

pytestmark = pytest.mark.unit
TOKEN = httpx.Response(200, json={"access_token": "t", "expires_in": 600})
BODY = {"out_trade_no": "o_1"}


def problem(status: int, code: str, *, is_retryable: bool) -> httpx.Response:
    """A refusal as the platform words it."""
    return httpx.Response(status, json={"code": code, "retryable": is_retryable, "detail": "because"})


@dataclass
class Asked:
    """What a till asked, and how long it waited in between instead of sleeping."""

    answers: list[httpx.Response | Exception]
    """One after the other, and the last one for ever."""
    patience_s: float = 60.0
    seen: list[httpx.Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def till(self) -> Till:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return Till(client, "http://platform.test", "app_test_1", "secret", self.patience_s, self._sleep)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/token":
            return TOKEN
        self.seen.append(request)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        return said

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


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
    first: Callable[[], httpx.Response | Exception],
) -> None:
    asked = Asked([first(), first(), httpx.Response(201, json={"id": "pay_1"})])
    said = await asked.till().post("/payments", BODY, key="k_1")
    assert said == {"id": "pay_1"}
    assert [(request.headers["idempotency-key"], request.content) for request in asked.seen] == [
        ("k_1", b'{"out_trade_no":"o_1"}')
    ] * 3
    assert asked.waits == [0.2, 0.4]


async def test_a_wait_that_the_platform_names_is_kept() -> None:
    busy = problem(429, "identity.rate_exceeded", is_retryable=True)
    busy.headers["retry-after"] = "7"
    asked = Asked([busy, httpx.Response(200, json={})])
    await asked.till().get("/payments")
    assert asked.waits == [7.0]


async def test_what_repeating_does_not_mend_is_refused_at_once() -> None:
    asked = Asked([problem(409, "payments.state_conflict", is_retryable=False)])
    with pytest.raises(TillRefused, match=r"409 payments\.state_conflict: because"):
        await asked.till().post("/x", BODY, key="k")
    assert (len(asked.seen), asked.waits) == (1, [])


async def test_patience_ends() -> None:
    asked = Asked([problem(409, "kernel.in_flight", is_retryable=True)], patience_s=0.0)
    with pytest.raises(PlatformAway, match=r"kernel\.in_flight"):
        await asked.till().post("/x", BODY, key="k")
    assert asked.waits == []

"""Clients that take payments over HTTP and never give a key up before it is answered, unless they are told to.

Every choice comes from a seed, so a run's requests are the same again; only their timing is not.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

# What the simulated acquirer does with a code `sim:<scenario>:...`, and how often each is asked for.
SCENARIOS = {
    "success": 8,
    "slow": 2,
    "timeout_after_charge": 3,
    "silent": 2,
    "broken_body": 1,
    "forged_answer": 1,
    "timeout_before_charge": 2,
    "unknown-1": 2,
    "decline_balance": 2,
    "busy": 1,
    "duplicate_callback": 2,
}
RETRY_S = (0.1, 0.4)
RETRIED = frozenset({401, 429, 500, 502, 503, 504})
IN_FLIGHT = "kernel.in_flight"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An app of a merchant."""

    merchant_id: str
    client_id: str
    secret: str


@dataclass(slots=True)
class Act:
    """One thing that a client wants, under one key. `status` 0: nobody ever heard an answer."""

    credentials: Credentials
    kind: str
    path: str
    body: dict[str, Any]
    key: str
    tries: int = 0
    status: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    is_replay: bool = False

    @property
    def is_acknowledged(self) -> bool:
        """Whether the platform said that it is done, or under way."""
        return 200 <= self.status < 300


class Load:
    """Clients that run until they are told to stop, then bring what they began to an answer."""

    def __init__(
        self,
        origins: Sequence[str],
        tills: Sequence[Credentials],
        *,
        seed: int,
        abandons: float = 0.0,
        answer_within_s: float = 90.0,
        scenarios: dict[str, int] = SCENARIOS,
    ) -> None:
        """`abandons`: the share of acts whose client goes away for good after the first try that failed.

        `answer_within_s` is how long the others repeat theirs once the load was told to stop, until they give up.
        """
        self.acts: list[Act] = []
        self.acknowledged: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._origins = origins
        self._tills = tills
        self._seed = seed
        self._abandons = abandons
        self._answer_within_s = answer_within_s
        self._scenarios = scenarios
        self._tokens: dict[tuple[str, str], str] = {}
        self._stopping = asyncio.Event()
        self._gives_up_at = float("inf")

    def stop(self) -> None:
        """Begin nothing new."""
        self._gives_up_at = asyncio.get_running_loop().time() + self._answer_within_s
        self._stopping.set()

    async def run(self, clients: int) -> None:
        """Run so many clients until `stop`, and until all that they began is answered."""
        limits = httpx.Limits(max_connections=clients + 4, max_keepalive_connections=clients)
        async with httpx.AsyncClient(trust_env=False, timeout=12, limits=limits) as http, asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(http, number))

    async def _client(self, http: httpx.AsyncClient, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            await self._order(http, chance, name=f"{self._seed}_{number}_{turn}")

    async def _order(self, http: httpx.AsyncClient, chance: random.Random, *, name: str) -> None:
        """One order from its creation to, perhaps, its capture and its refunds."""
        till = chance.choice(self._tills)
        body: dict[str, Any] = {"out_trade_no": name, "subject": "Two coffees", "currency": "CNY"}
        body["order_minor"] = chance.randint(100, 900_000)
        draw = chance.random()
        if draw < 0.3:
            body["form"] = "local"
        else:
            [scenario] = chance.choices(list(self._scenarios), list(self._scenarios.values()))
            body |= {"form": "merchant_scan", "auth_code": f"sim:{scenario}:{name}", "is_capture": draw < 0.65}
        payment = await self._act(http, chance, till, "pay", "/payments", body, name)
        if not payment.is_acknowledged:
            return
        id_, state = payment.answer["id"], payment.answer["state"]
        amount = body["order_minor"]
        if state == "authorized":
            part = {"out_request_no": f"c_{name}", "amount_minor": chance.randint(1, amount)}
            capture = await self._act(http, chance, till, "capture", f"/payments/{id_}/capture", part, f"{name}_c")
            state = capture.answer.get("state", "") if capture.is_acknowledged else ""
            amount = part["amount_minor"]
        for n in range(2):
            if state == "captured" and chance.random() < 0.3:
                part = {"out_request_no": f"r{n}_{name}", "amount_minor": chance.randint(1, amount)}
                await self._act(http, chance, till, "refund", f"/payments/{id_}/refunds", part, f"{name}_r{n}")

    async def _act(
        self,
        http: httpx.AsyncClient,
        chance: random.Random,
        till: Credentials,
        kind: str,
        path: str,
        body: dict[str, Any],
        key: str,
    ) -> Act:
        act = Act(till, kind, path, body, key)
        self.acts.append(act)
        is_fickle = chance.random() < self._abandons
        while not await self.attempt(http, act, origin=chance.choice(self._origins)):
            if is_fickle or asyncio.get_running_loop().time() > self._gives_up_at:
                self.seen["abandoned" if is_fickle else "unanswered"] += 1
                break
            await asyncio.sleep(chance.uniform(*RETRY_S))
        return act

    async def attempt(self, http: httpx.AsyncClient, act: Act, *, origin: str) -> bool:
        """Send it once; whether there was an answer that ends it."""
        act.tries += 1
        try:
            headers = {"authorization": f"Bearer {await self._token(http, act.credentials, origin)}"}
            headers["idempotency-key"] = act.key
            answer = await http.post(f"{origin}/v1{act.path}", json=act.body, headers=headers)
        except httpx.HTTPError as error:
            self.seen[type(error).__name__] += 1
            return False
        return self._heard(act, answer)

    def _heard(self, act: Act, answer: httpx.Response) -> bool:
        document = answer.json()
        self.seen[f"{answer.status_code} {document.get('code', '')}".strip()] += 1
        if answer.status_code == 401:
            self._tokens.clear()
        if answer.status_code in RETRIED or document.get("code") == IN_FLIGHT:
            return False
        act.status, act.answer = answer.status_code, document
        self.acknowledged[act.kind] += act.is_acknowledged
        act.is_replay = answer.headers.get("idempotency-replayed") == "true"
        return True

    async def _token(self, http: httpx.AsyncClient, till: Credentials, origin: str) -> str:
        token = self._tokens.get((till.client_id, origin))
        if token is None:
            answer = await http.post(
                f"{origin}/oauth/token", data={"grant_type": "client_credentials"}, auth=(till.client_id, till.secret)
            )
            if answer.status_code != 200:
                raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
            token = self._tokens[till.client_id, origin] = str(answer.json()["access_token"])
        return token


async def replay(load: Load, *, acts: Sequence[Act], origin: str, on_answer: Callable[[Act, Act], None]) -> None:
    """Send acknowledged acts again, unchanged, under their keys; `on_answer` gets each with what came this time."""
    async with httpx.AsyncClient(trust_env=False, timeout=12) as http:
        for act in acts:
            again = Act(act.credentials, act.kind, act.path, act.body, act.key)
            for _ in range(100):
                if await load.attempt(http, again, origin=origin):
                    break
                await asyncio.sleep(0.3)
            on_answer(act, again)

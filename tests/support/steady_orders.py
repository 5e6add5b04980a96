"""Orders that never pause, at several server processes, each sent once and kept with its answer and its moment.

Nothing is repeated: an order without an answer is lost, and somebody must say so.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.support.load import Credentials
from tests.support.patience import HEARD_S

ORDER_MINOR: Final = 1_000
PAUSE_S: Final = 0.02
IN_A_ROW: Final = 3
"""So many orders, one after another, of every merchant at every process show that the process has heard."""
Told = Callable[[Mapping[str, Any]], object]  # Any: a payment as JSON


@dataclass(frozen=True, slots=True)
class Order:
    """One order and what came of it. `status` 0: nobody answered."""

    number: str
    merchant_id: str
    origin: str
    began: float
    """By time.monotonic()."""
    status: int
    answer: Mapping[str, Any]


class SteadyOrders:
    """Clients, each with one connection to one process and one merchant."""

    def __init__(self, origins: Sequence[str], shops: Sequence[Credentials]) -> None:
        self.orders: list[Order] = []
        self._origins = origins
        self._shops = shops
        self._numbers = itertools.count(1)
        self._is_over = False

    @asynccontextmanager
    async def running(self, *, clients: int) -> AsyncIterator[None]:
        """Run so many, evenly over processes and merchants, until the block ends; what they began is answered."""
        pairs = itertools.cycle(itertools.product(self._origins, self._shops))
        async with asyncio.TaskGroup() as group:
            for origin, shop in itertools.islice(pairs, clients):
                group.create_task(self._client(origin, shop))
            try:
                yield
            finally:
                self._is_over = True

    async def _client(self, origin: str, shop: Credentials) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        async with httpx.AsyncClient(base_url=origin, trust_env=False, timeout=30, limits=limits) as http:
            grant = {"grant_type": "client_credentials"}
            answer = await http.post("/oauth/token", data=grant, auth=(shop.client_id, shop.secret))
            assert answer.status_code == 200, answer.text
            token = answer.json()["access_token"]
            while not self._is_over:
                self.orders.append(await self._order(http, shop, origin=origin, token=token))
                await asyncio.sleep(PAUSE_S)

    async def _order(self, http: httpx.AsyncClient, shop: Credentials, *, origin: str, token: str) -> Order:
        number = f"steady_{next(self._numbers)}"
        line = {"line_id": "1", "sku": "coffee", "name": "Coffee", "quantity": 2, "unit_minor": ORDER_MINOR // 2}
        body = {
            "out_trade_no": number,
            "subject": "Two coffees",
            "form": "local",
            "currency": "CNY",
            "basket": {"lines": [line]},
        }
        headers = {"authorization": f"Bearer {token}", "idempotency-key": number}
        began = time.monotonic()
        try:
            answer = await http.post("/v1/payments", json=body, headers=headers)
        except httpx.HTTPError as error:
            return Order(number, shop.merchant_id, origin, began, 0, {"code": type(error).__name__})
        return Order(number, shop.merchant_id, origin, began, answer.status_code, answer.json())

    async def until(self, shops: Sequence[Credentials], *, told: Told, is_now: object, since: float) -> float:
        """Wait until every process decides these merchants' orders by the new state; the slowest one's lag, seconds.

        `told` reads the state out of an answer. The lag ends with the last order that was begun after `since` and still
        decided by another state.
        """
        places = [(origin, shop.merchant_id) for origin in self._origins for shop in shops]
        ends = time.monotonic() + HEARD_S
        while not all(self._has_heard(place, told=told, is_now=is_now, since=since) for place in places):
            assert time.monotonic() < ends, f"not every process decides by {is_now} after {HEARD_S:g} s"
            await asyncio.sleep(0.05)
        late = [one.began - since for one in self._of(shops, since=since) if told(one.answer) != is_now]
        return max(late, default=0.0)

    def _has_heard(self, place: tuple[str, str], *, told: Told, is_now: object, since: float) -> bool:
        here = [one for one in self.orders if one.began > since and (one.origin, one.merchant_id) == place]
        last = sorted(here, key=lambda one: one.began)[-IN_A_ROW:]
        return len(last) == IN_A_ROW and all(told(one.answer) == is_now for one in last)

    def _of(self, shops: Sequence[Credentials], *, since: float) -> list[Order]:
        ids = {shop.merchant_id for shop in shops}
        return [one for one in self.orders if one.merchant_id in ids and one.began > since]

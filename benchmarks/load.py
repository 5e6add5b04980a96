"""The load generator, a process of its own: orders over keep-alive connections, every answer checked.

`python -m benchmarks.load` reads one job from standard input and prints one line of JSON. It is small rather than
general: a raw HTTP/1.1 client on uvloop costs a few dozen microseconds a request, so that the server is the bottleneck.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

ORDER_MINOR = 8_200
ANSWER_S = 30.0
_LENGTH = b"content-length: "
_EXPECTED = (b'"state":"captured"', b'"captured_minor":8200')


@dataclass(frozen=True, slots=True)
class Job:
    """Who asks whom for how long. Each token is one merchant's; `run` makes order numbers unique between jobs.

    With `request`, a whole one as text, that is sent over and over instead, and 200 with `expected` in it is the right
    answer. With `payments`, ids of the first token's merchant, one minor unit of each is refunded in turn.
    """

    port: int
    tokens: Sequence[str]
    connections: int
    seconds: float
    run: str
    path: str = "/v1/payments"
    request: str = ""
    expected: str = ""
    payments: Sequence[str] = ()
    is_any_state: bool = False
    """Any 201 for the order is right, such as one in review."""
    per_s: float = 0.0
    """Orders come so often, whatever becomes of those before (an open loop), and a latency counts from when the order
    was due. 0: each connection sends its next order when the last one is answered (a closed loop)."""


@dataclass(slots=True)
class Outcome:
    """What came of a job. Latencies in milliseconds; `cpu_s` is the generator's own."""

    orders: int = 0
    seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    failed: int = 0
    """Orders of an open loop that were not answered as they must be; a closed loop ends at the first of them."""

    @property
    def success(self) -> float:
        """The share of orders that were answered as they must be."""
        return self.orders / (self.orders + self.failed)

    @property
    def orders_per_s(self) -> float:
        """Throughput, from the first request to the last answer."""
        return self.orders / self.seconds


class WrongAnswer(Exception):
    """An order was not answered as it must be; no figure of this run counts."""


def drive(job: Job) -> Outcome:
    """Run a job in a process of its own. Raises `WrongAnswer` with the first wrong answers."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
        timeout=job.seconds + 2 * ANSWER_S,
    )
    if done.returncode:
        raise WrongAnswer(f"the load generator ended with {done.returncode}: {done.stderr[-2000:]}")
    outcome = Outcome(**json.loads(done.stdout))
    if (outcome.wrong and not job.per_s) or not outcome.orders:
        raise WrongAnswer("\n".join(outcome.wrong) or "no order was answered")
    return outcome


class Orders:
    """Makes the requests of a job and keeps its book."""

    def __init__(self, job: Job) -> None:
        self._numbers = itertools.count()
        self._run = job.run
        self._expected = () if job.is_any_state else _EXPECTED
        self._heads = [_head(job.path, token) for token in job.tokens]
        self.ends_at = 0.0
        self.latencies: list[float] = []
        self.wrong: list[str] = []
        self.failed = 0

    def next(self) -> tuple[bytes, bytes]:
        """A request, and the order number that its answer must name."""
        number = next(self._numbers)
        name = f"{self._run}_{number}"
        body = (
            f'{{"out_trade_no":"{name}","subject":"Two coffees","form":"local","currency":"CNY",'
            f'"order_minor":{ORDER_MINOR}}}'
        ).encode()
        head = self._heads[number % len(self._heads)]
        request = b"%sIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s" % (head, name.encode(), len(body), body)
        return request, f'"out_trade_no":"{name}"'.encode()

    def check(self, answer: bytes, expected: bytes) -> bool:
        """201, captured, in full, for this very order."""
        right = (
            answer.startswith(b"HTTP/1.1 201 ")
            and expected in answer
            and all(part in answer for part in self._expected)
        )
        if not right and len(self.wrong) < 5:
            self.wrong.append(answer[:1500].decode(errors="replace"))
        return right


class Repeats(Orders):
    """The same request again and again."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._request, self._told = job.request.encode(), job.expected.encode()

    def next(self) -> tuple[bytes, bytes]:
        """The request, and what its answer holds."""
        return self._request, self._told

    def check(self, answer: bytes, expected: bytes) -> bool:
        """200."""
        right = answer.startswith(b"HTTP/1.1 200 ") and expected in answer
        if not right and len(self.wrong) < 5:
            self.wrong.append(answer[:1500].decode(errors="replace"))
        return right


class Refunds(Orders):
    """Refunds of a fen each, of one payment after another so that no two meet on one."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._refunded = [_head(f"{job.path}/{payment}/refunds", job.tokens[0]) for payment in job.payments]

    def next(self) -> tuple[bytes, bytes]:
        """A request, and the number that its answer must name."""
        number = next(self._numbers)
        name = f"{self._run}_{number}"
        body = f'{{"out_request_no":"{name}","amount_minor":1}}'.encode()
        head = self._refunded[number % len(self._refunded)]
        request = b"%sIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s" % (head, name.encode(), len(body), body)
        return request, f'"out_request_no":"{name}"'.encode()

    def check(self, answer: bytes, expected: bytes) -> bool:
        """201, succeeded, for this very refund."""
        right = answer.startswith(b"HTTP/1.1 201 ") and expected in answer and b'"state":"succeeded"' in answer
        if not right and len(self.wrong) < 5:
            self.wrong.append(answer[:1500].decode(errors="replace"))
        return right


class Customer(asyncio.Protocol):
    """One keep-alive connection: sends the next order when the last one is answered."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._expected = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is sent before the clock starts."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def send(self) -> None:
        """Send the next order, unless the time is over."""
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._orders.ends_at:
            self._finish()
            return
        request, self._expected = self._orders.next()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect one whole answer, check it, go on."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        head_ends = buffer.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        at = buffer.find(_LENGTH, 0, head_ends)
        length = int(buffer[at + len(_LENGTH) : buffer.index(b"\r\n", at)]) if at >= 0 else 0
        if len(buffer) < head_ends + 4 + length:
            return
        self._buffer = b""
        self._orders.latencies.append(time.perf_counter() - self._sent_at)
        if self._orders.check(buffer, self._expected):
            self.send()
        else:
            self._wrong()

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that hangs up is wrong."""
        if not self.done.done():
            self._orders.wrong.append(f"the server closed the connection: {exc}")
            self.done.set_result(None)

    def _wrong(self) -> None:
        """One wrong answer is enough."""
        self._finish()

    def _finish(self) -> None:
        assert self._transport is not None
        self.done.set_result(None)
        self._transport.close()


class Till(Customer):
    """One of several connections that take orders in turn as they come."""

    def __init__(self, orders: Orders, free: deque[Till], waiting: deque[float]) -> None:
        """`waiting`: when the orders were due that no connection was free for."""
        super().__init__(orders)
        self._free = free
        self._waiting = waiting

    def send(self) -> None:
        """Take the order that has waited longest, or wait for one until the last has come."""
        if self._waiting:
            self.take(self._waiting.popleft())
        elif self._orders.ends_at:
            self._finish()
        else:
            self._free.append(self)

    def take(self, due_at: float) -> None:
        """Send an order now that was due at `due_at`."""
        assert self._transport is not None
        request, self._expected = self._orders.next()
        self._sent_at = due_at
        self._transport.write(request)

    def _wrong(self) -> None:
        self._orders.failed += 1
        self.send()


async def play_paced(job: Job) -> Outcome:
    """Orders at a steady pace; the last answers are awaited."""
    orders, loop = Orders(job), asyncio.get_running_loop()
    free: deque[Till] = deque()
    waiting: deque[float] = deque()
    for _ in range(job.connections):
        _, till = await loop.create_connection(lambda: Till(orders, free, waiting), "127.0.0.1", job.port)
        free.append(till)
    tills = list(free)
    started, started_cpu = time.perf_counter(), time.process_time()
    for number in range(round(job.seconds * job.per_s)):
        due_at = started + number / job.per_s
        await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
        if free:
            free.popleft().take(due_at)
        else:
            waiting.append(due_at)
    orders.ends_at = time.perf_counter()
    while free:
        free.popleft().send()
    async with asyncio.timeout(ANSWER_S):
        await asyncio.gather(*(till.done for till in tills))
    lasted_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    ordered = sorted(orders.latencies)
    p50, p99 = _quantiles(ordered)
    failed = round(job.seconds * job.per_s) - len(ordered) + orders.failed  # a lost connection answers nothing
    return Outcome(len(ordered) - orders.failed, lasted_s, p50 * 1e3, p99 * 1e3, cpu_s, orders.wrong, failed)


async def play(job: Job) -> Outcome:
    """All connections open first, then all send until the time is over; the last answers are awaited."""
    orders = (Repeats if job.request else Refunds if job.payments else Orders)(job)
    loop = asyncio.get_running_loop()
    customers: list[Customer] = []
    for _ in range(job.connections):
        _, customer = await loop.create_connection(lambda: Customer(orders), "127.0.0.1", job.port)
        customers.append(customer)
    started, started_cpu = time.perf_counter(), time.process_time()
    orders.ends_at = started + job.seconds
    for customer in customers:
        customer.send()
    async with asyncio.timeout(job.seconds + ANSWER_S):
        await asyncio.gather(*(customer.done for customer in customers))
    lasted_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    ordered = sorted(orders.latencies)
    p50, p99 = _quantiles(ordered)
    return Outcome(len(ordered) - len(orders.wrong), lasted_s, p50 * 1e3, p99 * 1e3, cpu_s, orders.wrong)


def _quantiles(ordered: Sequence[float]) -> Iterator[float]:
    for share in (0.5, 0.99):
        yield ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _head(path: str, token: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()


def main() -> None:
    """One job in, one outcome out."""
    job = Job(**json.load(sys.stdin))
    outcome = uvloop.run(play_paced(job) if job.per_s else play(job))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()

"""The load generator believes nothing: what is not the captured order it asked for ends the run."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import Job, WrongAnswer, drive, play, play_paced

pytestmark = pytest.mark.unit
_LENGTH = re.compile(rb"Content-Length: (\d+)")


def right(number: str) -> tuple[int, str]:
    """What a correct server answers."""
    return 201, f'{{"out_trade_no":"{number}","state":"captured","amounts":{{"captured_minor":8200}}}}'


@asynccontextmanager
async def server(answer: Callable[[str], tuple[int, str]]) -> AsyncIterator[int]:
    """A server on the loopback whose answers a test decides by the order's number; yields its port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None
                order = json.loads(await reader.readexactly(int(length[1])))
                status, body = answer(order["out_trade_no"])
                writer.write(f"HTTP/1.1 {status} Any\r\ncontent-length: {len(body)}\r\n\r\n".encode())
                await writer.drain()
                writer.write(body.encode())  # apart from its head: answers come in pieces
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    listening = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def job(port: int) -> Job:
    """A fifth of a second over three connections for two merchants."""
    return Job(port=port, tokens=["t1", "t2"], connections=3, seconds=0.2, run="r1")


async def test_right_answers_are_counted_once_each() -> None:
    asked: list[str] = []

    def answer(number: str) -> tuple[int, str]:
        asked.append(number)
        return right(number)

    async with server(answer) as port:
        outcome = await play(job(port))
    assert outcome.wrong == []
    assert outcome.orders == len(asked) == len(set(asked))
    assert set(asked) == {f"r1_{number}" for number in range(len(asked))}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda number: (201, right(number)[1].replace("captured", "processing", 1)),
        lambda number: (200, right(number)[1]),
        lambda number: right(number + "0"),
        lambda number: (201, right(number)[1].replace("8200", "820")),
    ],
    ids=["state", "status", "order", "amount"],
)
async def test_one_wrong_answer_fails_the_run(wrong: Callable[[str], tuple[int, str]]) -> None:
    async with server(lambda number: wrong(number) if number == "r1_3" else right(number)) as port:
        with pytest.raises(WrongAnswer, match="r1_3"):
            await asyncio.to_thread(drive, job(port))


async def test_a_server_that_hangs_up_fails_the_run() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(WrongAnswer, match="closed the connection"):
            await asyncio.to_thread(drive, job(port))


def paced(port: int) -> Job:
    """Forty orders at a steady pace over two connections."""
    return Job(port=port, tokens=["t1"], connections=2, seconds=0.2, run="r1", per_s=200.0)


async def test_a_pace_is_kept_whatever_becomes_of_the_orders() -> None:
    asked: list[str] = []

    def answer(number: str) -> tuple[int, str]:
        asked.append(number)
        return (503, "{}") if number in ("r1_7", "r1_8") else right(number)

    async with server(answer) as port:
        outcome = await play_paced(paced(port))
    assert sorted(asked) == sorted(f"r1_{number}" for number in range(40))
    assert (outcome.orders, outcome.failed, len(outcome.wrong)) == (38, 2, 2)
    assert outcome.success == pytest.approx(38 / 40)


async def test_a_latency_counts_from_when_the_order_was_due() -> None:
    held = iter(range(40))

    def answer(number: str) -> tuple[int, str]:
        if next(held) == 0:
            time.sleep(0.1)  # the server stands still: every order that was due meanwhile is late
        return right(number)

    async with server(answer) as port:
        outcome = await asyncio.to_thread(drive, paced(port))
    assert outcome.orders == 40
    assert outcome.p99_ms >= 90

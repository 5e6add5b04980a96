"""A real HTTP/1.1 receiver on loopback that answers as it is told and keeps what it got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Answers with `answers` in turn, then with `status`; keeps every request in `got`.

    Status 0 closes without an answer.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    reply: Callable[[Received], bytes] | None = None
    """Makes the body of each answer, in place of `body`."""
    delay_s: float = 0.0
    answers: list[int] = field(default_factory=list)
    got: list[Received] = field(default_factory=list)
    port: int = 0
    at_once: int = 0
    at_once_max: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/hooks") -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def wait_for(self, count: int, timeout_s: float = 20) -> list[Received]:
        """The requests, once there are `count` of them."""
        async with asyncio.timeout(timeout_s):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.got

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other."""
        try:
            while await self._serve_request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the other side, or the test, is done
        finally:
            writer.close()

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        self.got.append(Received(method, target, headers, body))
        self.arrived.set()
        try:
            await asyncio.sleep(self.delay_s)
            status = self.answers.pop(0) if self.answers else self.status
            if status == 0:
                return False
            extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            answer = self.body if self.reply is None else self.reply(self.got[-1])
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(answer)}\r\n{extra}\r\n".encode() + answer)
            await writer.drain()
        finally:
            self.at_once -= 1
        return True


@asynccontextmanager
async def receiving(**options: object) -> AsyncIterator[Receiver]:
    """A receiver that listens inside the block."""
    receiver = Receiver(**options)  # type: ignore[arg-type]  # the fields of Receiver
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        await receiver.serve_connection(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()

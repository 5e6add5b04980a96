"""A man in the middle of a PostgreSQL connection who cuts it at a chosen message of the client."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, quote, unquote


class Cut(Enum):
    """Where the connection ends, as seen from one message of the client."""

    BEFORE = "before the message reaches the server"
    HALF = "with half of the message on its way"
    SENT = "as soon as the message is with the server"
    ANSWERED = "when the server has answered, and before the client hears of it"
    SILENT = "never: both sides stay connected, but the message is lost"


Choose = Callable[[bytes, bytes], Cut | None]  # type and payload of a client's message


class Proxy:
    """Listens on a Unix socket of its own before the server's. `choose` sees every client's message and may cut."""

    def __init__(self, url: str) -> None:
        self.behind = unquote(parse_qs(url.split("?")[1])["host"][0])
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self.url = f"{url.split('?', maxsplit=1)[0]}?host={quote(self._folder.name, safe='')}"
        self.choose: Choose = lambda kind, payload: None
        self.cuts: list[Cut] = []
        self.refuses = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_unix_server(self._accept, Path(self._folder.name) / ".s.PGSQL.5432")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._folder.cleanup()

    async def _accept(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refuses:
            answers.close()
            return
        server, requests = await asyncio.open_unix_connection(Path(self.behind) / ".s.PGSQL.5432")
        link = _Link(self, client=client, answers=answers, server=server, requests=requests)
        try:
            await link.run()
        except asyncio.CancelledError:
            pass  # the proxy closes; asyncio's stream server would report the cancellation as an error
        finally:
            for writer in (answers, requests):
                writer.transport.abort()


class _Link:
    """One client's connection."""

    def __init__(
        self,
        proxy: Proxy,
        *,
        client: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._answers = client, answers
        self._server, self._requests = server, requests
        self._is_deaf = False
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Until either side ends, or a cut."""
        back = asyncio.create_task(self._carry_answers())
        forth = asyncio.create_task(self._carry_requests())
        try:
            await asyncio.wait([back, forth], return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.cancel()
            forth.cancel()
            await asyncio.gather(back, forth, return_exceptions=True)

    async def _carry_answers(self) -> None:
        while block := await self._server.read(65536):
            self._heard.set()
            if not self._is_deaf:
                self._answers.write(block)
                await self._answers.drain()

    async def _carry_requests(self) -> None:
        length = await self._client.readexactly(4)  # the start-up message has no type
        self._requests.write(length + await self._client.readexactly(int.from_bytes(length) - 4))
        while True:
            head = await self._client.readexactly(5)
            payload = await self._client.readexactly(int.from_bytes(head[1:]) - 4)
            cut = self._proxy.choose(head[:1], payload)
            if cut is not None:
                self._proxy.cuts.append(cut)
                await self._cut(cut, head + payload)
                return
            self._requests.write(head + payload)
            await self._requests.drain()

    async def _cut(self, cut: Cut, message: bytes) -> None:
        self._is_deaf = True
        self._heard.clear()
        if cut is Cut.SILENT:
            await asyncio.Event().wait()
        if cut is Cut.BEFORE:
            return
        self._requests.write(message[: len(message) // 2] if cut is Cut.HALF else message)
        await self._requests.drain()
        if cut is Cut.ANSWERED:
            with contextlib.suppress(TimeoutError):  # a message before Sync has no answer of its own
                async with asyncio.timeout(0.1):
                    await self._heard.wait()

"""The host that the corpus attacks: a process of its own that lives for this, and holds secrets worth stealing.

It decides about payments with two plugins, for two merchants, as it is told by lines of JSON on one descriptor.
`python -m tests.sandbox.corpus.victim <descriptor>` serves one such line; with `nursery` behind it the process forks a
victim for every pair of descriptors (line, log) that comes, so that each behaviour at L0 has a process to ruin.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from typing import Final

from tests.sandbox.corpus.books import Books, Json
from tests.sandbox.corpus.confined_host import ConfinedHost
from tests.sandbox.corpus.plain_host import PlainHost

PR_SET_PDEATHSIG: Final = 1


class Victim:
    """Serves one line."""

    def __init__(self, line: socket.socket) -> None:
        self._socket = line
        self._host: ConfinedHost | PlainHost
        self._books: Books
        self._secret = ctypes.create_string_buffer(64)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the line ends."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=1 << 20)
        async for text in reader:
            told = json.loads(text)
            if told["do"] == "open":
                self._tell(told, await self._open(told))
            elif isinstance(getattr(self, "_host", None), PlainHost):
                await self._answer(told)
            else:
                task = asyncio.create_task(self._answer(told))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        sys.exit(0)

    async def _open(self, told: Json) -> Json:
        self._books = Books(told)
        self._secret.value = told["memory_secret"].encode()
        key = os.open(told["key"], os.O_RDONLY)
        os.set_inheritable(key, True)
        self._host = ConfinedHost(told, self._books) if told["level"] else PlainHost(told, self._books)
        await self._host.start()
        return {
            "pid": os.getpid(),
            "open_secret": key,
            "secret_address": ctypes.addressof(self._secret),
            "balance_address": ctypes.addressof(self._books.balance),
        }

    async def _answer(self, told: Json) -> None:
        match told["do"]:
            case "decide":
                answer = await self._host.decide(told)
            case "load":
                answer = await self._host.load(told)
            case "books":
                books = self._books
                answer = {"refunds": books.refunds, "asked": books.asked, "balance": books.balance.value}
                books.asked = 0
            case "leave":
                sys.exit(0)
            case _:
                answer = await self._host.other(told)
        self._tell(told, answer)

    def _tell(self, told: Json, answer: Json) -> None:
        self._writer.write(json.dumps({"id": told["id"], **answer}).encode() + b"\n")


def nursery(requests: socket.socket) -> None:
    """Fork a victim for every request; each leads a process group of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, descriptors, _, _ = socket.recv_fds(requests, 64, 2)
        if not text:
            return
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            os.setpgid(0, 0)
            os.dup2(descriptors[1], 2)
            os.close(descriptors[1])
            asyncio.run(Victim(socket.socket(fileno=descriptors[0])).serve())
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(child.to_bytes(4, "big"))


def main() -> None:
    """Serve the descriptor that is named first."""
    line = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2] == "nursery":
        nursery(line)
        return
    asyncio.run(Victim(line).serve())


if __name__ == "__main__":
    main()

"""Sends the acquirer's notices until the merchant acknowledges them with the body `success`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx

from sandbox.simulators.acquirer.book import Book, StoredNotice
from sandbox.simulators.acquirer.signing import NONCE, SIGNATURE, TIMESTAMP, notice_text, sign

BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Waits between the tries of one notice; after the last it is given up."""
ACKNOWLEDGED: Final = b"success"
IN_FLIGHT_MAX: Final = 16


class NoticeSender:
    """One task per open notice, a bounded number of them sending at once. A restart begins with what is still open."""

    def __init__(self, book: Book, now: Callable[[], datetime], *, backoff_s: Sequence[float] = BACKOFF_S) -> None:
        """`now` gives aware moments, for the signatures; waiting is real time."""
        self._book = book
        self._now = now
        self._backoff_s = tuple(backoff_s)
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._newest = 0
        self._client = httpx.AsyncClient(timeout=5.0, trust_env=False)

    def wake(self) -> None:
        """Begin to send what the book holds and nobody sends yet. Notices of one batch start in order."""
        for notice in self._book.open_notices(after=self._newest):
            self._newest = notice.number
            task = asyncio.create_task(self._deliver(notice))
            self._tasks[notice.number] = task
            task.add_done_callback(partial(self._forget, notice.number))

    def _forget(self, number: int, _: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)

    async def aclose(self) -> None:
        """Stop sending; what is open stays in the book."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _deliver(self, notice: StoredNotice) -> None:
        for wait_s in (*self._backoff_s, None):
            if await self._send(notice) or wait_s is None:
                break
            await asyncio.sleep(wait_s)
        self._book.end_notice(notice.number)

    async def _send(self, notice: StoredNotice) -> bool:
        key = self._book.merchants()[notice.merchant_no]
        timestamp, nonce = str(int(self._now().timestamp())), secrets.token_hex(16)
        path = urlsplit(notice.url).path
        text = notice_text(path=path, timestamp=timestamp, nonce=nonce, body=notice.body)
        headers = {
            "content-type": "application/json",
            TIMESTAMP: timestamp,
            NONCE: nonce,
            SIGNATURE: sign(key, text),
        }
        try:
            async with self._slots:
                answer = await self._client.post(notice.url, content=notice.body, headers=headers)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK and answer.content.strip() == ACKNOWLEDGED

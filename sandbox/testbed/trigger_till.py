"""A merchant's app as an ISV would write it: a token, requests that are safe to repeat, lists read to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

Json = dict[str, Any]
PATIENCE_S: Final = 60.0
WAIT_S: Final = (0.2, 5.0)  # the first wait before a repeat where the answer names none, doubled up to the second
PAGE: Final = 100
EARLY_S: Final = 60.0  # a token is renewed so long before its end


class TillRefused(Exception):
    """The platform answered with a problem that repeating does not mend."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', problem)}")
        self.status = status
        self.problem = problem


class PlatformAway(Exception):
    """No answer, or only that it may be repeated, although it was asked again and again."""


@dataclass(slots=True)
class Till:
    """Speaks for one app. A path that begins with `/sandbox/` stands for itself, any other under `/v1`."""

    client: httpx.AsyncClient
    url: str
    client_id: str
    client_secret: str
    patience_s: float = PATIENCE_S
    """How long a request is repeated under its key before it is given up."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _token: str = field(default="", init=False, repr=False)
    _until: float = field(default=0.0, init=False, repr=False)
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def post(self, path: str, body: Json, *, key: str) -> Json:
        """`POST /v1{path}`, sent again under the same key until it is answered. Raises TillRefused, PlatformAway."""
        return await self._ask("POST", path, json=body, key=key)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        """`GET /v1{path}`. Raises TillRefused, PlatformAway."""
        return await self._ask("GET", path, params=params)

    async def listed(self, path: str) -> list[Json]:
        """A whole list, page by page."""
        found: list[Json] = []
        params = {"limit": str(PAGE)}
        while True:
            page = await self.get(path, params)
            found += page["data"]
            if not page.get("next_cursor"):
                return found
            params = {"limit": str(PAGE), "cursor": page["next_cursor"]}

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Json | None = None,
        key: str | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Json:
        gives_up_at, wait_s = time.monotonic() + self.patience_s, WAIT_S[0]
        while True:
            named_s = 0.0
            try:
                headers = {"authorization": f"Bearer {await self.access_token()}"}
                if key is not None:
                    headers["idempotency-key"] = key
                answer = await self.client.request(
                    method, self._address(path), json=json, params=params, headers=headers
                )
            except httpx.TransportError as error:
                reason = type(error).__name__
            else:
                if answer.status_code < 400:
                    return dict(answer.json())
                problem = _problem(answer)
                if not problem.get("retryable", answer.status_code in (429, 503)):
                    raise TillRefused(answer.status_code, problem)
                reason = str(problem.get("code", answer.status_code))
                named_s = float(answer.headers.get("retry-after", 0))
            if time.monotonic() >= gives_up_at:
                raise PlatformAway(f"{method} {self._address(path)}: {reason}")
            await self.sleep(max(named_s, wait_s))
            wait_s = min(2 * wait_s, WAIT_S[1])

    def _address(self, path: str) -> str:
        return f"{self.url}{path}" if path.startswith("/sandbox/") else f"{self.url}/v1{path}"

    async def access_token(self) -> str:
        """A token that is good for a minute at least. Raises TillRefused, and what the HTTP client raises."""
        async with self._renewing:
            if time.monotonic() >= self._until:
                answer = await self.client.post(
                    f"{self.url}/oauth/token",
                    data={"grant_type": "client_credentials"},
                    auth=(self.client_id, self.client_secret),
                )
                if answer.status_code != 200:
                    if answer.status_code in (429, 503):
                        raise httpx.ConnectError(f"no token: {answer.status_code}")
                    raise TillRefused(answer.status_code, _problem(answer))
                said = answer.json()
                self._token = said["access_token"]
                self._until = time.monotonic() + said["expires_in"] - EARLY_S
        return self._token


def _problem(answer: httpx.Response) -> Json:
    try:
        said = answer.json()
    except ValueError:
        return {"detail": answer.text[:200]}
    return said if isinstance(said, dict) else {"detail": str(said)[:200]}

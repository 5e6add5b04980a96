"""The simulated acquirer of a sandbox, as its testbed sees it: the controls that no merchant has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import structlog

log = structlog.get_logger(__name__)

Json = dict[str, Any]
TIMEOUT: Final = httpx.Timeout(5.0)


class AcquirerAway(Exception):
    """The acquirer did not answer, or refused."""


@dataclass(frozen=True, slots=True)
class AcquirerControls:
    """Speaks to one acquirer. A connection of its own for each call: these are few."""

    url: str

    async def follow(self, now: datetime) -> None:
        """Put its clock to business time. One that is away is told again with the next turn; that is logged."""
        try:
            await self.post("/_clock", {"now": now.isoformat()})
        except AcquirerAway as error:
            log.warning("sandbox.acquirer_not_told", error=str(error))

    async def post(self, path: str, body: Json) -> Json:
        """`POST path`. Raises AcquirerAway."""
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> Json:
        """`GET path`. Raises AcquirerAway."""
        return await self._ask("GET", path, None)

    async def _ask(self, method: str, path: str, body: Json | None) -> Json:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
                answer = await client.request(method, f"{self.url}{path}", json=body)
        except httpx.HTTPError as error:
            raise AcquirerAway(f"{self.url}{path}: {type(error).__name__}") from error
        if answer.status_code != httpx.codes.OK:
            raise AcquirerAway(f"{self.url}{path}: {answer.status_code} {answer.text[:200]}")
        return dict(answer.json())

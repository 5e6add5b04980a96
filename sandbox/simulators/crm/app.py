"""The CRM's interface: a bearer token, `Idempotency-Key`, and the answers that such services give when they are busy.

POST /v1/orders, /v1/refunds   201 the first time, 200 on a repeat, 409 for the same key with another body
GET  /v1/account               who the token belongs to
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.simulators.serving import Script, body_of, lost, running

FAULTS: Final = frozenset({"busy", "unavailable", "lost_after", "lost_before", "refused", "garbage"})


@dataclass(slots=True)
class Crm:
    """What one CRM knows."""

    token: str = field(repr=False)
    account: str = "acc_1"
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # Any: JSON as it came
    script: Script = field(default_factory=lambda: Script(FAULTS))

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("/v1/orders", self._keep, methods=["POST"]),
            Route("/v1/refunds", self._keep, methods=["POST"]),
            Route("/v1/account", self._account, methods=["GET"]),
        ]

    async def _account(self, request: Request) -> Response:
        if not self._is_known(request):
            return JSONResponse({"error": "bad_token"}, status_code=401)
        return JSONResponse({"account": self.account})

    async def _keep(self, request: Request) -> Response:
        operation, raw = request.url.path.rpartition("/")[2], await body_of(request)
        fault = self.script.take(operation)
        if fault == "lost_before":
            return await lost(request)
        answer = self._refusal(request, raw, fault) or self._kept(operation, request.headers["idempotency-key"], raw)
        return await lost(request) if fault == "lost_after" else answer

    def _refusal(self, request: Request, raw: bytes | None, fault: str | None) -> Response | None:
        if not self._is_known(request):
            return JSONResponse({"error": "bad_token"}, status_code=401)
        if fault == "busy":
            return JSONResponse({"error": "busy"}, status_code=429, headers={"retry-after": "17"})
        if fault == "unavailable":
            return Response("<html>down for maintenance</html>", status_code=503)
        if fault == "garbage":
            return Response(b"\x00\xff", status_code=502)
        if fault == "refused" or raw is None or not request.headers.get("idempotency-key"):
            return JSONResponse({"error": "invalid"}, status_code=422)
        return None

    def _kept(self, operation: str, key: str, raw: bytes | None) -> Response:
        told = {"kind": operation, **json.loads(raw or b"{}")}
        before = self.entries.setdefault(key, told)
        if before is not told:
            is_same = before == told
            return JSONResponse({"kept": is_same}, status_code=200 if is_same else 409)
        return JSONResponse({"kept": True}, status_code=201)

    def _is_known(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.token}"


@contextmanager
def running_crm(crm: Crm) -> Iterator[str]:
    """Run it beside a test; gives its URL."""
    with running(crm.routes(), script=crm.script, book=lambda: crm.entries) as url:
        yield url

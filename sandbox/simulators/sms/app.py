"""The gateway's interface.

    POST /v1/texts {"key", "to", "sign", "text"}   accepts a text once for each key, for 24 hours
    GET  /v1/texts/<key>                           what became of it; 404 for a key it never saw

Requests carry `x-sms-app`, `x-sms-time` (Unix seconds, within 300 s) and `x-sms-signature`, the hexadecimal HMAC-SHA256
of method, path and time, each followed by a line feed, and the body. Answers carry `x-sms-signature` over `answer`, the
request's signature and the status, each followed by a line feed, and the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.simulators.serving import Script, body_of, is_mac, lost, mac, running

WINDOW_S: Final = 300
TEXT_MAX: Final = 500
FAULTS: Final = frozenset(
    {"busy", "lost_after", "lost_before", "broken_body", "unsigned", "blacklisted", "balance", "server_error"}
)
_REFUSALS: Final = {"busy": (429, "BUSY"), "blacklisted": (422, "BLACKLISTED"), "balance": (402, "BALANCE")}


def system_time() -> datetime:
    """The operating system's time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class SmsGateway:
    """One gateway with one customer."""

    app: str
    key: bytes = field(repr=False)
    clock: Callable[[], datetime] = system_time
    texts: dict[str, dict[str, Any]] = field(default_factory=dict)  # Any: JSON
    script: Script = field(default_factory=lambda: Script(FAULTS))

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("/v1/texts", self._send, methods=["POST"]),
            Route("/v1/texts/{key}", self._look, methods=["GET"]),
        ]

    async def _send(self, request: Request) -> Response:
        raw, fault = await body_of(request), self.script.take("send")
        if fault == "lost_before":
            return await lost(request)
        refusal = self._refusal(request, raw)
        if refusal is not None:
            return self._answer(request, refusal[0], {"code": refusal[1]})
        if fault == "server_error":
            return Response("oops", status_code=500)
        if fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            return self._answer(request, status, {"code": code})
        status, said = self._accepted(json.loads(raw or b""))
        if fault == "lost_after":
            return await lost(request)
        return self._answer(request, status, said, fault=fault)

    async def _look(self, request: Request) -> Response:
        fault = self.script.take("look")
        if fault == "lost_before":
            return await lost(request)
        refusal = self._refusal(request, b"")
        if refusal is not None:
            return self._answer(request, refusal[0], {"code": refusal[1]})
        found = self.texts.get(request.path_params["key"])
        if found is None:
            return self._answer(request, 404, {"code": "NOT_FOUND"}, fault=fault)
        return self._answer(request, 200, {"id": found["id"], "state": found["state"]}, fault=fault)

    def _refusal(self, request: Request, raw: bytes | None) -> tuple[int, str] | None:
        heads = request.headers
        time = heads.get("x-sms-time", "")
        if raw is None:
            return 413, "TOO_LARGE"
        text = f"{request.method}\n{request.url.path}\n{time}\n".encode() + raw
        if heads.get("x-sms-app") != self.app or not is_mac(self.key, text, heads.get("x-sms-signature", "")):
            return 401, "SIGNATURE"
        if not time.isdigit() or abs(int(time) - self.clock().timestamp()) > WINDOW_S:
            return 401, "TIME"
        return None

    def _accepted(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # Any: JSON
        if not re.fullmatch(r"\+[0-9]{8,15}", told["to"]) or not told["text"] or len(told["text"]) > TEXT_MAX:
            return 422, {"code": "INVALID"}
        new = {"id": f"sms-{len(self.texts) + 1}", "state": "sent", **told}
        kept = self.texts.setdefault(told["key"], new)
        if any(kept[name] != told[name] for name in ("to", "text", "sign")):
            return 409, {"code": "KEY_REUSED"}
        return 200, {"id": kept["id"], "state": kept["state"]}

    def _answer(self, request: Request, status: int, said: dict[str, Any], *, fault: str | None = None) -> Response:
        body = json.dumps(said).encode() if fault != "broken_body" else b'{"id": "sms'
        signed = f"answer\n{request.headers.get('x-sms-signature', '')}\n{status}\n".encode() + body
        heads = {"content-type": "application/json"}
        if fault != "unsigned":
            heads["x-sms-signature"] = mac(self.key, signed)
        return Response(body, status_code=status, headers=heads)


@contextmanager
def running_gateway(gateway: SmsGateway) -> Iterator[str]:
    """Run it beside a test; gives its URL."""
    with running(gateway.routes(), script=gateway.script, book=lambda: gateway.texts) as url:
        yield url

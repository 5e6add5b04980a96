"""The demo's own receiver of webhooks: a real HTTP server that believes a message only by its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from platform_core.kernel.http.webhook_signing import secret_bytes

TOLERANCE_S: Final = 300  # how far a message's time may lie from ours
START_WITHIN_S: Final = 10.0


@dataclass(slots=True)
class Inbox:
    """What came. `received` counts verified messages by id, `refused` those whose signature is wrong."""

    url: str
    secret: bytes = b""
    received: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def know(self, secret_text: str) -> None:
        """The endpoint's secret, as its creation showed it."""
        self.secret = secret_bytes(secret_text)

    async def take(self, request: Request) -> Response:
        """Verify, note the id, acknowledge; a message that cannot be verified is refused."""
        body = await request.body()
        if not self._is_genuine(request.headers, body):
            self.refused += 1
            return Response(status_code=401)
        id_ = request.headers["webhook-id"]
        if not self.received[id_]:
            self.types[str(json.loads(body)["type"])] += 1
        self.received[id_] += 1
        return Response(status_code=204)

    def _is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        id_, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not self.secret or not moment.isdecimal() or abs(time.time() - int(moment)) > TOLERANCE_S:
            return False
        content = b".".join((id_.encode(), moment.encode(), body))
        wanted = "v1," + base64.b64encode(hmac.digest(self.secret, content, hashlib.sha256)).decode()
        given = headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(wanted, signature) for signature in given)


@contextmanager
def receiving() -> Iterator[Inbox]:
    """A receiver on a free loopback port, on a thread of its own, inside the block."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    inbox = Inbox(f"http://127.0.0.1:{listener.getsockname()[1]}/webhooks")
    app = Starlette(routes=[Route("/webhooks", inbox.take, methods=["POST"])])
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="demo-receiver", daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.should_exit = True
        thread.join(START_WITHIN_S)
        listener.close()

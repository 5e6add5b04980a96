"""An ISV's own server, a process of its own: verifies each request as Standard Webhooks wants it, and judges payments.

`python -m tests.support.isv_server`: prints its port. POST /control sets secrets and behaviour, GET /journal tells what
it saw; everything else is the platform's.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

HUGE = 65 * 1024


class State:
    """What the test told the server, and what the server saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.secrets: list[str] = []
        self.mode = "honest"
        self.asks: list[dict[str, Any]] = []
        self.seen: set[str] = set()
        self.journal: list[dict[str, Any]] = []


STATE = State()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """The journal."""
        with STATE.lock:
            self.answer(200, STATE.journal)

    def do_POST(self) -> None:
        """The test's control, or a call of the platform."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/control":
            told = json.loads(body)
            with STATE.lock:
                for name, value in told.items():
                    setattr(STATE, name, value)
            self.answer(200, {})
            return
        status, answer = self.called(body)
        self.answer(status, answer)

    def called(self, body: bytes) -> tuple[int, Any]:
        """Verify, refuse what came before, judge."""
        entry: dict[str, Any] = {"id": self.headers["webhook-id"], "headers": dict(self.headers), "raw": body.decode()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        verified = [secret for secret in STATE.secrets if is_signed(secret, body, headers)]
        with STATE.lock:
            entry["verified_by"] = len(verified)
            entry["is_replay"] = entry["id"] in STATE.seen
            STATE.seen.add(entry["id"])
            STATE.journal.append(entry)
        if not verified:
            return 401, {"error": "signature"}
        if entry["is_replay"]:
            return 409, {"error": "replay"}
        call = json.loads(body)
        entry["told"] = [asked(call, one) for one in STATE.asks]
        return self.behaved(call["call"])

    def behaved(self, call: dict[str, Any]) -> tuple[int, Any]:
        """As the mode says."""
        mode = STATE.mode
        if mode == "slow":
            time.sleep(3)
        if mode == "redirect":
            return 307, {}
        if mode == "error":
            return 500, {}
        answer = {"t": "result", "id": call["id"], "value": judged(call["args"])}
        if mode == "huge":
            answer["value"]["reasons"] = [{"rule_id": "x", "text": "y" * HUGE}]
        if mode == "lying":
            answer["id"] = "f" * 32
        if mode == "garbage":
            answer = {"t": "result", "id": call["id"], "value": {"decision": "perhaps"}}
        return 200, answer

    def answer(self, status: int, document: Any) -> None:
        """JSON."""
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        if status == 307:
            self.send_header("location", f"http://127.0.0.1:{self.server.server_address[1]}/journal")
        self.end_headers()
        self.wfile.write(raw)


def is_signed(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    """Whether one of the signatures is by this secret."""
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def judged(payment: dict[str, Any]) -> dict[str, Any]:
    """Deny above 1,000.00."""
    if payment["amount"]["amount_minor"] > 100_000:
        return {"decision": "deny", "score": 90, "reasons": [{"rule_id": "isv.too_much", "text": "Too much for us."}]}
    return {"decision": "allow"}


def asked(call: dict[str, Any], ask: dict[str, Any]) -> dict[str, Any]:
    """One ask under the call's token."""
    headers = {"authorization": f"Bearer {call['call']['handle']}"}
    answer = httpx.post(call["ask_url"], json=ask, headers=headers, timeout=20, trust_env=False)
    return {"status": answer.status_code, "body": answer.json()}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()

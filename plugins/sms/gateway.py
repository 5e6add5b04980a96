"""Signed HTTPS to the gateway. What is returned has a verified signature; all else is one of two exceptions.

The gateway's interface, read 2026-11-22: requests carry the hexadecimal HMAC-SHA256 of method, path and time, each with
a line feed, and the body; answers that of `answer`, the request's signature and the status, and the body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from platform_core.contracts.messages import MessageCall
from platform_core.contracts.plugin import Refused

BASE: Final = "https://sms.arsenal.example"
_KEY: Final = "gateway_key"


class NotSent(Exception):
    """No byte of the request has left."""


class AnswerLost(Exception):
    """The request may have arrived, and there is no answer that can be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the gateway said, signature checked."""

    status: int
    told: Mapping[str, Any]  # Any: JSON

    def text(self, name: str) -> str:
        """A field as text, empty when it is none."""
        found = self.told.get(name)
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway during one call."""

    call: MessageCall

    def send(self, text: Mapping[str, Any]) -> Answer:  # Any: JSON
        """Hand over a text. Raises NotSent and AnswerLost."""
        return self._ask("POST", "/v1/texts", json.dumps(text, ensure_ascii=False, separators=(",", ":")).encode())

    def look(self, key: str) -> Answer:
        """What became of the text under a key. Raises NotSent and AnswerLost."""
        return self._ask("GET", f"/v1/texts/{quote(key, safe='')}", b"")

    def _ask(self, method: str, path: str, body: bytes) -> Answer:
        secrets, time = self.call.ctx.secrets, str(int(self.call.now.timestamp()))
        signature = secrets.mac(_KEY, f"{method}\n{path}\n{time}\n".encode() + body).hex()
        headers = {
            "content-type": "application/json",
            "x-sms-app": str(self.call.settings.get("app", "")),
            "x-sms-time": time,
            "x-sms-signature": signature,
        }
        try:
            answer = self.call.ctx.egress.fetch(method, f"{BASE}{path}", headers=headers, body=body or None)
        except Refused as refused:
            if refused.code == "plugin.egress_not_sent":
                raise NotSent(refused.hint) from refused
            if refused.code in {"plugin.egress_unknown", "plugin.egress_too_large"}:
                raise AnswerLost(refused.hint) from refused
            raise
        signed = f"answer\n{signature}\n{answer.status}\n".encode() + answer.body
        if not secrets.verify(_KEY, signed, _bytes(answer.headers.get("x-sms-signature", ""))):
            raise AnswerLost(f"The gateway's answer {answer.status} has no valid signature.")
        try:
            told = answer.json()
        except ValueError as error:
            raise AnswerLost("The gateway's answer is no JSON.") from error
        return Answer(status=answer.status, told=told if isinstance(told, dict) else {})


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""

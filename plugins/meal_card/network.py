"""Signed HTTPS to the network. What is returned has a verified signature; all else is one of two exceptions.

The network's interface, read 2026-11-22: the hexadecimal HMAC-SHA256 of path and time, each with a line feed, and the
body; answers that of `answer`, the request's signature and the status, and the body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from platform_core.contracts.payments import ProviderCall
from platform_core.contracts.plugin import Refused

BASE: Final = "https://mealcards.arsenal.example/v1"


class NotSent(Exception):
    """No byte of the request has left."""


class AnswerLost(Exception):
    """The request may have arrived, and there is no answer that can be believed."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: answer_lost, answer_unsigned or answer_unreadable."""
        super().__init__(message)
        self.code = code


class Answer(BaseModel):
    """What the network says about one key. Fields it adds later are tolerated."""

    model_config = ConfigDict(frozen=True)

    key: str
    state: Literal["DONE", "PENDING", "UNSURE", "REFUSED", "UNSEEN"]
    code: str
    amount_minor: Annotated[int, Field(strict=True, ge=0)] | None = None
    currency: str | None = None
    reference: str | None = None
    occurred_at: AwareDatetime | None = None


def ask(call: ProviderCall, operation: str, told: Mapping[str, Any]) -> Answer:  # Any: JSON
    """The network's verified answer about the key in `told`. Raises NotSent and AnswerLost."""
    secrets, name = call.ctx.secrets, call.channel_account.secret_names["shop_key"]
    body = json.dumps(told, separators=(",", ":")).encode()
    time = str(int(call.now.timestamp()))
    signature = secrets.mac(name, f"/v1/{operation}\n{time}\n".encode() + body).hex()
    headers = {
        "content-type": "application/json",
        "x-mealcard-shop": str(call.channel_account.settings.get("shop_no", "")),
        "x-mealcard-time": time,
        "x-mealcard-signature": signature,
    }
    try:
        answer = call.ctx.egress.fetch("POST", f"{BASE}/{operation}", headers=headers, body=body)
    except Refused as refused:
        if refused.code == "plugin.egress_not_sent":
            raise NotSent(refused.hint) from refused
        if refused.code in {"plugin.egress_unknown", "plugin.egress_too_large"}:
            raise AnswerLost("answer_lost", refused.hint) from refused
        raise
    signed = f"answer\n{signature}\n{answer.status}\n".encode() + answer.body
    if not secrets.verify(name, signed, _bytes(answer.headers.get("x-mealcard-signature", ""))):
        raise AnswerLost("answer_unsigned", f"The network's answer {answer.status} has no valid signature.")
    return _read(answer.body, key=str(told["key"]), currency=call.currency)


def _read(raw: bytes, *, key: str, currency: str) -> Answer:
    try:
        answer = Answer.model_validate_json(raw)
    except ValidationError:
        raise AnswerLost("answer_unreadable", "The network's answer is not of its protocol.") from None
    is_refusal = answer.state == "REFUSED" and answer.key == ""
    if not is_refusal and (answer.key != key or answer.currency not in {None, currency}):
        raise AnswerLost("answer_unreadable", "The network answered about another key or currency.")
    return answer


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""

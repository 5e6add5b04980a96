"""The channel `sms`: a text is accepted, refused, or nobody knows yet."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.messages import (
    NOT_FOUND,
    ChannelDescription,
    MessageCall,
    MessageChannel,
    MessageResult,
)

from .gateway import Answer, AnswerLost, Gateway, NotSent

_DESCRIPTION: Final = ChannelDescription(id="sms", medium="sms", body_bytes_max=1_500, sends_again_after_s=86_400)
_REFUSALS: Final[Mapping[str, tuple[str, bool]]] = MappingProxyType(
    {
        "BUSY": ("The gateway is busy.", True),
        "BALANCE": ("The account at the gateway is empty.", True),
        "BLACKLISTED": ("The recipient refuses texts.", False),
        "INVALID": ("The gateway does not take this number or text.", False),
        "SIGNATURE": ("The gateway does not take the signature; check key and application.", True),
        "TIME": ("The gateway finds the request too old.", True),
        "TOO_LARGE": ("The text is too long.", False),
    }
)
"""The gateway's codes that mean: not sent, and never will be under this key; whether a later text may succeed."""
_ACCEPTED: Final = frozenset({"sent", "delivered"})


class SmsChannel:
    """One object for all merchants; application and name of the sender ride in the call's settings."""

    __slots__ = ()

    def describe(self) -> ChannelDescription:
        """Texts of up to 1,500 bytes; the gateway keeps a key for 24 hours."""
        return _DESCRIPTION

    async def send(self, call: MessageCall) -> MessageResult:
        """Hand the text over, once for each key."""
        text = {
            "key": call.idempotency_key,
            "to": call.recipient,
            "sign": str(call.settings.get("sign", "")),
            "text": call.body,
        }
        try:
            answer = Gateway(call).send(text)
        except NotSent as error:
            return MessageResult.failed("not_sent", str(error), is_repeatable=True)
        except AnswerLost as error:
            return MessageResult.unknown("answer_lost", str(error))
        return _sent(answer)

    async def query(self, call: MessageCall) -> MessageResult:
        """The gateway's word on a key. What it never saw may still be on its way: unknown, `not_found`."""
        try:
            answer = Gateway(call).look(call.idempotency_key)
        except (NotSent, AnswerLost) as error:
            return MessageResult.unknown("answer_lost", str(error))
        if answer.status == 404 and answer.text("code") == "NOT_FOUND":
            return MessageResult.unknown(NOT_FOUND, "The gateway never saw this message.")
        if answer.status == 200 and answer.text("state") == "undelivered":
            return MessageResult.failed("undelivered", "The text did not reach the phone.", is_repeatable=True)
        return _accepted(answer)


def _sent(answer: Answer) -> MessageResult:
    code = answer.text("code")
    if answer.status in {200, 202}:
        return _accepted(answer)
    if code in _REFUSALS and 400 <= answer.status < 500:
        message, is_repeatable = _REFUSALS[code]
        return MessageResult.failed(code.lower(), message, is_repeatable=is_repeatable)
    return MessageResult.unknown(code.lower() or "unreadable", f"The gateway answered {answer.status}.")


def _accepted(answer: Answer) -> MessageResult:
    reference = answer.text("id")
    if answer.status != 200 or not reference or answer.text("state") not in _ACCEPTED:
        return MessageResult.unknown("unreadable", f"The gateway answered {answer.status} without a known state.")
    return MessageResult.accepted(reference)


@hookimpl
def register_channel() -> MessageChannel:
    """Hand over the channel `sms`."""
    return SmsChannel()

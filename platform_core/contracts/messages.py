"""Message channels: what sends a text to a customer, and what it may answer.

Consent, quiet hours and frequency are decided before a channel is asked (membership.md); a channel only delivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from platform_core.contracts.hooks import hook

if TYPE_CHECKING:
    from platform_core.contracts.plugin import HookContext

Medium = Literal["sms", "email", "wallet", "push"]
NOT_FOUND: Final = "not_found"
"""Code of an unknown delivery: the channel never saw the message, though a late request may still reach it."""


class Delivery(StrEnum):
    """A channel's word on one message."""

    ACCEPTED = "accepted"
    """The channel has it and will deliver, or has delivered."""
    FAILED = "failed"
    """It was not sent and never will be under this key."""
    UNKNOWN = "unknown"
    """Nobody can say yet; asked again by `query` with the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDescription:
    """What a channel is. It does not change while the plugin is loaded."""

    id: str
    medium: Medium
    body_bytes_max: int
    """Of the text in UTF-8; longer texts are refused before the channel is asked."""
    sends_again_after_s: int = 0
    """How long the channel keeps a key: a repeat within it sends nothing twice. 0: it keeps none; `query` decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCall:
    """One message to deliver, or to ask about."""

    idempotency_key: str
    """The message's id, the same on every repeat."""
    message_id: str
    recipient: str = field(repr=False)
    """A phone number (E.164), an address, or the wallet's user id, by the medium."""
    body: str = field(repr=False)
    locale: str
    deadline_s: float
    now: datetime
    ctx: HookContext = field(repr=False, compare=False)
    subject: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the merchant's contract with the channel, by the plugin's configuration schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageResult:
    """A channel's answer. Make it with `accepted`, `failed` or `unknown`."""

    delivery: Delivery
    channel_reference: str | None = None
    code: str = ""
    message: str = ""
    is_repeatable: bool = False
    """For `failed`: whether a later message to the same recipient may succeed."""

    def __post_init__(self) -> None:
        """Raise ValueError for an answer that says too little."""
        if self.delivery is not Delivery.ACCEPTED and not self.code:
            raise ValueError(f"a delivery {self.delivery} names its code")

    @classmethod
    def accepted(cls, channel_reference: str) -> MessageResult:
        """The channel has it."""
        return cls(delivery=Delivery.ACCEPTED, channel_reference=channel_reference)

    @classmethod
    def failed(cls, code: str, message: str, *, is_repeatable: bool = False) -> MessageResult:
        """It will not be sent."""
        return cls(delivery=Delivery.FAILED, code=code, message=message, is_repeatable=is_repeatable)

    @classmethod
    def unknown(cls, code: str, message: str) -> MessageResult:
        """Nobody can say."""
        return cls(delivery=Delivery.UNKNOWN, code=code, message=message)


@runtime_checkable
class MessageChannel(Protocol):
    """Delivers messages. `send` and `query` are async, return within `deadline_s`; an exception counts as unknown."""

    def describe(self) -> ChannelDescription:
        """What this channel is."""
        ...

    async def send(self, call: MessageCall) -> MessageResult:
        """Deliver once per `idempotency_key`."""
        ...

    async def query(self, call: MessageCall) -> MessageResult:
        """The channel's word on the message `idempotency_key`. Sends nothing. Never seen: unknown, `not_found`."""
        ...


@hook("register", version=1, since="1.0")
def register_channel() -> MessageChannel:
    """Hand over a message channel. Called once, when the plugin is loaded; the object serves all merchants.

    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.messages import ChannelDescription, MessageResult
    >>> class Pager:
    ...     def describe(self):
    ...         return ChannelDescription(id="pager", medium="sms", body_bytes_max=160)
    ...
    ...     async def send(self, call):
    ...         answer = call.ctx.egress.fetch("POST", "https://pager.example/send", body={"to": call.recipient})
    ...         if answer.status == 200:
    ...             return MessageResult.accepted(answer.json()["id"])
    ...         return MessageResult.unknown("http", f"The pager answered {answer.status}.")
    ...
    ...     async def query(self, call):
    ...         return MessageResult.unknown("not_found", "The pager keeps no book.")
    >>> @hookimpl
    ... def register_channel():
    ...     return Pager()
    >>> register_channel().describe().medium
    'sms'
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")

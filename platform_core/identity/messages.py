"""Messages to people (recovery links, invitations): sealed rows in the plan of the act, carried by a channel later.

The link itself never goes through the API. The embedded default channel is the operator's command line
(`arsenal staff messages`); a mail or message service is another object of the same Protocol.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal, Protocol

from platform_core.identity import repository_people as repository
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.models_people import PERSON_MESSAGES
from platform_core.kernel.commit import Change, Insert, Plan, PlanRefused
from platform_core.kernel.i18n import Language

MessageKind = Literal["recovery", "invitation"]
BATCH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person is told. `link` is a secret: whoever holds it may use it."""

    kind: MessageKind
    to: str  # e-mail address
    link: str
    language: Language
    party_name: str = ""

    def __repr__(self) -> str:
        return f"Message({self.kind})"


class MessageChannel(Protocol):
    """Carries messages out of the house."""

    async def send(self, message: Message, *, message_id: str) -> None:
        """Carry one message; the same id again is the same message. Raises whatever went wrong: it stays to be sent."""
        ...


class Messages:
    """Writes messages into plans and hands them to a channel."""

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._reads = single_reads(deps.database)

    def part(self, message: Message, *, merchant_id: str | None = None, is_addressed: bool = True) -> Insert:
        """The part that leaves a message; `merchant_id` is the plan's own.

        One that is addressed to nobody is written too, and never sent.
        """
        message_id = self._deps.ids.mint("msg")
        row = {
            "id": message_id,
            "merchant_id": merchant_id,
            "kind": message.kind,
            "is_addressed": is_addressed,
            "sealed": self._deps.vault.seal(message_id, json.dumps(asdict(message)).encode()),
            "version": 1,
            "created_at": self._deps.clock.now(),
            "sent_at": None,
        }
        return Insert(PERSON_MESSAGES, row)

    async def deliver(self, channel: MessageChannel) -> int:
        """Hand what waits to the channel, the oldest first, at least once each; returns how many. At most a batch."""
        async with self._reads.connect() as connection:
            rows = await repository.list_waiting_messages(connection, limit=BATCH)
        sent = 0
        for row in rows:
            message = Message(**json.loads(self._deps.vault.open(row.id, row.sealed)))
            await channel.send(message, message_id=row.id)
            now = self._deps.clock.now()
            done = Change(PERSON_MESSAGES, row.id, {"sent_at": now, "sealed": b""}, expected=row.version)
            try:
                await self._deps.committer.commit(Plan(row.merchant_id).add(done))
            except PlanRefused:
                continue  # another process sent it in the same moment
            sent += 1
        return sent

"""Key sets that clients publish: fetched when needed, kept ten minutes, asked again at most once a minute.

Addresses are strangers': they are called by the guarded client, which connects to public addresses alone, follows no
redirect and reads a bounded answer (RFC 7517 section 5; OpenID Connect Core 1.0 section 10.1.1 for the rotation).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import structlog

from platform_core.identity.oauth.public_keys import CLIENT_KINDS, KeyRefused, PublicKey, import_public_jwk
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.guarded_client import GuardedClient, OutboundFailed
from platform_core.kernel.http.strict_json import strict_json

BYTES_MAX: Final = 64 * 1024
KEPT_S: Final = 600.0
REFETCH_S: Final = 60.0
"""How soon an unknown `kid`, or a set that could not be had, is worth another look."""
ENTRIES_MAX: Final = 1_000
KEYS_MAX: Final = 5
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    keys: tuple[PublicKey, ...] = ()
    asked_at: float = float("-inf")
    had_at: float = float("-inf")
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """The sets that one process has fetched."""

    def __init__(self, client: GuardedClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def keys(self, uri: str, *, kid: str | None = None) -> tuple[PublicKey, ...]:
        """The first five fit keys of the set; none while it cannot be had. `kid`: a name that the caller looks for.

        However many ask at once, the address is called once.
        """
        entry = self._entries.get(uri)
        if entry is None:
            entry = self._entries[uri] = _Entry()
            if len(self._entries) > ENTRIES_MAX:
                self._entries.popitem(last=False)
        self._entries.move_to_end(uri)
        if self._is_worth_asking(entry, kid):
            async with entry.asking:
                if self._is_worth_asking(entry, kid):
                    try:
                        await self._ask(uri, entry)
                    finally:  # noted last: until then the others wait for the answer
                        entry.asked_at = self._clock.monotonic()
        return entry.keys if self._clock.monotonic() - entry.had_at < KEPT_S else ()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _is_worth_asking(self, entry: _Entry, kid: str | None) -> bool:
        now = self._clock.monotonic()
        if now - entry.asked_at < REFETCH_S:
            return False
        if now - entry.had_at >= KEPT_S:
            return True
        return kid is not None and all(kid not in (key.kid, key.thumbprint) for key in entry.keys)

    async def _ask(self, uri: str, entry: _Entry) -> None:
        try:
            answer = await self._client.send(
                "GET", uri, headers={"accept": "application/json"}, body_bytes_max=BYTES_MAX + 1
            )
        except OutboundFailed as error:
            log.info("identity.key_set_not_fetched", uri=uri, kind=error.kind)
            return
        if answer.status != 200 or len(answer.body) > BYTES_MAX:
            log.info("identity.key_set_not_fetched", uri=uri, status=answer.status, bytes=len(answer.body))
            return
        keys = _read(answer.body)
        if keys is None:
            log.info("identity.key_set_not_read", uri=uri)
            return
        entry.keys, entry.had_at = keys, self._clock.monotonic()


def _read(body: bytes) -> tuple[PublicKey, ...] | None:
    """The keys that we can use; None for what is no key set. Keys for other uses may stand beside them."""
    try:
        document = strict_json(body)
    except PlatformError:
        return None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return None
    keys: list[PublicKey] = []
    for jwk in listed:
        try:
            keys.append(import_public_jwk(jwk, kinds=CLIENT_KINDS))
        except KeyRefused:
            continue
        if len(keys) == KEYS_MAX:
            break
    return tuple(keys)

"""Nonces that the server hands out and stores nowhere (RFC 9449 sections 8 and 9).

A nonce is good for the 150 seconds it was made in and for the 150 after them, in every process: it is an HMAC of that
span and of the birth of the table of claims. After a crash of the database that table is born anew, and with it every
older nonce is void, so that no proof can be used again whose claim was lost.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from typing import Final

from platform_core.identity import base64url
from platform_core.identity.vault import Vault

SPAN_S: Final = 150
_FORM: Final = re.compile(r"([0-9a-f]{1,12})\.([A-Za-z0-9_-]{22})", re.ASCII)
_ROW: Final = "dpop_nonce"


class Nonces:
    """One per process. `birth` is the table's as far as this process knows; it learns of a later one by `learn`."""

    __slots__ = ("_made", "_vault", "birth")

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.birth = 0
        self._made: tuple[int, int, str] = (-1, -1, "")

    def current(self, now: datetime) -> str:
        """The nonce to use from now on. `now` is aware."""
        span = int(now.timestamp()) // SPAN_S
        if self._made[:2] != (span, self.birth):
            self._made = (span, self.birth, self._make(span, self.birth))
        return self._made[2]

    def is_good(self, nonce: str, now: datetime) -> bool:
        """Whether one of our processes made it lately, and no crash came after.

        A good nonce of a later birth than this process knew of teaches it.
        """
        match = _FORM.fullmatch(nonce)
        if match is None:
            return False
        birth, span = int(match[1], 16), int(now.timestamp()) // SPAN_S
        if birth < self.birth:
            return False
        good = [hmac.compare_digest(self._make(span - back, birth), nonce) for back in (0, 1)]
        if not any(good):
            return False
        self.birth = birth
        return True

    def learn(self, birth: int) -> None:
        """The table was born anew: nonces made before are void."""
        self.birth = max(self.birth, birth)

    def _make(self, span: int, birth: int) -> str:
        mac = self._vault.digest(_ROW, f"{birth}.{span}")
        return f"{birth:x}.{base64url.encode(mac[:16])}"

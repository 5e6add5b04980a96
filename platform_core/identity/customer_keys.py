"""By which keys customers are known to a merchant: a telephone number, an account at a channel.

A key is kept as a hash under a key of the installation, bound to merchant and kind: the same number gives another hash
and another id at each merchant, so that two merchants, or two of an app's, cannot be compared. The text itself is in no
row, event or log.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_customers import CUSTOMER_KEYS
from platform_core.kernel.commit import Duplicate, Insert, Refusal

LENGTH_MAX: Final = 256
_KIND: Final = re.compile(r"[a-z][a-z_]{0,39}", re.ASCII)
_keys = CUSTOMER_KEYS.table


@dataclass(frozen=True, slots=True)
class KnownCustomer:
    """A customer's id at one merchant. `parts` belong into the caller's plan; none where the key was known."""

    id: str
    parts: Sequence[object] = ()


class CustomerKeys:
    """Finds customers of a merchant by key. Writes nothing itself."""

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._pepper = deps.vault.seed(b"customer keys")

    async def find(self, merchant_id: str, *, kind: str, value: str) -> str | None:
        """The id behind a key, if the merchant knows it. ValueError as for `find_or_add`."""
        digest = self._digest(merchant_id, kind, value)
        query = select(_keys.c.id).where(
            _keys.c.merchant_id == merchant_id, _keys.c.kind == kind, _keys.c.digest == digest
        )
        async with self._deps.database.read(merchant_id) as connection:
            found: str | None = (await connection.execute(query)).scalar_one_or_none()
        return found

    async def find_or_add(self, merchant_id: str, *, kind: str, value: str) -> KnownCustomer:
        """The id behind a key, a new one with the part that writes it where there was none.

        `value` is compared as it stands: bring it into one form before, such as E.164 for telephone numbers. When the
        plan is refused and `was_faster` says so, somebody else wrote the key meanwhile: ask again. ValueError for what
        is no kind, and for an empty or too long value.
        """
        known = await self.find(merchant_id, kind=kind, value=value)
        if known is not None:
            return KnownCustomer(known)
        customer_id = self._deps.ids.mint("cus")
        row = {
            "id": customer_id,
            "merchant_id": merchant_id,
            "kind": kind,
            "digest": self._digest(merchant_id, kind, value),
            "created_at": self._deps.clock.now(),
        }
        return KnownCustomer(customer_id, (Insert(CUSTOMER_KEYS, row),))

    def _digest(self, merchant_id: str, kind: str, value: str) -> bytes:
        if _KIND.fullmatch(kind) is None:
            raise ValueError("a kind of key is a lower-case word of at most 40 characters")
        if not 0 < len(value) <= LENGTH_MAX:
            raise ValueError(f"a customer's key has 1 to {LENGTH_MAX} characters")
        return hmac.digest(self._pepper, f"{merchant_id}\x1f{kind}\x1f{value}".encode(), "sha256")


def was_faster(refusal: Refusal) -> bool:
    """Whether a plan was refused because another one brought the same key first; its id is `existing_id`."""
    return isinstance(refusal, Duplicate) and refusal.table == CUSTOMER_KEYS.name

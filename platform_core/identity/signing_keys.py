"""Keys that sign access tokens: ES256, `kid` = RFC 7638 thumbprint. Published: current, next, and retired for 24 hours.

Rotation is a plan: next becomes current, and a new next is made. The next key has been published long before it signs,
so a token is never met by a process that does not know its key.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc.jwk import ECKey, KeySet
from sqlalchemy import Row

from platform_core.identity import repository
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE
from platform_core.identity.models import SIGNING_KEYS
from platform_core.identity.revocation import RevocationFeed, news
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM

ALGORITHM: Final = "ES256"
OVERLAP: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Published:
    key: ECKey
    retired_at: datetime | None


class SigningKeys:
    """This process's keys: signs with the current one, knows all that are published, makes and rotates them."""

    def __init__(self, deps: IdentityDeps) -> None:
        self._deps = deps
        self._signing: KeySet | None = None
        self._published: dict[str, _Published] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def start(self, feed: RevocationFeed) -> None:
        """Load the keys, making the first two on a new installation, and follow the feed."""
        feed.listen("keys", self._heard)  # first, so that no rotation falls between reading and listening
        await self.load()
        if self._signing is None:
            await self._make_first()
            await self.load()

    async def load(self) -> None:
        """Read the keys anew."""
        began = self._deps.clock.monotonic()
        async with self._deps.database.read_auth() as connection:
            rows = await repository.read_signing_keys(connection)
        published: dict[str, _Published] = {}
        for row in rows:
            published[row.id] = _Published(ECKey.import_key(json.loads(row.public_jwk)), row.retired_at)
            if row.state == "current":
                private = json.loads(self._deps.vault.open(row.id, row.sealed))
                self._signing = KeySet([ECKey.import_key(private)])
        self._published = published
        self._read_at = began

    async def read_within(self, seconds: float) -> None:
        """Read the keys anew unless that was done so lately: for a stale feed. Raises what the driver raises."""
        async with self._reading:
            if self._deps.clock.monotonic() - self._read_at > seconds:
                await self.load()

    @property
    def signing(self) -> KeySet:
        """The one key to sign with, as a set, because Authlib leaves `kid` out for a bare key."""
        assert self._signing is not None, "SigningKeys.start comes first"
        return self._signing

    def find(self, kid: str) -> ECKey | None:
        """The published key, or None for one that is unknown, revoked or retired for more than 24 hours."""
        found = self._published.get(kid)
        return found.key if found is not None and self._is_published(found) else None

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public key set (RFC 7517 section 5)."""
        keys = [found.key for found in self._published.values() if self._is_published(found)]
        return {"keys": [dict(key.as_dict(private=False)) for key in keys]}

    async def rotate(self, *, by: str = PLATFORM) -> str:
        """Let next sign and make a new next; the old key stays published for 24 hours. Returns the kid that now signs.

        409 `identity.changed_meanwhile` if another rotation came first.
        """
        rows = await self._rows()
        current, following = _in_state(rows, "current"), _in_state(rows, "next")
        now = self._deps.clock.now()
        plan = Plan(None, answer=following.id)
        plan.add(
            Change(SIGNING_KEYS, current.id, {"state": "retired", "retired_at": now}, expected=current.version),
            Change(SIGNING_KEYS, following.id, {"state": "current"}, expected=following.version),
            await self._new_key("next", generation=following.generation + 1),
            news(self._deps.ids, kind="keys", subject_id=following.id, merchant_id=None, now=now),
            Audit("signing_key.rotated", by, following.id, None, {"retired": current.id}),
        )
        return await self._commit(plan, subject_id=current.id)

    async def revoke(self, kid: str, *, by: str = PLATFORM) -> str:
        """Emergency: refuse the key's tokens within a second. The current key is replaced by next at once.

        Returns the kid that now signs. 409 `identity.changed_meanwhile` if the keys moved meanwhile; KeyError for an
        unknown key.
        """
        rows = await self._rows()
        row = next((row for row in rows if row.id == kid), None)
        if row is None:
            raise KeyError(kid)
        now = self._deps.clock.now()
        following = _in_state(rows, "next")
        plan = Plan(None, answer=_in_state(rows, "current").id)
        values = {"state": "revoked", "retired_at": row.retired_at or now}
        plan.add(Change(SIGNING_KEYS, kid, values, expected=row.version))
        if row.state == "current":
            plan.add(Change(SIGNING_KEYS, following.id, {"state": "current"}, expected=following.version))
            plan.answer = following.id
        if row.state in {"current", "next"}:
            plan.add(await self._new_key("next", generation=following.generation + 1))
        plan.add(
            news(self._deps.ids, kind="keys", subject_id=kid, merchant_id=None, now=now),
            Audit("signing_key.revoked", by, kid, None, {"signs_now": plan.answer}),
        )
        return await self._commit(plan, subject_id=kid)

    async def _heard(self, subject_id: str) -> None:
        await self.load()

    def _is_published(self, found: _Published) -> bool:
        return found.retired_at is None or self._deps.clock.now() < found.retired_at + OVERLAP

    async def _rows(self) -> list[Row[Any]]:
        async with self._deps.database.read_auth() as connection:
            return list(await repository.read_signing_keys(connection))

    async def _make_first(self) -> None:
        plan = Plan(None)
        first = await self._new_key("current", generation=1)
        plan.add(first, await self._new_key("next", generation=2))
        plan.add(Audit("signing_key.created", PLATFORM, str(first.row["id"]), None))
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):  # a duplicate: another process was first, its keys count
                raise

    async def _new_key(self, state: str, *, generation: int) -> Insert:
        key = await asyncio.to_thread(ECKey.generate_key, "P-256", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
        assert key.kid is not None
        row = {
            "id": key.kid,
            "generation": generation,
            "state": state,
            "sealed": self._deps.vault.seal(key.kid, json.dumps(key.as_dict(private=True)).encode()),
            "public_jwk": json.dumps(key.as_dict(private=False)),
            "version": 1,
            "created_at": self._deps.clock.now(),
            "retired_at": None,
        }
        return Insert(SIGNING_KEYS, row)

    async def _commit(self, plan: Plan, *, subject_id: str) -> str:
        try:
            kid: str = await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            raise CHANGED_MEANWHILE.error({"id": subject_id}) from refused
        await self.load()
        return kid


def _in_state(rows: list[Row[Any]], state: str) -> Row[Any]:
    return next(row for row in rows if row.state == state)

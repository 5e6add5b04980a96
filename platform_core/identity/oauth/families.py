"""Families of tokens: all that was born of one consent's code, made and ended together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import Profile
from platform_core.identity.models_oauth import FAMILIES, REFRESH_TOKENS
from platform_core.identity.oauth.handles import make_handle, make_secret
from platform_core.identity.revocation import news
from platform_core.kernel.commit import Audit, Change, Event, Insert, Plan


@dataclass(frozen=True, slots=True)
class Life:
    """How long refresh tokens live: unused, and a family in all."""

    unused: timedelta
    overall: timedelta


LIFE_OF: Final[dict[Profile, Life]] = {
    "confidential": Life(timedelta(days=90), timedelta(days=365)),
    "money": Life(timedelta(days=90), timedelta(days=365)),
    "public": Life(timedelta(days=30), timedelta(days=180)),
}
REUSED: Final = "reused"


@dataclass(frozen=True, slots=True)
class Families:
    """Parts of plans about families."""

    deps: IdentityDeps

    def make(self, row: dict[str, Any], *, profile: Profile, now: datetime) -> Insert:
        """A new family. `row` holds what its tokens are for."""
        fixed = {
            "state": "active",
            "version": 1,
            "created_at": now,
            "expires_at": now + LIFE_OF[profile].overall,
            "revoked_at": None,
            "revoked_why": None,
        }
        return Insert(FAMILIES, {**row, **fixed})

    def make_refresh(self, family: dict[str, Any], *, profile: Profile, now: datetime) -> tuple[str, Insert]:
        """The first refresh token of a family, as the client gets it and as it is stored."""
        token_id, secret = self.deps.ids.mint("rft"), make_secret(self.deps.entropy)
        return make_handle(token_id, secret), self.refresh_row(
            token_id,
            secret,
            family_id=family["id"],
            merchant_id=family["merchant_id"],
            expires_at=min(now + LIFE_OF[profile].unused, now + LIFE_OF[profile].overall),
            now=now,
        )

    def refresh_row(
        self, token_id: str, secret: str, *, family_id: str, merchant_id: str, expires_at: datetime, now: datetime
    ) -> Insert:
        """A refresh token as it is stored."""
        row = {
            "id": token_id,
            "merchant_id": merchant_id,
            "family_id": family_id,
            "digest": self.deps.vault.digest(token_id, secret),
            "version": 1,
            "created_at": now,
            "expires_at": expires_at,
            "used_at": None,
            "successor_id": None,
        }
        return Insert(REFRESH_TOKENS, row)

    def end(self, family_id: str, *, merchant_id: str, client_id: str, version: int, why: str) -> Plan:
        """End a family everywhere within a second. Emits `token.reuse_detected` where that is why."""
        now = self.deps.clock.now()
        plan = Plan(merchant_id).add(
            Change(FAMILIES, family_id, {"state": "revoked", "revoked_at": now, "revoked_why": why}, expected=version),
            news(self.deps.ids, kind="family", subject_id=family_id, merchant_id=merchant_id, now=now),
            Audit("token.family_ended", client_id, family_id, merchant_id, reason=why),
        )
        if why == REUSED:
            body = {"family_id": family_id, "client_id": client_id, "merchant_id": merchant_id}
            plan.add(
                Event(
                    id=self.deps.ids.mint("evt"),
                    type="token.reuse_detected",
                    object_id=family_id,
                    sequence=version + 1,
                    occurred_at=now,
                    body=json.dumps(body),
                )
            )
        return plan

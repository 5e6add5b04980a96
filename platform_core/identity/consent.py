"""What a person decides on the consent page, and what the decision writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_core.identity import repository
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.oauth.requests import AuthorizationRequest
from platform_core.identity.revocation import news
from platform_core.identity.schemas import GrantCreate
from platform_core.identity.sessions import SignedIn
from platform_core.kernel.commit import Change, Insert, Unchanged


@dataclass(frozen=True, slots=True)
class Approved:
    """The app may do this. `stores` None: every store; `details` as the person left them."""

    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: tuple[dict[str, Any], ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Declined:
    """The app may not."""


@dataclass(frozen=True, slots=True)
class GrantParts:
    """What a decision writes about the grant, for the plan that also makes the code."""

    parts: Sequence[object]
    grant_id: str
    version: int  # after the plan


@dataclass(frozen=True, slots=True)
class Consent:
    """Gives grants by approval."""

    deps: IdentityDeps

    async def grant_parts(self, request: AuthorizationRequest, who: SignedIn, approved: Approved) -> GrantParts:
        """A new grant, or the active one of app and merchant with these scopes added, or in their place.

        422 `identity.grant_refused`.
        """
        wanted = GrantCreate(
            app_id=request.app_id,
            merchant_id=who.party_id,
            mode=request.mode,
            scopes=approved.scopes,
            stores=approved.stores,
            given_by=who.person_id,
            expires_at=approved.expires_at,
        )
        is_own = await Grants(self.deps)._check(wanted)
        async with self.deps.database.read_auth() as connection:
            row = await repository.read_active_grant(connection, wanted.app_id, merchant_id=wanted.merchant_id)
        if row is None:
            return self._first(wanted, kind="owner" if is_own else "merchant")
        now, kept = (
            self.deps.clock.now(),
            set() if request.grant_management_action == "replace" else set(row.scopes.split()),
        )
        values = {"scopes": " ".join(sorted(kept | wanted.scopes)), "stores": _stores(wanted)}
        if values == {"scopes": row.scopes, "stores": row.stores}:
            return GrantParts((Unchanged(ACCESS_GRANTS, row.id, row.version),), row.id, row.version)
        parts = (
            Change(ACCESS_GRANTS, row.id, values, expected=row.version),
            news(self.deps.ids, kind="grant", subject_id=row.id, merchant_id=wanted.merchant_id, now=now),
        )
        return GrantParts(parts, row.id, row.version + 1)

    def _first(self, wanted: GrantCreate, *, kind: str) -> GrantParts:
        grant_id = self.deps.ids.mint("gra")
        row = {
            **wanted.model_dump(include={"app_id", "merchant_id", "given_by", "expires_at"}),
            "id": grant_id,
            "kind": kind,
            "state": "active",
            "scopes": " ".join(sorted(wanted.scopes)),
            "stores": _stores(wanted),
            "version": 1,
            "created_at": self.deps.clock.now(),
            "revoked_at": None,
            "revoked_by": None,
            "revoked_why": None,
        }
        return GrantParts((Insert(ACCESS_GRANTS, row),), grant_id, 1)


def _stores(wanted: GrantCreate) -> str | None:
    return " ".join(sorted(wanted.stores)) if wanted.stores is not None else None

"""What merchants let apps do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Row

from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE, GRANT_EXISTS, GRANT_NOT_FOUND, GRANT_REFUSED
from platform_core.identity.models import ACCESS_GRANTS
from platform_core.identity.revocation import news
from platform_core.identity.schemas import GrantCreate, GrantRead
from platform_core.kernel.commit import Audit, Change, Duplicate, Event, Insert, Plan, PlanRefused
from platform_core.kernel.i18n import Text


@dataclass(frozen=True, slots=True)
class Grants:
    """Gives and ends grants. A grant of a merchant's own app is of kind `owner`."""

    deps: IdentityDeps

    async def create(self, wanted: GrantCreate) -> GrantRead:
        """An active grant. Emits `grant.created`.

        422 `identity.grant_refused` (unknown or unfit scope, app, merchant or store), 409 `identity.grant_exists`.
        """
        is_own = await self._check(wanted)
        now = self.deps.clock.now()
        made = GrantRead(
            id=self.deps.ids.mint("gra"),
            app_id=wanted.app_id,
            merchant_id=wanted.merchant_id,
            kind="owner" if is_own else "merchant",
            state="active",
            scopes=sorted(wanted.scopes),
            stores=sorted(wanted.stores) if wanted.stores is not None else None,
            version=1,
            given_by=wanted.given_by,
            created_at=now,
            expires_at=wanted.expires_at,
            revoked_at=None,
            revoked_by=None,
            revoked_why=None,
        )
        plan = Plan(made.merchant_id).add(
            Insert(ACCESS_GRANTS, _row(made)),
            self._event("grant.created", made, now),
            _audit("grant.created", made, by=made.given_by, after=made),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate):
                taken = {"app_id": made.app_id, "grant_id": refused.refusal.existing_id}
                raise GRANT_EXISTS.error(taken) from refused
            raise
        return made

    async def revoke(self, grant_id: str, *, merchant_id: str, by: str, why: str) -> GrantRead:
        """End a grant: its tokens are refused everywhere within a second. Emits `grant.revoked`.

        404 `identity.grant_not_found` when the merchant has no such active grant; 409 `identity.changed_meanwhile`.
        """
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_grant(connection, grant_id, merchant_id=merchant_id)
        if row is None or row.state != "active":
            raise GRANT_NOT_FOUND.error({"grant_id": grant_id})
        now = self.deps.clock.now()
        values = {"state": "revoked", "revoked_at": now, "revoked_by": by, "revoked_why": why}
        ended = _read(row).model_copy(update={**values, "version": row.version + 1})
        plan = Plan(merchant_id).add(
            Change(ACCESS_GRANTS, grant_id, values, expected=row.version),
            news(self.deps.ids, kind="grant", subject_id=grant_id, merchant_id=merchant_id, now=now),
            self._event("grant.revoked", ended, now),
            _audit("grant.revoked", ended, by=by, before=_read(row), after=ended, why=why),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise CHANGED_MEANWHILE.error({"id": grant_id}) from refused
        return ended

    async def _check(self, wanted: GrantCreate) -> bool:
        """Whether the app is the merchant's own; raises the refusal that applies."""
        for name in sorted(wanted.scopes):
            scope = catalogue().get(name)
            if scope is None or not scope.is_for_apps:
                raise _refused(f"the scope {name} cannot be given to an app", f"权限范围 {name} 不能授予应用")
            if scope.is_test_only and wanted.mode == "live":
                raise _refused(f"the scope {name} exists in test mode only", f"权限范围 {name} 仅限测试模式")
        async with self.deps.database.read_auth() as connection:
            app = await repository.read_app(connection, wanted.app_id)
            merchant = await repository.read_merchant(connection, wanted.merchant_id)
            stores = await repository.read_store_ids(connection, wanted.merchant_id)
        if app is None or app.state != "active":
            raise _refused("there is no such active app", "该应用不存在或已停用")
        if merchant is None or merchant.mode != wanted.mode:
            raise _refused(f"there is no such merchant in {wanted.mode} mode", f"{wanted.mode} 模式下不存在该商户")
        if wanted.stores is not None and not wanted.stores <= stores:
            raise _refused("a store is not the merchant's or is closed", "存在不属于该商户或已关闭的门店")
        return bool(app.merchant_id == wanted.merchant_id)

    def _event(self, kind: str, grant: GrantRead, now: datetime) -> Event:
        return Event(
            id=self.deps.ids.mint("evt"),
            type=kind,
            object_id=grant.id,
            sequence=grant.version,
            occurred_at=now,
            body=grant.model_dump_json(),
        )


def _audit(
    kind: str, grant: GrantRead, *, by: str, after: GrantRead, before: GrantRead | None = None, why: str | None = None
) -> Audit:
    facts = {
        "app": grant.app_id,
        "version": grant.version,
        "scopes": grant.scopes,
        "stores": None if grant.stores is None else len(grant.stores),
    }
    return Audit(
        kind,
        by,
        grant.id,
        grant.merchant_id,
        facts,
        reason=why,
        before_digest=_digest(before) if before is not None else None,
        after_digest=_digest(after),
    )


def _digest(grant: GrantRead) -> bytes:
    return sha256(grant.model_dump_json().encode()).digest()


def _refused(en: str, zh: str) -> Exception:
    return GRANT_REFUSED.error({"reason": Text(en=en, zh=zh)})


def _row(grant: GrantRead) -> dict[str, Any]:
    stores = " ".join(grant.stores) if grant.stores is not None else None
    return {**grant.model_dump(), "scopes": " ".join(grant.scopes), "stores": stores}


def _read(row: Row[Any]) -> GrantRead:
    stores = row.stores.split() if row.stores is not None else None
    return GrantRead.model_validate({**row._mapping, "scopes": row.scopes.split(), "stores": stores})

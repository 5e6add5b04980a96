"""Merchants, their stores, and independent software vendors."""

from __future__ import annotations

from dataclasses import dataclass

from platform_core.identity import repository
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import (
    CHANGED_MEANWHILE,
    MERCHANT_LIVE_IN_SANDBOX,
    MERCHANT_NOT_FOUND,
    STORE_NOT_FOUND,
)
from platform_core.identity.models import ISVS, MERCHANTS, STORES, Standing
from platform_core.identity.principal import Principal
from platform_core.identity.revocation import news
from platform_core.identity.schemas import (
    IsvCreate,
    IsvRead,
    MerchantCreate,
    MerchantRead,
    StoreCreate,
    StoreRead,
)
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.pagination import Position


@dataclass(frozen=True, slots=True)
class Parties:
    """Creates and reads parties. The `create_` methods write one plan each and return what they made."""

    deps: IdentityDeps
    is_sandbox: bool = False

    async def create_merchant(self, wanted: MerchantCreate, *, by: str = PLATFORM) -> MerchantRead:
        """A merchant of standing `active`; it can do nothing until an app has a grant of it.

        409 `identity.merchant_live_in_sandbox`.
        """
        if self.is_sandbox and wanted.mode == "live":
            raise MERCHANT_LIVE_IN_SANDBOX.error()
        made = MerchantRead(
            id=self.deps.ids.mint("mer"),
            name=wanted.name,
            mode=wanted.mode,
            industry=wanted.industry,
            time_zone=wanted.time_zone,
            verification=wanted.verification,
            standing="active",
            version=1,
            created_at=self.deps.clock.now(),
        )
        facts = {"mode": made.mode, "verification": made.verification}
        plan = Plan(made.id).add(
            Insert(MERCHANTS, made.model_dump()), Audit("merchant.created", by, made.id, made.id, facts)
        )
        await self.deps.committer.commit(plan)
        return made

    async def create_store(self, wanted: StoreCreate, *, by: str = PLATFORM) -> StoreRead:
        """An open store. 404 `identity.merchant_not_found`."""
        async with self.deps.database.read(wanted.merchant_id) as connection:
            if await repository.read_merchant(connection, wanted.merchant_id) is None:
                raise MERCHANT_NOT_FOUND.error({"merchant_id": wanted.merchant_id})
        now = self.deps.clock.now()
        made = StoreRead(
            id=self.deps.ids.mint("sto"),
            merchant_id=wanted.merchant_id,
            name=wanted.name,
            state="open",
            version=1,
            created_at=now,
        )
        plan = Plan(made.merchant_id).add(
            Insert(STORES, made.model_dump()),
            news(self.deps.ids, kind="merchant", subject_id=made.merchant_id, merchant_id=made.merchant_id, now=now),
            Audit("store.created", by, made.id, made.merchant_id),
        )
        await self.deps.committer.commit(plan)
        return made

    async def create_isv(self, wanted: IsvCreate, *, by: str = PLATFORM) -> IsvRead:
        """An ISV of the first tier."""
        made = IsvRead(
            id=self.deps.ids.mint("isv"),
            name=wanted.name,
            verification=wanted.verification,
            tier="sandbox",
            version=1,
            created_at=self.deps.clock.now(),
        )
        facts = {"tier": made.tier, "verification": made.verification}
        plan = Plan(None).add(Insert(ISVS, made.model_dump()), Audit("isv.created", by, made.id, None, facts))
        await self.deps.committer.commit(plan)
        return made

    async def ensure_isv(self, isv_id: str, *, name: str, by: str = PLATFORM) -> None:
        """An ISV under an id of the operator's choice, such as the publisher of what comes with the platform.

        One that is there stays as it is.
        """
        async with self.deps.database.read_auth() as connection:
            if await repository.read_isv(connection, isv_id) is not None:
                return
        row = {
            "id": isv_id,
            "name": name,
            "verification": "verified",
            "tier": "strategic",
            "version": 1,
            "created_at": self.deps.clock.now(),
        }
        facts = {"tier": row["tier"], "verification": row["verification"]}
        try:
            await self.deps.committer.commit(
                Plan(None, [Insert(ISVS, row), Audit("isv.created", by, isv_id, None, facts)])
            )
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):  # another process was faster
                raise

    async def change_standing(self, merchant_id: str, standing: Standing, *, by: str = PLATFORM) -> MerchantRead:
        """Set a merchant's standing; every process knows within a second.

        404 `identity.merchant_not_found`, 409 `identity.changed_meanwhile`.
        """
        before = await self.merchant(merchant_id)
        after = before.model_copy(update={"standing": standing, "version": before.version + 1})
        now = self.deps.clock.now()
        plan = Plan(merchant_id, answer=after).add(
            Change(MERCHANTS, merchant_id, {"standing": standing}, expected=before.version),
            news(self.deps.ids, kind="merchant", subject_id=merchant_id, merchant_id=merchant_id, now=now),
            Audit("merchant.standing_changed", by, merchant_id, merchant_id, {"from": before.standing, "to": standing}),
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise CHANGED_MEANWHILE.error({"id": merchant_id}) from refused
        return after

    async def merchant(self, merchant_id: str) -> MerchantRead:
        """A merchant by id, read as that merchant. 404 `identity.merchant_not_found`."""
        async with self.deps.database.read(merchant_id) as connection:
            row = await repository.read_merchant(connection, merchant_id)
        if row is None:
            raise MERCHANT_NOT_FOUND.error({"merchant_id": merchant_id})
        return MerchantRead.model_validate(row)

    async def find_live(self) -> str | None:
        """The id of a merchant in live mode, if there is any: a sandbox does not start over one."""
        async with self.deps.database.read_auth() as connection:
            return await repository.find_live_merchant(connection)

    async def own_merchant(self, who: Principal, merchant_id: str) -> MerchantRead:
        """The caller's merchant. Another's is 404 `identity.merchant_not_found`, like one that does not exist."""
        async with self.deps.database.read(who.merchant_id) as connection:
            row = await repository.read_merchant(connection, merchant_id)
        if row is None or row.id != who.merchant_id:
            raise MERCHANT_NOT_FOUND.error({"merchant_id": merchant_id})
        return MerchantRead.model_validate(row)

    async def store(self, who: Principal, store_id: str) -> StoreRead:
        """One of the caller's stores that the grant covers; else 404 `identity.store_not_found`."""
        assert who.merchant_id is not None, "the route needs a merchant's scope"
        async with self.deps.database.read(who.merchant_id) as connection:
            row = await repository.read_store(connection, store_id, merchant_id=who.merchant_id)
        if row is None or not who.may_use_store(store_id):
            raise STORE_NOT_FOUND.error({"store_id": store_id})
        return StoreRead.model_validate(row)

    async def stores(self, who: Principal, *, after: Position | None, limit: int) -> list[StoreRead]:
        """At most `limit` of the caller's stores that the grant covers, the oldest first, those behind `after`."""
        assert who.merchant_id is not None, "the route needs a merchant's scope"
        async with self.deps.database.read(who.merchant_id) as connection:
            rows = await repository.list_stores(
                connection, merchant_id=who.merchant_id, only=who.stores, after=after, limit=limit
            )
        return [StoreRead.model_validate(row) for row in rows]

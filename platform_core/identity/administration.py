"""What a merchant changes about itself: profile and stores; and how its verification moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors_people import ALL_STORES_NEEDED, VERIFICATION_STATE
from platform_core.identity.models import MERCHANTS, STORES
from platform_core.identity.parties import Parties
from platform_core.identity.principal import Principal
from platform_core.identity.revocation import news
from platform_core.identity.schemas import MerchantRead, StoreRead, Verification
from platform_core.identity.schemas_people import MerchantUpdate, StoreUpdate
from platform_core.kernel.commit import Change, Insert, Plan, PlanRefused
from platform_core.kernel.http.preconditions import changed_meanwhile

VERIFICATION_STEPS: Final[Mapping[Verification, frozenset[Verification]]] = MappingProxyType(
    {
        "unverified": frozenset({"pending"}),
        "pending": frozenset({"verified", "rejected"}),
        "verified": frozenset({"pending"}),
        "rejected": frozenset({"pending"}),
    }
)


@dataclass(frozen=True, slots=True)
class Administration:
    """Changes of merchants and stores. Each writes one plan, which tells every process."""

    deps: IdentityDeps
    parties: Parties

    async def update_merchant(
        self, who: Principal, merchant_id: str, wanted: MerchantUpdate, *, expected: int
    ) -> MerchantRead:
        """Change what is given. A verified merchant that changes name or industry is verified anew (`pending`).

        404 `identity.merchant_not_found`, 412 `kernel.precondition_failed`.
        """
        before = await self.parties.own_merchant(who, merchant_id)
        values: dict[str, Any] = wanted.model_dump(exclude_none=True)
        is_other_business = any(
            getattr(before, name) != values[name] for name in ("name", "industry") if name in values
        )
        if is_other_business and before.verification == "verified":
            values["verification"] = "pending"
        return await self._change_merchant(before, values, expected=expected)

    async def change_verification(self, merchant_id: str, after: Verification) -> MerchantRead:
        """Move the state along its edges. 409 `identity.verification_state`, 404 `identity.merchant_not_found`."""
        before = await self.parties.merchant(merchant_id)
        if after not in VERIFICATION_STEPS[before.verification]:
            raise VERIFICATION_STATE.error({"before": before.verification, "after": after})
        return await self._change_merchant(before, {"verification": after}, expected=before.version)

    def new_store(self, who: Principal, name: str) -> StoreRead:
        """An open store to be; nothing is written yet. 403 `identity.all_stores_needed` for who is bound to stores."""
        assert who.merchant_id is not None, "the route needs a merchant's scope"
        if who.stores is not None:
            raise ALL_STORES_NEEDED.error()
        return StoreRead(
            id=self.deps.ids.mint("sto"),
            merchant_id=who.merchant_id,
            name=name,
            state="open",
            version=1,
            created_at=self.deps.clock.now(),
        )

    async def add_store(self, store: StoreRead, *, extra: Iterable[object]) -> StoreRead:
        """Write a new store, with further parts of the same plan."""
        plan = Plan(store.merchant_id).add(Insert(STORES, store.model_dump()), self._news(store.merchant_id), *extra)
        await self.deps.committer.commit(plan)
        return store

    async def update_store(self, who: Principal, store_id: str, wanted: StoreUpdate, *, expected: int) -> StoreRead:
        """Rename, close or open again. 404 `identity.store_not_found`, 412 `kernel.precondition_failed`."""
        before = await self.parties.store(who, store_id)
        if before.version != expected:
            raise changed_meanwhile(store_id)
        values = wanted.model_dump(exclude_none=True)
        if not values:
            return before
        plan = Plan(before.merchant_id).add(
            Change(STORES, store_id, values, expected=expected), self._news(before.merchant_id)
        )
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise changed_meanwhile(store_id) from refused
        return before.model_copy(update={**values, "version": expected + 1})

    async def _change_merchant(self, before: MerchantRead, values: dict[str, Any], *, expected: int) -> MerchantRead:
        if before.version != expected:
            raise changed_meanwhile(before.id)
        if not values:
            return before
        plan = Plan(before.id).add(Change(MERCHANTS, before.id, values, expected=expected), self._news(before.id))
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            raise changed_meanwhile(before.id) from refused
        return before.model_copy(update={**values, "version": expected + 1})

    def _news(self, merchant_id: str) -> Insert:
        now = self.deps.clock.now()
        return news(self.deps.ids, kind="merchant", subject_id=merchant_id, merchant_id=merchant_id, now=now)

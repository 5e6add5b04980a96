"""A merchant's licences, as its people file them. Which an industry needs, and whether one is accepted, is not here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Row, select

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors_people import LICENCE_EXISTS, LICENCE_NOT_FOUND, LICENCE_REFUSED
from platform_core.identity.models_people import MERCHANT_LICENCES
from platform_core.identity.principal import Principal
from platform_core.identity.schemas_licences import LicenceAdd, LicenceListed, LicenceRead, LicenceUpdate
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused, Remove, Replayed
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version
from platform_core.kernel.i18n import Text

LICENCES_MAX: Final = 50
_licences = MERCHANT_LICENCES.table


@dataclass(frozen=True, slots=True)
class Licences:
    """Licences of the caller's merchant. What is written is `submitted`: it counts when governance accepted it."""

    deps: IdentityDeps

    async def list(self, who: Principal) -> Sequence[LicenceListed]:
        """All of them, the oldest first, numbers masked."""
        return [LicenceListed.model_validate(_columns(row)) for row in await self._rows(_merchant(who))]

    async def get(self, who: Principal, licence_id: str) -> LicenceRead:
        """One with its number. 404 `identity.licence_not_found`."""
        merchant_id = _merchant(who)
        query = select(_licences).where(_licences.c.id == licence_id, _licences.c.merchant_id == merchant_id)
        async with self.deps.database.read(merchant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise LICENCE_NOT_FOUND.error({"licence_id": licence_id})
        return LicenceRead.model_validate(_columns(row))

    async def drafted(self, who: Principal, wanted: LicenceAdd) -> LicenceRead:
        """A licence to be; nothing is written yet. 422 `identity.licence_refused`."""
        _check_days(wanted.valid_from, wanted.valid_to)
        if len(await self._rows(_merchant(who))) >= LICENCES_MAX:
            raise _refused(f"there are {LICENCES_MAX} already", f"数量已达 {LICENCES_MAX} 个")
        return LicenceRead(
            **wanted.model_dump(),
            id=self.deps.ids.mint("lic"),
            hint=_hint(wanted.number),
            state="submitted",
            version=1,
            created_at=self.deps.clock.now(),
        )

    async def add(self, who: Principal, draft: LicenceRead, *, extra: Iterable[object] = ()) -> LicenceRead:
        """Write a new licence, with further parts of the same plan. 409 `identity.licence_exists`."""
        merchant_id = _merchant(who)
        row = {**draft.model_dump(exclude={"hint"}), "merchant_id": merchant_id}
        plan = Plan(merchant_id).add(Insert(MERCHANT_LICENCES, row), *extra)
        plan.add(Audit("licence.added", who.client_id, draft.id, merchant_id, {"kind": draft.kind}))
        try:
            await self.deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate) and not isinstance(refused.refusal, Replayed):
                raise LICENCE_EXISTS.error({"licence_id": refused.refusal.existing_id}) from refused
            raise
        return draft

    async def update(self, who: Principal, licence_id: str, wanted: LicenceUpdate, *, expected: int) -> LicenceRead:
        """Change what is given; it is `submitted` anew.

        404 `identity.licence_not_found`, 412 `kernel.precondition_failed`, 422 `identity.licence_refused`.
        """
        before = await self.get(who, licence_id)
        check_version(before.version, expected, object_id=licence_id)
        values: dict[str, Any] = wanted.model_dump(exclude_none=True)
        if "valid_to" in wanted.model_fields_set:
            values["valid_to"] = wanted.valid_to
        if not values:
            return before
        values["state"] = "submitted"
        after = before.model_copy(update={**values, "version": expected + 1})
        _check_days(after.valid_from, after.valid_to)
        facts = {"kind": before.kind, "fields": sorted(values), "was": before.state}
        change = Change(MERCHANT_LICENCES, licence_id, values, expected=expected)
        await self._commit(who, change, Audit("licence.changed", who.client_id, licence_id, _merchant(who), facts))
        return after

    async def remove(self, who: Principal, licence_id: str, *, expected: int) -> None:
        """Take a licence away. 404 `identity.licence_not_found`, 412 `kernel.precondition_failed`."""
        before = await self.get(who, licence_id)
        check_version(before.version, expected, object_id=licence_id)
        facts = {"kind": before.kind, "was": before.state}
        part = Remove(MERCHANT_LICENCES, licence_id, expected=expected)
        await self._commit(who, part, Audit("licence.removed", who.client_id, licence_id, _merchant(who), facts))

    async def _rows(self, merchant_id: str) -> Sequence[Row[Any]]:
        query = select(_licences).where(_licences.c.merchant_id == merchant_id)
        ordered = query.order_by(_licences.c.created_at, _licences.c.id).limit(2 * LICENCES_MAX)
        async with self.deps.database.read(merchant_id) as connection:
            return (await connection.execute(ordered)).all()

    async def _commit(self, who: Principal, part: Change | Remove, audit: Audit) -> None:
        try:
            await self.deps.committer.commit(Plan(_merchant(who)).add(part, audit))
        except PlanRefused as refused:
            raise changed_meanwhile(part.id) from refused


def _columns(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "hint": _hint(row.number)}


def _hint(number: str) -> str:
    return number[-4:]


def _check_days(first: date, last: date | None) -> None:
    if last is not None and last < first:
        raise _refused("its last day lies before its first", "截止日早于起始日")


def _refused(en: str, zh: str) -> Exception:
    return LICENCE_REFUSED.error({"reason": Text(en=en, zh=zh)})


def _merchant(who: Principal) -> str:
    assert who.merchant_id is not None, "the route needs a merchant's scope"
    return who.merchant_id

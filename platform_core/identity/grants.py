"""What merchants let apps do: given, widened by consent, narrowed, ended.

Every change is a new version, kept with its difference. One that takes something away raises the grant's floor, so that
tokens of versions before die everywhere within a second; one that only adds leaves them as they are. What is metered is
refused at once, because the plan moves or closes the limits too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Row

from platform_core.contracts.rar import Detail, type_of_scope
from platform_core.contracts.scopes import catalogue
from platform_core.identity import repository, repository_grants
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CHANGED_MEANWHILE, GRANT_EXISTS, GRANT_NOT_FOUND, GRANT_REFUSED
from platform_core.identity.limit_policy import LimitPolicy, shipped_policy
from platform_core.identity.limits import Limits
from platform_core.identity.models import ACCESS_GRANTS, GRANT_METERS, GRANT_VERSIONS, GrantKind, Mode
from platform_core.identity.rar import (
    DetailsRefused,
    Granted,
    are_within,
    granted_of,
    merged,
    narrowed,
    replaced,
)
from platform_core.identity.revocation import news
from platform_core.identity.schemas import (
    GrantChange,
    GrantCreate,
    GrantDetailedRead,
    GrantNarrow,
    GrantRead,
    LimitRead,
)
from platform_core.kernel.commit import (
    Audit,
    Change,
    Due,
    DueDone,
    Duplicate,
    Event,
    Insert,
    Plan,
    PlanRefused,
    Unchanged,
    VersionConflict,
)
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.i18n import Text
from platform_core.kernel.pagination import Position
from platform_core.ledger.service import LedgerService

EXPIRE: Final = "identity.grant_expire"
HISTORY_MAX: Final = 50
Kind = Literal["created", "changed", "narrowed", "revoked", "expired"]
Action = Literal["merge", "replace"]
_EVENT: Final = {
    "created": "grant.created",
    "changed": "grant.changed",
    "narrowed": "grant.changed",
    "revoked": "grant.revoked",
    "expired": "grant.expired",
}


@dataclass(frozen=True, slots=True)
class GrantParts:
    """What a decision writes about a grant, for the plan that also makes the code."""

    parts: Sequence[object]
    grant_id: str
    version: int  # after the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Giving:
    """What a merchant gives an app. `details` are bounded by the operator's policy where it is put to a grant."""

    app_id: str
    merchant_id: str
    mode: Mode
    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: tuple[Detail, ...] = ()
    expires_at: datetime | None = None
    by: str = ""
    action: Action = "merge"
    is_plugin: bool = False
    """Whether the app is a plugin, whose grant comes with its installation."""
    is_gateway: bool = False
    """Whether the app asked at a gateway of another protocol, whose tokens stand on this grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A grant as a decision would leave it, beside what it was."""

    before: GrantRead | None
    after: GrantRead
    details_before: Granted
    details: Granted
    zone: str

    @property
    def takes_away(self) -> bool:
        """Whether something that the grant allowed is allowed no more: its tokens must not outlive that."""
        before, after = self.before, self.after
        if before is None:
            return False
        is_sooner = after.expires_at is not None and (before.expires_at is None or after.expires_at < before.expires_at)
        has_fewer_stores = after.stores is not None and (
            before.stores is None or not set(before.stores) <= set(after.stores)
        )
        has_less = not set(before.scopes) <= set(after.scopes)
        return after.state != "active" or is_sooner or has_fewer_stores or has_less or self._is_limited_more()

    def _is_limited_more(self) -> bool:
        """Whether a limit was lowered or a detail lost, or what an owner's grant left free is limited now."""
        assert self.before is not None, "there was a grant"
        had = [granted.detail for granted in self.details_before]
        has = [granted.detail for granted in self.details]
        metered = {type_of_scope()[name].name for name in self.before.scopes if catalogue()[name].is_metered}
        newly = {detail.type for detail in has} - {detail.type for detail in had}
        return not are_within(had, has) or not newly.isdisjoint(metered)


class Grants:
    """Gives, changes and ends grants. A grant of a merchant's own app is of kind `owner` and may go without limits."""

    def __init__(self, deps: IdentityDeps, *, limits: Limits | None = None, policy: LimitPolicy | None = None) -> None:
        """`limits` runs by the clock of business; by default by that of `deps`."""
        self._deps = deps
        self.limits = limits or Limits(
            database=deps.database,
            ledger=LedgerService(deps.database, ids=deps.ids),
            committer=deps.committer,
            clock=deps.clock,
            ids=deps.ids,
        )
        self.policy = policy or shipped_policy()

    async def create(self, wanted: GrantCreate) -> GrantRead:
        """An active grant. Emits `grant.created`.

        422 `identity.grant_refused` (unknown or unfit scope, app, merchant, store or limit), 409
        `identity.grant_exists`.
        """
        giving = Giving(
            app_id=wanted.app_id,
            merchant_id=wanted.merchant_id,
            mode=wanted.mode,
            scopes=wanted.scopes,
            stores=wanted.stores,
            details=wanted.details,
            expires_at=wanted.expires_at,
            by=wanted.given_by,
            action="replace",
        )
        outcome = await self.decide(giving)
        if outcome.before is not None:
            raise GRANT_EXISTS.error({"app_id": wanted.app_id, "grant_id": outcome.before.id})
        try:
            parts = await self._parts(outcome, "created", by=wanted.given_by)
            await self._deps.committer.commit(Plan(wanted.merchant_id, parts))
        except PlanRefused as refused:
            if isinstance(refused.refusal, Duplicate):
                taken = {"app_id": wanted.app_id, "grant_id": refused.refusal.existing_id}
                raise GRANT_EXISTS.error(taken) from refused
            raise
        return outcome.after

    async def give(self, giving: Giving) -> GrantParts:
        """Parts for the plan of a consent: a new grant, or a new version of the one there is.

        422 `identity.grant_refused`. The plan is refused as `VersionConflict` or `Duplicate` when the grant has moved
        on: decide again.
        """
        outcome = await self.decide(giving)
        before, after = outcome.before, outcome.after
        if before is not None and not _changed(before, after).keys() - {"given_by"}:
            # The same once more: its tokens live on.
            return GrantParts([Unchanged(ACCESS_GRANTS, before.id, before.version)], before.id, before.version)
        parts = await self._parts(outcome, "created" if before is None else "changed", by=giving.by)
        return GrantParts(parts, after.id, after.version)

    async def decide(self, giving: Giving) -> Outcome:
        """What the grant would be; writes nothing. 422 `identity.grant_refused`."""
        async with self._deps.database.read_auth() as connection:
            app = await repository.read_app(connection, giving.app_id)
            merchant = await repository.read_merchant(connection, giving.merchant_id)
            stores = await repository.read_store_ids(connection, giving.merchant_id)
            row = await repository.read_active_grant(connection, giving.app_id, merchant_id=giving.merchant_id)
        _check_scopes(giving)
        if app is None or app.state != "active":
            raise _refused("there is no such active app", "该应用不存在或已停用")
        if merchant is None or merchant.mode != giving.mode:
            raise _refused(f"there is no such merchant in {giving.mode} mode", f"{giving.mode} 模式下不存在该商户")
        if giving.stores is not None and not giving.stores <= stores:
            raise _foreign_store()
        kind: GrantKind = "owner" if app.merchant_id == giving.merchant_id else "merchant"
        if giving.is_plugin:
            kind = "plugin"
        elif giving.is_gateway and kind != "owner":
            kind = "gateway"
        return self._outcome(giving, row, kind=kind, zone=merchant.time_zone)

    def _outcome(self, giving: Giving, row: Row[Any] | None, *, kind: GrantKind, zone: str) -> Outcome:
        before = _read(row) if row is not None else None
        present = granted_of(row.details) if row is not None else ()
        scopes, stores = giving.scopes, giving.stores
        if before is not None and giving.action == "merge":
            scopes |= frozenset(before.scopes)
            stores = None if stores is None or before.stores is None else stores | frozenset(before.stores)
        try:
            combine = merged if giving.action == "merge" else replaced
            details = combine(present, giving.details, new_id=self._new_detail_id)
            if kind != "owner" or details:
                details = self._bounded(scopes, details, is_owner=kind == "owner")
        except DetailsRefused as refused:
            raise _refused(str(refused), refused.zh) from refused
        now = self._deps.clock.now()
        after = GrantRead(
            id=self._deps.ids.mint("gra") if before is None else before.id,
            app_id=giving.app_id,
            merchant_id=giving.merchant_id,
            kind=kind if before is None else before.kind,
            state="active",
            scopes=sorted(scopes),
            stores=sorted(stores) if stores is not None else None,
            authorization_details=[granted.record() for granted in details],
            version=1 if before is None else before.version + 1,
            given_by=giving.by,
            created_at=now if before is None else before.created_at,
            expires_at=giving.expires_at,
            revoked_at=None,
            revoked_by=None,
            revoked_why=None,
        )
        return Outcome(before=before, after=after, details_before=present, details=details, zone=zone)

    def _bounded(self, scopes: frozenset[str], details: Granted, *, is_owner: bool) -> Granted:
        """The details under the operator's ceilings, with defaults where a metered scope has none.

        Details whose scope is no longer given are dropped. An owner's grant keeps what it names, and no more.
        """
        kinds = {type_of_scope()[name].name for name in scopes if catalogue()[name].is_metered}
        details = tuple(granted for granted in details if granted.detail.type in kinds)
        if is_owner:
            return details
        plain = self.policy.complete(scopes, [granted.detail for granted in details])
        return replaced(details, plain, new_id=self._new_detail_id)

    async def narrow(
        self, grant_id: str, wanted: GrantNarrow, *, merchant_id: str, by: str, expected: int | None = None
    ) -> GrantRead:
        """Take something away from a grant. Emits `grant.changed`; tokens of former versions die.

        `expected`: the version that the caller saw. 404 `identity.grant_not_found`, 409 `identity.changed_meanwhile`,
        422 `identity.grant_refused` for anything that would widen it.
        """
        row, zone = await self._active(grant_id, merchant_id)
        if expected is not None and row.version != expected:
            raise CHANGED_MEANWHILE.error({"id": grant_id})
        before, present = _read(row), granted_of(row.details)
        if wanted.stores is not None and not wanted.stores <= await self._stores(merchant_id):
            raise _foreign_store()
        after = _narrowed(before, wanted)
        try:
            details = (
                present if wanted.authorization_details is None else narrowed(present, wanted.authorization_details)
            )
        except DetailsRefused as refused:
            raise _refused(str(refused), "只能缩小授权，不能扩大") from refused
        needed = {type_of_scope()[name].name for name in after.scopes if catalogue()[name].is_metered}
        kept = tuple(granted for granted in details if granted.detail.type in needed)
        if before.kind != "owner" and needed - {granted.detail.type for granted in kept}:
            raise _refused("a metered scope keeps its limits", "计量权限必须保留限额")
        after = after.model_copy(update={"authorization_details": [granted.record() for granted in kept]})
        outcome = Outcome(before=before, after=after, details_before=present, details=kept, zone=zone)
        await self._commit(outcome, "narrowed", by=by)
        return after

    async def revoke(
        self, grant_id: str, *, merchant_id: str, by: str, why: str, expected: int | None = None
    ) -> GrantRead:
        """End a grant: its tokens are refused everywhere within a second, its limits at once. Emits `grant.revoked`.

        `expected`: the version that the caller saw. 404 `identity.grant_not_found` when the merchant has no such active
        grant; 409 `identity.changed_meanwhile`.
        """
        row, zone = await self._active(grant_id, merchant_id)
        if expected is not None and row.version != expected:
            raise CHANGED_MEANWHILE.error({"id": grant_id})
        ended = self._ended(row, by=by, why=why)
        outcome = Outcome(before=_read(row), after=ended, details_before=granted_of(row.details), details=(), zone=zone)
        await self._commit(outcome, "revoked", by=by)
        return ended

    async def ending(self, grant_id: str, *, merchant_id: str, by: str, why: str) -> Sequence[object]:
        """Parts for a plan that ends a grant together with what it was given for. Emits `grant.revoked`.

        404 `identity.grant_not_found`. The plan is refused as `VersionConflict` when the grant has moved on.
        """
        row, zone = await self._active(grant_id, merchant_id)
        ended = self._ended(row, by=by, why=why)
        outcome = Outcome(before=_read(row), after=ended, details_before=granted_of(row.details), details=(), zone=zone)
        return await self._parts(outcome, "revoked", by=by)

    async def expire(self, work: DueWork) -> Plan | None:
        """End a grant whose time is over (due kind `identity.grant_expire`). Emits `grant.expired`."""
        done = Plan(work.merchant_id, [DueDone(EXPIRE, work.subject_id)])
        async with self._deps.database.read_auth() as connection:
            row = await repository_grants.read_grant_by_id(connection, work.subject_id)
            merchant = None if row is None else await repository.read_merchant(connection, row.merchant_id)
        if row is None or merchant is None or row.state != "active" or row.expires_at is None:
            return done
        if row.expires_at > self._deps.clock.now():
            # Due times run by the clock of business, which a test may have moved; grants end by the real one.
            remaining = row.expires_at - self._deps.clock.now()
            return Plan(row.merchant_id, [Due(EXPIRE, row.id, work.due_at + remaining)])
        ended = self._ended(row, by=PLATFORM, why="expired")
        present = granted_of(row.details)
        outcome = Outcome(before=_read(row), after=ended, details_before=present, details=(), zone=merchant.time_zone)
        return Plan(row.merchant_id, await self._parts(outcome, "expired", by=PLATFORM))

    async def get(self, grant_id: str, *, merchant_id: str) -> GrantDetailedRead:
        """A grant with its limits and history. 404 `identity.grant_not_found`."""
        async with self._deps.database.read(merchant_id) as connection:
            row = await repository.read_grant(connection, grant_id, merchant_id=merchant_id)
            versions = await repository_grants.read_grant_versions(connection, grant_id, limit=HISTORY_MAX)
            merchant = await repository.read_merchant(connection, merchant_id)
        if row is None or merchant is None:
            raise GRANT_NOT_FOUND.error({"grant_id": grant_id})
        details = granted_of(row.details) if row.state == "active" else ()
        types = {granted.id: granted.detail.type for granted in details}
        states = await self.limits.left(merchant_id, details, zone=merchant.time_zone)
        limits = [
            LimitRead(
                detail_id=detail_id,
                type=types[detail_id],
                per=state.limit.per,
                measure=state.limit.measure,
                currency=state.limit.currency,
                limit=state.limit.value,
                left=state.left,
                resets_at=state.resets_at,
            )
            for detail_id, found in states.items()
            for state in found
        ]
        history = [GrantChange.model_validate(version) for version in versions]
        return GrantDetailedRead(**_read(row).model_dump(), limits=limits, history=history)

    async def page(
        self, merchant_id: str, *, state: str | None = None, after: Position | None = None, limit: int = 20
    ) -> Sequence[GrantRead]:
        """The merchant's grants, the oldest first, those behind `after`."""
        async with self._deps.database.read(merchant_id) as connection:
            rows = await repository_grants.list_grants(
                connection, merchant_id=merchant_id, state=state, after=after, limit=limit
            )
        return [_read(row) for row in rows]

    async def active_of(self, app_id: str, merchant_id: str) -> GrantRead | None:
        """The active grant of an app by a merchant."""
        async with self._deps.database.read(merchant_id) as connection:
            row = await repository.read_active_grant(connection, app_id, merchant_id=merchant_id)
        return None if row is None else _read(row)

    async def _active(self, grant_id: str, merchant_id: str) -> tuple[Row[Any], str]:
        """The grant's row and the merchant's time zone. 404 `identity.grant_not_found`."""
        async with self._deps.database.read(merchant_id) as connection:
            row = await repository.read_grant(connection, grant_id, merchant_id=merchant_id)
            merchant = await repository.read_merchant(connection, merchant_id)
        if row is None or merchant is None or row.state != "active":
            raise GRANT_NOT_FOUND.error({"grant_id": grant_id})
        return row, merchant.time_zone

    async def _stores(self, merchant_id: str) -> frozenset[str]:
        async with self._deps.database.read(merchant_id) as connection:
            return await repository.read_store_ids(connection, merchant_id)

    def _ended(self, row: Row[Any], *, by: str, why: str) -> GrantRead:
        now = self._deps.clock.now()
        values = {"state": "revoked", "revoked_at": now, "revoked_by": by, "revoked_why": why}
        return _read(row).model_copy(update={**values, "version": row.version + 1})

    async def _commit(self, outcome: Outcome, kind: Kind, *, by: str) -> None:
        """Commit a change; anew while only the limits' windows moved, 409 `identity.changed_meanwhile` otherwise."""
        after = outcome.after
        for _ in range(5):
            try:
                await self._deps.committer.commit(Plan(after.merchant_id, await self._parts(outcome, kind, by=by)))
            except PlanRefused as refused:
                refusal = refused.refusal
                if isinstance(refusal, VersionConflict) and refusal.table == GRANT_METERS.name:
                    continue
                raise CHANGED_MEANWHILE.error({"id": after.id}) from refused
            return
        raise CHANGED_MEANWHILE.error({"id": after.id}, retry_after_s=1)

    async def _parts(self, outcome: Outcome, kind: Kind, *, by: str) -> list[object]:
        """Everything that one new version of a grant writes."""
        before, after, deps = outcome.before, outcome.after, self._deps
        now = deps.clock.now()
        parts: list[object] = []
        if before is None:
            parts.append(Insert(ACCESS_GRANTS, {**_row(after), "floor_version": 1}))
        else:
            values = _changed(before, after) | ({"floor_version": after.version} if outcome.takes_away else {})
            parts.append(Change(ACCESS_GRANTS, after.id, values, expected=before.version))
            parts.append(news(deps.ids, kind="grant", subject_id=after.id, merchant_id=after.merchant_id, now=now))
        if after.kind == "plugin":
            merchant_id = after.merchant_id
            parts.append(news(deps.ids, kind="plugins", subject_id=merchant_id, merchant_id=merchant_id, now=now))
        parts.append(Insert(GRANT_VERSIONS, self._version_row(outcome, kind, by=by, now=now)))
        parts += await self._metered(outcome)
        if after.state == "active" and after.expires_at is not None:
            parts.append(Due(EXPIRE, after.id, after.expires_at))
        elif before is not None and before.expires_at is not None:
            parts.append(DueDone(EXPIRE, after.id))
        parts.append(_audit(outcome, _EVENT[kind], by=by))
        event_id = deps.ids.mint("evt")
        return [*parts, Event(event_id, _EVENT[kind], after.id, after.version, now, after.model_dump_json())]

    async def _metered(self, outcome: Outcome) -> list[object]:
        """The turnstile, read before the limits so that whoever passes it meanwhile refuses this plan; the limits."""
        after = outcome.after
        if not outcome.details_before and not outcome.details:
            return []
        async with self._deps.database.read(after.merchant_id) as connection:
            meter = await repository_grants.read_meter(connection, after.id, merchant_id=after.merchant_id)
        if meter is None:
            return [Insert(GRANT_METERS, {"id": after.id, "merchant_id": after.merchant_id, "version": 1})]
        moves = await self.limits.change(
            after.merchant_id,
            before=outcome.details_before,
            after=outcome.details,
            zone=outcome.zone,
            is_ending=after.state != "active",
        )
        return [Change(GRANT_METERS, after.id, {}, expected=meter.version), *moves]

    def _version_row(self, outcome: Outcome, kind: Kind, *, by: str, now: datetime) -> dict[str, Any]:
        row = _row(outcome.after)
        return {
            "id": self._deps.ids.mint("grv"),
            "grant_id": row["id"],
            "merchant_id": row["merchant_id"],
            "version": row["version"],
            "kind": kind,
            "scopes": row["scopes"],
            "stores": row["stores"],
            "details": row["details"],
            "expires_at": row["expires_at"],
            "difference": _json(difference(outcome.before, outcome.after)),
            "changed_by": by,
            "changed_at": now,
        }

    def _new_detail_id(self) -> str:
        return self._deps.ids.mint("det")


def difference(before: GrantRead | None, after: GrantRead) -> dict[str, Any]:
    """What a version changes: scopes and stores added and removed, and the limits and the end before and after."""
    had = before.scopes if before is not None else []
    found: dict[str, Any] = {}
    if added := sorted(set(after.scopes) - set(had)):
        found["scopes_added"] = added
    if removed := sorted(set(had) - set(after.scopes)):
        found["scopes_removed"] = removed
    if before is None:
        return found
    pairs = {
        "stores": (before.stores, after.stores),
        "authorization_details": (before.authorization_details, after.authorization_details),
        "expires_at": (_moment(before.expires_at), _moment(after.expires_at)),
        "state": (before.state, after.state),
    }
    return found | {name: {"before": old, "after": new} for name, (old, new) in pairs.items() if old != new}


def _audit(outcome: Outcome, kind: str, *, by: str) -> Audit:
    grant = outcome.after
    facts = {
        "app": grant.app_id,
        "version": grant.version,
        "scopes": grant.scopes,
        "stores": None if grant.stores is None else len(grant.stores),
        "details": [granted.id for granted in outcome.details],
    }
    return Audit(
        kind,
        by,
        grant.id,
        grant.merchant_id,
        facts,
        reason=grant.revoked_why,
        before_digest=_digest(outcome.before) if outcome.before is not None else None,
        after_digest=_digest(grant),
    )


def _digest(grant: GrantRead) -> bytes:
    return sha256(grant.model_dump_json().encode()).digest()


def _check_scopes(giving: Giving) -> None:
    for name in sorted(giving.scopes):
        scope = catalogue().get(name)
        if scope is None or not scope.is_for_apps:
            raise _refused(f"the scope {name} cannot be given to an app", f"权限范围 {name} 不能授予应用")
        if scope.is_test_only and giving.mode == "live":
            raise _refused(f"the scope {name} exists in test mode only", f"权限范围 {name} 仅限测试模式")


def _narrowed(before: GrantRead, wanted: GrantNarrow) -> GrantRead:
    """Scopes, stores and end, if each is less than before."""
    scopes = frozenset(before.scopes) if wanted.scopes is None else wanted.scopes
    stores = before.stores if wanted.stores is None else sorted(wanted.stores)
    ends = before.expires_at if wanted.expires_at is None else wanted.expires_at
    is_wider = (
        not scopes <= frozenset(before.scopes)
        or (before.stores is not None and not set(stores or ()) <= set(before.stores))
        or (before.expires_at is not None and ends is not None and ends > before.expires_at)
    )
    if is_wider:
        raise _refused("a grant can be narrowed here, not widened", "此处只能缩小授权，不能扩大")
    values = {"scopes": sorted(scopes), "stores": stores, "expires_at": ends, "version": before.version + 1}
    return before.model_copy(update=values)


def _refused(en: str, zh: str) -> Exception:
    return GRANT_REFUSED.error({"reason": Text(en=en, zh=zh)})


def _foreign_store() -> Exception:
    return _refused("a store is not the merchant's or is closed", "存在不属于该商户或已关闭的门店")


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _row(grant: GrantRead) -> dict[str, Any]:
    """The columns, as the writer wants them."""
    row = grant.model_dump()
    details = row.pop("authorization_details")
    stores = " ".join(grant.stores) if grant.stores is not None else None
    return {
        **row,
        "scopes": " ".join(grant.scopes),
        "stores": stores,
        "details": _json(details) if details else None,
    }


def _changed(before: GrantRead, after: GrantRead) -> dict[str, Any]:
    """The columns that differ, but for the version, which the writer raises."""
    old, new = _row(before), _row(after)
    return {name: value for name, value in new.items() if name != "version" and value != old[name]}


def _read(row: Row[Any]) -> GrantRead:
    columns = dict(row._mapping)
    columns["authorization_details"] = columns.pop("details") or []
    stores = row.stores.split() if row.stores is not None else None
    return GrantRead.model_validate({**columns, "scopes": row.scopes.split(), "stores": stores})

"""What the consent page shows, who may decide it, and what the decision writes.

The page can only take away: the offer is what the app asked for within the operator's ceilings, and whatever comes
back is compared with it here, whatever the form looked like when it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from platform_core.contracts.rar import Detail, Limit, type_of_scope
from platform_core.contracts.scopes import Scope, catalogue
from platform_core.identity import repository, repository_grants
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import CONSENT_REFUSED, GRANT_REFUSED
from platform_core.identity.grants import Action, Giving, GrantParts, Grants
from platform_core.identity.models import APP_SCOPES
from platform_core.identity.oauth.requests import OAUTH, AuthorizationRequest
from platform_core.identity.principal import Principal
from platform_core.identity.rar import Details, DetailsRefused, are_within
from platform_core.identity.schemas import GrantRead
from platform_core.identity.sessions import SignedIn, require_step_up
from platform_core.kernel.commit import Audit, Change, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.i18n import Text

__all__ = ["Approved", "Consent", "ConsentView", "Declined", "GrantParts"]

APPROVE: Final = "grants:approve"
# About the app itself: nobody holds them, so whoever may let apps in may give them.
OF_THE_APP: Final = frozenset({"openid", "grant_management_query", "grant_management_revoke", "testbed:write"})
Group = Literal["see", "change", "money", "send"]


@dataclass(frozen=True, slots=True)
class Approved:
    """The app may do this. `stores` None: every store; `details` as the person left them, JSON as in RFC 9396."""

    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: tuple[dict[str, Any], ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Declined:
    """The app may not."""


@dataclass(frozen=True, slots=True)
class ScopeLine:
    """One scope on the page. `purpose`: the app's words, not ours."""

    scope: Scope
    group: Group
    is_optional: bool
    is_new: bool
    may_give: bool
    purpose: Text | None

    @property
    def name(self) -> str:
        """The scope's name."""
        return self.scope.name


@dataclass(frozen=True, slots=True)
class LimitField:
    """One limit that can be lowered: its place in the offer, and what the grant has now."""

    detail: int
    place: int
    limit: Limit
    before: int | None

    @property
    def name(self) -> str:
        """The form's field."""
        return f"limit.{self.detail}.{self.place}"


@dataclass(frozen=True, slots=True)
class DetailView:
    """One detail of the offer with its limits; `needs`: the scopes that bring it."""

    detail: Detail
    needs: frozenset[str]
    fields: tuple[LimitField, ...]


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """A store that the person may give."""

    id: str
    name: str
    is_given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentView:
    """Everything that the page says. `hindrance`: why this person cannot approve."""

    app_name: str
    publisher: str
    is_publisher_verified: bool
    tier: str | None
    is_own_app: bool
    mode: str
    merchant_name: str
    lines: tuple[ScopeLine, ...]
    removed: tuple[Scope, ...]
    details: tuple[DetailView, ...]
    stores: tuple[StoreChoice, ...]
    may_give_all_stores: bool
    is_all_stores: bool
    has_grant: bool
    needs_step_up: bool
    redirect_host: str
    hindrance: Text | None


@dataclass(frozen=True, slots=True)
class ScopeWish:
    """What an app says of one scope that it asks for."""

    scope: str
    is_optional: bool = False
    purpose: Text | None = None


class Consent:
    """Decides nothing by itself: shows, checks who may give what, and makes the parts of the plan."""

    def __init__(self, deps: IdentityDeps, grants: Grants) -> None:
        self._deps = deps
        self._grants = grants

    async def view(self, request: AuthorizationRequest, who: SignedIn) -> ConsentView:
        """What the page shows this person. 422 `identity.grant_refused` for a request that nobody can approve."""
        merchant_id = _merchant(who)
        async with self._deps.database.read_auth() as connection:
            app = await repository.read_app(connection, request.app_id)
            merchant = await repository.read_merchant(connection, merchant_id)
            is_own = app is not None and app.merchant_id == merchant_id
            isv = await repository.read_isv(connection, app.isv_id) if app is not None and app.isv_id else None
            wishes = await repository_grants.read_app_scopes(connection, request.app_id)
            stores = await repository.list_stores(
                connection, merchant_id=merchant_id, only=who.stores, after=None, limit=200
            )
        if app is None or merchant is None or merchant.mode != request.mode or not (is_own or isv is not None):
            raise _refused("the app and the business do not fit together", "应用与商户不匹配")
        before = await self._grants.active_of(request.app_id, merchant_id)
        offer = self._offer(request.scopes, _details(request.details), is_own=is_own)
        had = frozenset(before.scopes) if before is not None else frozenset()
        said = {wish.scope: wish for wish in wishes}
        lines = tuple(_line(catalogue()[name], said.get(name), who, had) for name in sorted(request.scopes))
        is_replaced = request.grant_management_action == "replace"
        return ConsentView(
            app_name=app.name,
            publisher=isv.name if isv is not None else merchant.name,
            is_publisher_verified=(isv or merchant).verification == "verified",
            tier=isv.tier if isv is not None else None,
            is_own_app=is_own,
            mode=request.mode,
            merchant_name=merchant.name,
            lines=tuple(sorted(lines, key=lambda line: (_ORDER.index(line.group), line.name))),
            removed=tuple(catalogue()[name] for name in sorted(had - request.scopes)) if is_replaced else (),
            details=_detail_views(offer, request.scopes, before),
            stores=tuple(StoreChoice(row.id, row.name, _had_store(before, row.id)) for row in stores),
            may_give_all_stores=who.stores is None,
            is_all_stores=before is None or before.stores is None,
            has_grant=before is not None,
            needs_step_up=any(line.scope.needs_step_up for line in lines if not line.is_optional),
            redirect_host=_host(request.redirect_uri),
            hindrance=_hindrance(who, lines),
        )

    async def grant_parts(self, request: AuthorizationRequest, who: SignedIn, approved: Approved) -> GrantParts:
        """The grant that the decision makes, for the plan that also makes the code.

        403 `identity.consent_refused`: the person may not let apps in, or does not hold what is given; 401
        `identity.step_up_required`; 422 `identity.grant_refused`: more than was asked for, in scopes or in limits.
        """
        merchant_id = _merchant(who)
        check_giver(who, scopes=approved.scopes, stores=approved.stores)
        if not approved.scopes or not approved.scopes <= request.scopes:
            raise _refused("more is given than the app asked for", "授予的权限超出应用的申请")
        async with self._deps.database.read_auth() as connection:
            app = await repository.read_app(connection, request.app_id)
        is_own = app is not None and app.merchant_id == merchant_id
        details = self._given_details(request, approved, is_own=is_own)
        action: Action = "replace" if request.grant_management_action == "replace" else "merge"
        before = await self._grants.active_of(request.app_id, merchant_id)
        if request.grant_id is not None and (before is None or before.id != request.grant_id):
            raise _refused("the app named another grant than it has", "应用指定的授权与现有授权不一致")
        is_marked = any(catalogue()[name].needs_step_up for name in approved.scopes)
        if is_marked or _raises(before, details):
            require_step_up(who, self._deps.clock.now())
        return await self._grants.give(
            Giving(
                app_id=request.app_id,
                merchant_id=merchant_id,
                mode=request.mode,
                scopes=approved.scopes,
                stores=approved.stores,
                details=details,
                expires_at=approved.expires_at,
                by=who.person_id,
                action=action,
                is_gateway=request.door != OAUTH,
            )
        )

    async def declare_scopes(self, app_id: str, wishes: Sequence[ScopeWish], *, by: str = PLATFORM) -> None:
        """What an app says of the scopes that it will ask for; said again, the new words stand.

        422 `identity.grant_refused` for a scope that no app can be given.
        """
        async with self._deps.database.read_auth() as connection:
            app = await repository.read_app(connection, app_id)
            known = {row.id for row in await repository_grants.read_app_scopes(connection, app_id)}
        if app is None:
            raise _refused("there is no such app", "应用不存在")
        plan = Plan(app.merchant_id)
        for wish in wishes:
            scope = catalogue().get(wish.scope)
            if scope is None or not scope.is_for_apps:
                raise _refused(f"the scope {wish.scope} cannot be given to an app", f"权限 {wish.scope} 不能授予应用")
            said = {
                "is_optional": wish.is_optional,
                "purpose_en": wish.purpose.en if wish.purpose is not None else None,
                "purpose_zh": wish.purpose.zh if wish.purpose is not None else None,
            }
            id_ = f"{app_id}:{wish.scope}"
            row = {"id": id_, "app_id": app_id, "merchant_id": app.merchant_id, "scope": wish.scope, **said}
            plan.add(Change(APP_SCOPES, id_, said) if id_ in known else Insert(APP_SCOPES, row))
        names = sorted(wish.scope for wish in wishes)
        plan.add(Audit("app.scopes_declared", by, app_id, app.merchant_id, {"scopes": names}))
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):
                raise
            await self.declare_scopes(app_id, wishes, by=by)  # somebody was faster: change what they wrote

    def _offer(self, scopes: Iterable[str], wanted: Details, *, is_own: bool) -> Details:
        """What can be given at most: the wish, completed by the operator's defaults and held under the ceilings.

        A detail of a type whose scope was not asked for allows nothing, and is left out.
        """
        scopes = frozenset(scopes)
        wanted = tuple(detail for detail in wanted if not scopes.isdisjoint(detail.kind.scopes))
        if is_own:
            return wanted  # a merchant's own app has the limits that it asks for
        try:
            return self._grants.policy.complete(scopes, wanted)
        except DetailsRefused as refused:
            raise _refused(str(refused), refused.zh) from refused

    def _given_details(self, request: AuthorizationRequest, approved: Approved, *, is_own: bool) -> Details:
        """The details that were left on the page, none above the offer (A17)."""
        offer = self._offer(request.scopes, _details(request.details), is_own=is_own)
        needed = {type_of_scope()[name].name for name in approved.scopes if catalogue()[name].is_metered}
        offered = tuple(detail for detail in offer if detail.type in needed)
        if not approved.details:
            return offered
        given = tuple(detail for detail in _details(approved.details) if detail.type in needed)
        if not are_within(given, offered):
            raise _refused("a limit is above what was offered", "限额高于可授予的范围")
        if {detail.type for detail in given} != {detail.type for detail in offered}:
            raise _refused("a metered scope keeps its limits", "计量权限必须保留限额")
        return given


def _merchant(who: SignedIn) -> str:
    if who.merchant_id is None:
        raise CONSENT_REFUSED.error(
            {"reason": Text(en="Only the staff of a business lets apps in.", zh="只有商户员工可以批准应用授权。")}
        )
    return who.merchant_id


def check_giver(who: SignedIn | Principal, *, scopes: frozenset[str], stores: frozenset[str] | None) -> None:
    """Nobody gives what he does not hold (A18). 403 `identity.consent_refused`."""
    if APPROVE not in who.scopes:
        raise CONSENT_REFUSED.error({"reason": _MAY_NOT_APPROVE})
    missing = sorted(name for name in scopes if not _holds(who, name))
    if missing:
        raise CONSENT_REFUSED.error({"reason": _lacks(missing)})
    if who.stores is not None and (stores is None or not stores <= who.stores):
        raise CONSENT_REFUSED.error(
            {"reason": Text(en="You can give only stores of your own.", zh="您只能授予自己负责的门店。")}
        )


def _holds(who: SignedIn | Principal, name: str) -> bool:
    return name in who.scopes or name in OF_THE_APP


_MAY_NOT_APPROVE: Final = Text(en="Letting apps in is not part of your role.", zh="您的角色不包含批准应用授权的权限。")


def _lacks(names: Sequence[str]) -> Text:
    en = ", ".join(catalogue()[name].text.en for name in names)
    zh = "、".join(catalogue()[name].text.zh for name in names)
    return Text(en=f"You do not hold yourself: {en}.", zh=f"您自己没有以下权限：{zh}。")


def _hindrance(who: SignedIn, lines: Sequence[ScopeLine]) -> Text | None:
    if APPROVE not in who.scopes:
        return _MAY_NOT_APPROVE
    missing = [line.name for line in lines if not line.may_give and not line.is_optional]
    return _lacks(missing) if missing else None


_ORDER: Final[tuple[Group, ...]] = ("money", "change", "send", "see")
_VERBS_OF_SEEING: Final = frozenset({"read", "validate", "quote"})


def _group(scope: Scope) -> Group:
    """Money first: what a scope does in the reader's words."""
    resource, _, verb = scope.name.partition(":")
    if resource == "messages" and verb == "send":
        return "send"
    if scope.is_metered and scope.needs_step_up:
        return "money"
    return "see" if verb in _VERBS_OF_SEEING or not verb else "change"


def _line(scope: Scope, wish: Any, who: SignedIn, had: frozenset[str]) -> ScopeLine:  # Any: a row
    purpose = None
    if wish is not None and wish.purpose_en is not None:
        purpose = Text(en=_plain(wish.purpose_en), zh=_plain(wish.purpose_zh))
    return ScopeLine(
        scope=scope,
        group=_group(scope),
        is_optional=wish is not None and wish.is_optional,
        is_new=scope.name not in had,
        may_give=_holds(who, scope.name),
        purpose=purpose,
    )


def _plain(words: str) -> str:
    """A stranger's words hold no places for values."""
    return words.replace("{", "(").replace("}", ")")


def _detail_views(offer: Details, scopes: frozenset[str], before: GrantRead | None) -> tuple[DetailView, ...]:
    present = {detail.shape: detail for detail in _details(_without_ids(before))} if before is not None else {}
    views = []
    for number, detail in enumerate(offer):
        old = present.get(detail.shape)
        fields = []
        for place, limit in enumerate(detail.limits):
            known = old.limit(limit.key) if old is not None else None
            fields.append(LimitField(number, place, limit, known.value if known is not None else None))
        views.append(DetailView(detail, frozenset(detail.kind.scopes) & scopes, tuple(fields)))
    return tuple(views)


def _without_ids(grant: GrantRead) -> list[dict[str, Any]]:
    return [{n: v for n, v in detail.items() if n != "id"} for detail in grant.authorization_details]


def _raises(before: GrantRead | None, details: Details) -> bool:
    """Whether a limit is higher than what the grant has, or new beside others of its type."""
    if before is None:
        return False
    return not are_within(details, _details(_without_ids(before)))


def _had_store(before: GrantRead | None, store_id: str) -> bool:
    return before is not None and before.stores is not None and store_id in before.stores


def _details(found: Sequence[Mapping[str, Any]]) -> Details:
    try:
        return tuple(Detail.model_validate(dict(detail)) for detail in found)
    except ValidationError as error:
        raise _refused("a detail is not one that can be given", "授权明细无效") from error


def _host(address: str) -> str:
    return address.partition("://")[2].partition("/")[0]


def _refused(en: str, zh: str) -> Exception:
    return GRANT_REFUSED.error({"reason": Text(en=_plain(en), zh=_plain(zh))})

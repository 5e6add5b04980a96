"""Roles as data: what each lets a person do. A role is a set of scopes; the membership adds the stores.

Whoever holds a role that may move money, or that decides about people and keys, signs in with a second factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Final

from platform_core.contracts.scopes import catalogue
from platform_core.identity.models_people import PartyKind
from platform_core.kernel.i18n import Text

PLATFORM_TERM: Final = timedelta(days=90)
"""How long a place on the operator's staff lasts unless it is renewed (governance)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a person may do for a party. `is_in_charge`: the party must keep at least one such person."""

    name: str
    text: Text
    scopes: frozenset[str]
    needs_second_factor: bool
    is_in_charge: bool = False
    is_store_bound: bool = False
    never_with: frozenset[str] = frozenset()


_OF_APPS_ALONE: Final = frozenset(
    {"openid", "grant_management_query", "grant_management_revoke", "introspect:any", "testbed:write"}
)
_OF_ISVS: Final = frozenset({"plugins:submit", "incentives:read", "invoices:validate"})
_OF_THE_OPERATOR: Final = frozenset({"plugins.releases:review", "plugins.switches:write"})
_STORE_FLOOR: Final = (
    "merchant:read stores:read payments:read payments:write refunds:read baskets:read members:read coupons:read "
    "coupons:redeem points:read points:spend benefits:write titles:redeem invoices:request"
)
_MANAGER: Final = (
    f"{_STORE_FLOOR} refunds:write stores:write ledger.summary:read disputes:read members:write consents:write "
    "coupons:claim invoices:read messages:read risk:read"
)
_MARKETER: Final = (
    "merchant:read stores:read programmes:write members:read members:write consents:write points:read points:write "
    "rewards:write tags:read tags:write tags:manage activities:write messages:read messages:send coupons:read "
    "coupons:issue coupons:claim campaigns:read campaigns:write funders:read ledger.summary:read packs:read"
)
_FINANCE: Final = (
    "merchant:read stores:read payments:read payments.payer:read refunds:read refunds:write splits:write "
    "disputes:read disputes:write exports:read ledger:read ledger.summary:read payouts:write "
    "payout_destinations:read invoices:read invoices.buyer:read invoices:request invoices:correct invoices:deliver "
    "titles:read reimbursements:read reimbursements:write sellers:read sellers:write funders:read financing:read "
    "financing.credit:read financing:quote financing:repay funds:read risk:read risk.cases:write cases:read"
)
_DEVELOPER: Final = "merchant:read stores:read apps:read apps:write apps.keys:write plugins:read packs:read"
_ISV_DEVELOPER: Final = "apps:read apps:write apps.keys:write plugins:submit plugins:read webhooks:read"


def _named(scopes: str) -> frozenset[str]:
    return frozenset(scopes.split())


@cache
def _merchants_own() -> frozenset[str]:
    """Everything that a person may do for a merchant."""
    return frozenset(catalogue()) - _OF_APPS_ALONE - _OF_ISVS - _OF_THE_OPERATOR


@cache
def roles() -> Mapping[PartyKind, Mapping[str, Role]]:
    """Every role by kind of party and name. Raises ValueError for a role that names a scope nobody declares."""
    found = {
        "merchant": _by_name(_merchant_roles()),
        "isv": _by_name(_isv_roles()),
        "platform": _by_name(_platform_roles()),
    }
    for kind, named in found.items():
        for role in named.values():
            unknown = role.scopes - catalogue().keys()
            if unknown:
                raise ValueError(f"the role {kind}/{role.name} names unknown scopes: {sorted(unknown)}")
    return MappingProxyType(found)  # type: ignore[arg-type]  # the literal's keys are the kinds


def _by_name(listed: Iterable[Role]) -> Mapping[str, Role]:
    return MappingProxyType({role.name: role for role in listed})


def _merchant_roles() -> Sequence[Role]:
    own = _merchants_own()
    reads = frozenset(name for name in own if name.endswith(":read")) - {"customers:read"}
    of_owner_alone = {"payout_destinations:write", "financing:apply", "financing:draw", "members:erase"}
    return (
        Role(
            name="owner",
            text=Text(en="Owner", zh="所有者"),
            scopes=own,
            needs_second_factor=True,
            is_in_charge=True,
        ),
        Role(
            name="administrator",
            text=Text(en="Administrator", zh="管理员"),
            scopes=own - of_owner_alone,
            needs_second_factor=True,
        ),
        Role(
            name="manager",
            text=Text(en="Store manager", zh="店长"),
            scopes=_named(_MANAGER),
            needs_second_factor=True,
            is_store_bound=True,
        ),
        Role(
            name="cashier",
            text=Text(en="Cashier", zh="收银员"),
            scopes=_named(_STORE_FLOOR),
            needs_second_factor=False,
            is_store_bound=True,
        ),
        Role(
            name="marketer",
            text=Text(en="Marketer", zh="营销人员"),
            scopes=_named(_MARKETER),
            needs_second_factor=True,
        ),
        Role(name="finance", text=Text(en="Finance", zh="财务"), scopes=_named(_FINANCE), needs_second_factor=True),
        Role(
            name="developer",
            text=Text(en="Developer", zh="开发者"),
            scopes=_named(_DEVELOPER),
            needs_second_factor=True,
        ),
        Role(
            name="auditor",
            text=Text(en="Auditor (reads)", zh="审计（只读）"),
            scopes=reads,
            needs_second_factor=True,
        ),
    )


def _isv_roles() -> Sequence[Role]:
    everything = _named(f"{_ISV_DEVELOPER} staff:read staff:write incentives:read cases:read cases:write")
    return (
        Role(
            name="owner",
            text=Text(en="Owner", zh="所有者"),
            scopes=everything,
            needs_second_factor=True,
            is_in_charge=True,
        ),
        Role(
            name="developer",
            text=Text(en="Developer", zh="开发者"),
            scopes=_named(_ISV_DEVELOPER),
            needs_second_factor=True,
        ),
        Role(
            name="support",
            text=Text(en="Support", zh="技术支持"),
            scopes=_named("apps:read plugins:read webhooks:read cases:read"),
            needs_second_factor=False,
        ),
        Role(
            name="finance",
            text=Text(en="Finance", zh="财务"),
            scopes=_named("apps:read incentives:read"),
            needs_second_factor=False,
        ),
    )


def _platform_roles() -> Sequence[Role]:
    """Governance section 9. What most of them do has no operation yet; who they are is fixed here."""

    def staff(name: str, text: Text, scopes: str = "", never_with: str = "") -> Role:
        return Role(
            name=name,
            text=text,
            scopes=_named(scopes),
            needs_second_factor=True,
            is_in_charge=name == "security_admin",
            never_with=_named(never_with),
        )

    return (
        staff("support", Text(en="Support", zh="客服支持")),
        staff("onboarding", Text(en="Onboarding", zh="商户准入")),
        staff("reviewer", Text(en="Reviewer", zh="审核员"), "plugins.releases:review"),
        staff("policy", Text(en="Policy", zh="规则管理"), never_with="case_officer"),
        staff("case_officer", Text(en="Case officer", zh="案件专员"), never_with="policy"),
        staff("appeals", Text(en="Appeals", zh="申诉处理")),
        staff("ops", Text(en="Operations", zh="运维"), "plugins.switches:write", never_with="finance"),
        staff("finance", Text(en="Finance", zh="财务"), never_with="ops"),
        staff("auditor", Text(en="Auditor", zh="审计"), "staff:read"),
        staff("security_admin", Text(en="Security administrator", zh="安全管理员"), "staff:read staff:write"),
    )


def scopes_of(kind: PartyKind, names: Iterable[str]) -> frozenset[str]:
    """What the roles together allow; a name that is no role any more allows nothing."""
    known = roles()[kind]
    found: set[str] = set()
    for name in names:
        if name in known:
            found |= known[name].scopes
    return frozenset(found)


def needs_second_factor(kind: PartyKind, names: Iterable[str]) -> bool:
    """Whether one of the roles does."""
    known = roles()[kind]
    return any(known[name].needs_second_factor for name in names if name in known)

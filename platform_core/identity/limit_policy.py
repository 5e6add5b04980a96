"""The operator's word on limits: what a grant gets where the app names none, and what none may pass.

How much money is much is said for each currency (setting `money_limits`); counts and points have constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from platform_core.contracts.rar import (
    LIMITS_MAX,
    Detail,
    DetailType,
    Limit,
    LimitKey,
    Measure,
    Period,
    detail_types,
    type_of_scope,
)
from platform_core.contracts.scopes import catalogue
from platform_core.identity.rar import Details, DetailsRefused, by_period
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import Money
from platform_core.kernel.settings import OTHER_TYPES, SHIPPED_MONEY_LIMITS, MoneyLimits, variable_of

MONEY: Final[frozenset[Measure]] = frozenset({"amount", "face_amount"})
SETTING: Final = variable_of("money_limits")
COUNT_DEFAULT, COUNT_CEILING = 1_000, 1_000_000
POINTS_DEFAULT, POINTS_CEILING = 100_000, 1_000_000_000
_MORE_DEFAULTS: Final[Mapping[str, int]] = {"payment_create": 10_000}  # counted beside the money


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """Defaults and ceilings by type, and the currencies in which each type's amounts may be limited.

    A currency without a ceiling cannot be granted: nobody has said how much is much there. An owner's grant is not
    asked.
    """

    defaults: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    ceilings: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    currencies: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def complete(self, scopes: Iterable[str], wanted: Sequence[Detail]) -> Details:
        """The details of a grant of these scopes: each metered scope has limits, none passes its ceiling.

        A detail without a scope that it limits is refused; a metered scope without a detail gets the default; a limit
        that the ceiling knows and a lone detail of its type leaves out is the ceiling, in the currencies that the
        detail names, or in all if it names none. Raises `DetailsRefused`.
        """
        given = frozenset(scopes)
        kinds = {type_of_scope()[name] for name in given if catalogue()[name].is_metered}
        for detail in wanted:
            if detail.kind not in kinds:
                raise DetailsRefused("A detail limits nothing that the scopes allow.")
        found: list[Detail] = []
        for kind in sorted(kinds, key=lambda kind: kind.name):
            of_kind = [detail for detail in wanted if detail.type == kind.name]
            if not of_kind:
                of_kind = [Detail(type=kind.name, limits=self.defaults.get(kind.name, ()))]
            found += self._under_ceilings(kind, of_kind)
        return tuple(found)

    def _under_ceilings(self, kind: DetailType, details: Sequence[Detail]) -> list[Detail]:
        ceilings = {limit.key: limit for limit in self.ceilings.get(kind.name, ())}
        offered = self.currencies.get(kind.name, frozenset())
        if (_leads_with_money(kind) and not offered) or any(not _currencies(detail) <= offered for detail in details):
            raise _no_ceiling()
        if len(details) == 1:
            details = [_with_missing(details[0], ceilings.values())]
        if any(not detail.limits for detail in details):
            raise DetailsRefused("A metered detail names its limits.")
        for key, ceiling in ceilings.items():
            if sum(_value(detail, key) for detail in details if _concerns(detail, key)) > ceiling.value:
                raise DetailsRefused("The limits of a type pass what the operator allows.")
        return list(details)


def limit_policy(money: Mapping[str, Mapping[str, MoneyLimits]]) -> LimitPolicy:
    """The policy that the setting `money_limits` describes. Raises ValueError, naming the setting, for what cannot be:
    an unknown currency, a type that counts no money, more than a detail may hold.
    """
    kinds = detail_types()
    for currency, of_types in money.items():
        try:
            Money(0, currency)
        except PlatformError as error:
            raise ValueError(f"{SETTING}: {currency} is no currency of ISO 4217") from error
        for name in of_types.keys() - {OTHER_TYPES}:
            if name not in kinds or not MONEY & set(kinds[name].measures):
                raise ValueError(f"{SETTING}: {currency} limits {name}, which is no type that counts money")
    defaults: dict[str, tuple[Limit, ...]] = {}
    ceilings: dict[str, tuple[Limit, ...]] = {}
    currencies: dict[str, frozenset[str]] = {}
    for kind in kinds.values():
        own = {
            c: found for c, of_types in money.items() if (found := of_types.get(kind.name, of_types.get(OTHER_TYPES)))
        }
        currencies[kind.name] = frozenset(own)
        defaults[kind.name], ceilings[kind.name] = _limits_of(kind, own)
        if max(len(defaults[kind.name]), len(ceilings[kind.name])) > LIMITS_MAX:
            raise ValueError(f"{SETTING}: a detail holds at most {LIMITS_MAX} limits; {kind.name} would have more")
    return LimitPolicy(defaults, ceilings, currencies)


def shipped_policy() -> LimitPolicy:
    """What holds until an operator says otherwise, in yuan: modest by default, generous as a ceiling."""
    return limit_policy(SHIPPED_MONEY_LIMITS)


def _limits_of(kind: DetailType, own: Mapping[str, MoneyLimits]) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
    """Defaults and ceilings of a type, by its first measure: the one that hurts."""
    measure = kind.measures[0]
    if measure not in MONEY:
        is_points = measure == "points"
        default = _limit("day", **{measure: POINTS_DEFAULT if is_points else COUNT_DEFAULT})
        return (default,), (_limit("day", **{measure: POINTS_CEILING if is_points else COUNT_CEILING}),)
    name = f"{measure}_minor"
    defaults = [
        _limit(per, **{name: value}, currency=currency)
        for currency, limits in own.items()
        for per, value in (("request", limits.request_minor), ("day", limits.day_minor))
        if value is not None
    ]
    if own and kind.name in _MORE_DEFAULTS:
        defaults.append(_limit("day", quantity=_MORE_DEFAULTS[kind.name]))
    ceilings = [_limit("day", **{name: limits.ceiling_minor}, currency=c) for c, limits in own.items()]
    return by_period(defaults), by_period(ceilings)


def _limit(per: Period | str, **value: Any) -> Limit:  # Any: the measure's own type
    return Limit.model_validate({"per": per, **value})


def _leads_with_money(kind: DetailType) -> bool:
    return kind.measures[0] in MONEY


def _currencies(detail: Detail) -> frozenset[str]:
    return frozenset(limit.currency for limit in detail.limits if limit.currency is not None)


def _concerns(detail: Detail, key: LimitKey) -> bool:
    """Whether acts under the detail count on a ceiling: not on one of a currency that the detail leaves out."""
    named = _currencies(detail)
    return key.currency is None or not named or key.currency in named


def _with_missing(detail: Detail, ceilings: Iterable[Limit]) -> Detail:
    missing = [c for c in ceilings if detail.limit(c.key) is None and _concerns(detail, c.key)]
    if len(detail.limits) + len(missing) > LIMITS_MAX:
        raise DetailsRefused("The detail has too many limits beside those that the operator sets.")
    return detail.model_copy(update={"limits": by_period([*detail.limits, *missing])})


def _value(detail: Detail, key: LimitKey) -> int:
    limit = detail.limit(key)
    if limit is None:
        raise DetailsRefused("Each of several details of a type names every limit that the operator sets.")
    return limit.value


def _no_ceiling() -> DetailsRefused:
    return DetailsRefused(
        f"Limits in this currency are not offered: the operator has set no ceiling for it ({SETTING}).",
        zh=f"该币种不提供限额：平台运营方尚未设置其上限（{SETTING}）。",
    )

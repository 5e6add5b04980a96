"""Who is to be asked at one merchant for one hook, prepared once for as long as nothing changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from platform_core.contracts.fields import Cut
from platform_core.contracts.runtime import Binding, Fault, FaultKind
from platform_core.plugin_host.answers import Answer, unasked
from platform_core.plugin_host.breakers import Breaker, Breakers
from platform_core.plugin_host.installed import Enabled, HookPolicy, MerchantPlugins
from platform_core.plugin_host.majors import Family, Major
from platform_core.plugin_host.members import Key, Member, cut_of
from platform_core.plugin_host.registry import Registry

_CREWS_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seat:
    """One plugin of one merchant at one hook."""

    enabled: Enabled
    member: Member
    major: Major
    binding: Binding
    cut: Cut
    fields: tuple[str, ...]
    breaker: Breaker
    breaker_key: tuple[str, str]
    deadline_ms: int
    deadline_s: float

    def answer(self, *, call_id: str = "", fault: Fault | None = None) -> Answer:
        """An answer of this plugin, to be filled in."""
        release = self.enabled.release
        return Answer(
            plugin_id=release.plugin_id,
            version=release.version,
            tier=release.tier,
            hook=self.major.spec.name,
            call_id=call_id,
            deadline_ms=self.deadline_ms,
            fault=fault,
            is_dry_run=self.enabled.is_dry_run,
            fields=self.fields,
            withheld=self.cut.withheld,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crew:
    """All plugins of one merchant that implement a hook, in the operator's order."""

    family: Family
    order: tuple[Key, ...]
    seats: Mapping[Key, Seat]
    missing: Mapping[Key, Answer]
    """Enabled, but not in this generation: their answers."""
    callers: tuple[tuple[Major, Any], ...]  # Any: pluggy's callers are untyped
    """One pluggy call for each major that is spoken."""
    policy: HookPolicy

    def single(self, registry: Registry, key: Key) -> Any:  # Any: pluggy's callers are untyped
        """The caller of one plugin alone."""
        return registry.single_caller(self.seats[key].major.spec.name, key)


class Crews:
    """The crews of one generation. A crew is kept while the merchant's set of plugins is the same object."""

    def __init__(self, registry: Registry, breakers: Breakers) -> None:
        self.registry = registry
        self._breakers = breakers
        self._kept: OrderedDict[tuple[str, str], tuple[MerchantPlugins, Crew | None]] = OrderedDict()

    def of(self, family: Family, plugins: MerchantPlugins) -> Crew | None:
        """Who is asked; None when nobody is."""
        if not plugins.plugins and not plugins.suspended:
            return None
        key = (plugins.merchant_id, family.name)
        kept = self._kept.get(key)
        if kept is not None and kept[0] is plugins:
            self._kept.move_to_end(key)
            return kept[1]
        crew = self._assembled(family, plugins)
        self._kept[key] = (plugins, crew)
        if len(self._kept) > _CREWS_MAX:
            self._kept.popitem(last=False)
        return crew

    def _assembled(self, family: Family, plugins: MerchantPlugins) -> Crew | None:
        order: list[Key] = []
        seats: dict[Key, Seat] = {}
        missing: dict[Key, Answer] = {}
        for enabled in plugins.plugins:
            key = enabled.release.key
            major = family.of({use.name for use in enabled.release.manifest.hooks})
            if major is None:
                continue
            order.append(key)
            member = self.registry.member(key)
            if member is None:
                fault = Fault(FaultKind.UNAVAILABLE, "this version is not loaded here")
                missing[key] = unasked(enabled, major.spec.name, fault)
            else:
                seats[key] = self._seat(enabled, member, major, plugins)
        if family.newest.kind == "check":
            for enabled in plugins.suspended:
                stopped = _stopped(enabled, family)
                if stopped is not None and enabled.release.key not in seats:
                    order.append(enabled.release.key)
                    missing[enabled.release.key] = stopped
        if not order:
            return None
        return Crew(
            family=family,
            order=tuple(order),
            seats=MappingProxyType(seats),
            missing=MappingProxyType(missing),
            callers=self._callers(seats, plugins.digest),
            policy=plugins.policy,
        )

    def _callers(self, seats: Mapping[Key, Seat], digest: str) -> tuple[tuple[Major, Any], ...]:
        by_major: dict[str, tuple[Major, list[Key]]] = {}
        for key, seat in seats.items():
            by_major.setdefault(seat.major.spec.name, (seat.major, []))[1].append(key)
        return tuple(
            (major, self.registry.caller(name, digest=digest, keys=keys)) for name, (major, keys) in by_major.items()
        )

    def _seat(self, enabled: Enabled, member: Member, major: Major, plugins: MerchantPlugins) -> Seat:
        spec, release = major.spec, enabled.release
        use = member.use_of(spec.name)
        assert use is not None, f"{release.plugin_id} {release.version} has {spec.name} in its manifest"
        deadline_ms = min(spec.rule.each_ms, use.deadline_ms or spec.rule.each_ms)
        return Seat(
            enabled=enabled,
            member=member,
            major=major,
            binding=Binding(
                plugin_id=release.plugin_id,
                version=release.version,
                merchant_id=plugins.merchant_id,
                mode=plugins.mode,
                locale=plugins.locale,
                revision=enabled.revision,
                config=enabled.config,
            ),
            cut=cut_of(spec, fields=use.fields, granted=enabled.scopes),
            fields=use.fields,
            breaker=self._breakers.of(release.plugin_id, spec.name),
            breaker_key=(release.plugin_id, spec.name),
            deadline_ms=deadline_ms,
            deadline_s=deadline_ms / 1000,
        )


def _stopped(enabled: Enabled, family: Family) -> Answer | None:
    """What a suspended plugin counts as at a hook that it implements."""
    major = family.of({use.name for use in enabled.release.manifest.hooks})
    if major is None:
        return None
    return unasked(enabled, major.spec.name, Fault(FaultKind.UNAVAILABLE, "it is suspended"))

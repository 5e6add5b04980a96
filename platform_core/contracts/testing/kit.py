"""The contract kit: what every plugin must do on every golden fixture (plugins.md section 11).

`run_kit` names each broken rule with hook and fixture; `PluginSuite` makes a test of each rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from platform_core.contracts import catalogue
from platform_core.contracts.fields import Cut, paths_of
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.testing.bounds import BOUNDS
from platform_core.contracts.testing.egress import Outside, Request, nothing_outside
from platform_core.contracts.testing.fixtures import Fixture, fixtures_of
from platform_core.contracts.testing.host import Capability, FakeHost
from platform_core.contracts.testing.loaded import LoadedPlugin
from platform_core.contracts.testing.provider_kit import provider_faults
from platform_core.contracts.testing.running import InProcess, Runner

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "KIT-01": "Every fixture gets a valid answer within the host's bounds.",
        "KIT-02": "A field that a newer host adds changes no answer.",
        "KIT-03": "With any declared scope withheld, the answer is still a valid one.",
        "KIT-04": "A deciding hook gives the same answer to the same question.",
        "KIT-05": "An event that comes twice has one effect.",
        "KIT-06": "Providers tell success, failure and unknown apart, and repeat nothing that a key has done.",
        "KIT-07": "What one version stored, the version before and the one after can read.",
        "KIT-08": "The answer is the same wherever the plugin runs.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the plugin under test finds around it."""

    config: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON by the plugin's own schema
    secrets: Mapping[str, bytes | tuple[bytes, ...]] = field(default_factory=dict)
    outside: Outside = nothing_outside
    capabilities: Mapping[str, Capability] = field(default_factory=dict)
    previous: LoadedPlugin | None = None
    """The version before, where there is one."""
    runner: Runner = field(default_factory=InProcess)
    """Where it runs."""
    elsewhere: Runner | None = None
    """Where else it runs; the answers are compared with those in process."""

    def host(self, plugin: LoadedPlugin, fixture: Fixture) -> FakeHost:
        """A fresh host at the moment of the fixture."""
        return FakeHost(
            plugin.manifest,
            config=self.config,
            secrets=self.secrets,
            outside=self.outside,
            capabilities=self.capabilities,
            now=fixture.now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One rule that one fixture found broken."""

    rule: str
    hook: str
    fixture: str
    said: str

    def __str__(self) -> str:
        return f"{self.rule} {self.fixture}: {self.said} ({RULES[self.rule]})"


@dataclass(frozen=True, slots=True)
class _Case:
    """One hook on one fixture."""

    plugin: LoadedPlugin
    setup: Setup
    hook: HookSpec
    fixture: Fixture

    def broken(self, rule: str, said: str) -> Broken:
        return Broken(rule=rule, hook=self.hook.name, fixture=self.fixture.name, said=said)

    def json(self, without: frozenset[str] = frozenset()) -> bytes:
        """The payload as it is sent to this plugin, with these scopes withheld."""
        assert self.hook.payload is not None, self.hook.name
        assert self.fixture.payload is not None, self.fixture.name
        use = self.plugin.manifest.hook(self.hook.name)
        fields = () if use is None else use.fields
        granted = self.plugin.manifest.scope_names - without
        cut = Cut(self.hook.payload, fields=fields, base=self.hook.scope, granted=granted)
        return cut.apply(self.fixture.payload).model_dump_json().encode()

    def call(self, host: FakeHost, json: bytes, runner: Runner | None = None) -> Any:
        """The answer. Raises whatever the plugin raises."""
        told = self.fixture.context
        ctx = host.context(
            self.hook,
            merchant_id=told.merchant_id,
            store_id=told.store_id,
            mode=told.mode,
            locale=told.locale,
            idempotency_key=told.idempotency_key,
        )
        return (runner or self.setup.runner).call(self.plugin, self.hook, ctx=ctx, json=json)

    def fault(self, json: bytes) -> str | None:
        """What is wrong with the answer to a fresh host; None: nothing."""
        try:
            answer = self.call(self.setup.host(self.plugin, self.fixture), json)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is told as its fault
            return f"{type(error).__name__}: {error}"
        bounds = BOUNDS.get(self.hook.name)
        assert self.fixture.payload is not None, self.fixture.name
        return None if bounds is None else bounds(self.fixture.payload, answer)


def run_kit(plugin: LoadedPlugin, setup: Setup | None = None, *, rules: frozenset[str] | None = None) -> list[Broken]:
    """Everything that is broken, by rule; of `rules` alone when given. Takes as long as the plugin does."""
    around = Setup() if setup is None else setup
    wanted = RULES.keys() if rules is None else rules
    found: list[Broken] = []
    for rule, check in _CHECKS.items():
        if rule in wanted:
            found.extend(broken for case in cases(plugin, around) for broken in check(case))
    if "KIT-06" in wanted:
        found.extend(_providers(plugin, around))
    return found


def cases(plugin: LoadedPlugin, setup: Setup) -> Iterator[_Case]:
    """Every declared hook with a payload, on every fixture."""
    known = catalogue.hooks()
    for name in plugin.hooks:
        if known[name].payload is not None:
            yield from (_Case(plugin, setup, known[name], fixture) for fixture in fixtures_of(known[name]))


def _answers(case: _Case) -> Iterator[Broken]:
    fault = case.fault(case.json())
    if fault is not None:
        yield case.broken("KIT-01", fault)


def _tolerates(case: _Case) -> Iterator[Broken]:
    told = json.loads(case.json())
    wider = json.dumps(told | {"a_field_of_contract_1_9": {"new": True}}).encode()
    try:
        plain = case.call(case.setup.host(case.plugin, case.fixture), case.json())
        answer = case.call(case.setup.host(case.plugin, case.fixture), wider)
    except Exception as error:  # noqa: BLE001 - as above
        yield case.broken("KIT-02", f"{type(error).__name__}: {error}")
        return
    if answer != plain:
        yield case.broken("KIT-02", f"{answer!r} instead of {plain!r}.")


def _withheld(case: _Case) -> Iterator[Broken]:
    assert case.hook.payload is not None, case.hook.name
    use = case.plugin.manifest.hook(case.hook.name)
    paths = paths_of(case.hook.payload)
    scopes = {scope for path in (() if use is None else use.fields) for scope in paths[path]}
    optional = {scope.name for scope in case.plugin.manifest.scopes if not scope.is_required}
    for without in [{scope} for scope in sorted(scopes)] + ([optional] if len(optional) > 1 else []):
        fault = case.fault(case.json(frozenset(without)))
        if fault is not None:
            yield case.broken("KIT-03", f"without {', '.join(sorted(without))}: {fault}")


def _same_again(case: _Case) -> Iterator[Broken]:
    if not case.hook.rule.is_deciding:
        return
    first, second = (_outcome(case, case.setup.host(case.plugin, case.fixture)) for _ in range(2))
    if first != second:
        yield case.broken("KIT-04", f"first {first}, then {second}.")


def _outcome(case: _Case, host: FakeHost) -> str:
    try:
        return repr(case.call(host, case.json()))
    except Exception as error:  # noqa: BLE001 - as above
        return f"{type(error).__name__}: {error}"


def _one_effect(case: _Case) -> Iterator[Broken]:
    """The second delivery finds what the first one stored, and leaves it as it is; requests repeat byte by byte."""
    if case.hook.kind != "on":
        return
    host = case.setup.host(case.plugin, case.fixture)
    first = _outcome(case, host)
    stored, sent = dict(host.state.contents()), list(host.egress.sent)
    host.wait(5)
    second = _outcome(case, host)
    again = host.egress.sent[len(sent) :]
    if (first, dict(host.state.contents())) != (second, stored):
        said = f"first {first} and {stored}, then {second} and {dict(host.state.contents())}."
        yield case.broken("KIT-05", said)
    key = case.fixture.context.idempotency_key
    for request in again:
        if request.method != "GET" and not _carries(request, key):
            yield case.broken("KIT-05", f"{request.method} {request.url} is repeated without the key {key}.")


def _carries(request: Request, key: str) -> bool:
    return key in request.url or key.encode() in request.body or any(key in each for each in request.headers.values())


def _across_versions(case: _Case) -> Iterator[Broken]:
    previous = case.setup.previous
    if previous is None or case.hook.name not in previous.hooks:
        return
    older = _Case(previous, case.setup, case.hook, case.fixture)
    for first, then in ((older, case), (case, older)):
        host = case.setup.host(first.plugin, case.fixture)
        for step in (first, then):
            try:
                step.call(host, step.json())
            except Exception as error:  # noqa: BLE001 - as above
                names = [each.plugin.manifest.plugin.version for each in (first, then)]
                said = (
                    f"{step.plugin.manifest.plugin.version} of {' then '.join(names)}: {type(error).__name__}: {error}"
                )
                yield case.broken("KIT-07", said)
                break


def _same_elsewhere(case: _Case) -> Iterator[Broken]:
    elsewhere = case.setup.elsewhere
    if elsewhere is None:
        return
    here, there = case.setup.host(case.plugin, case.fixture), case.setup.host(case.plugin, case.fixture)
    first = _outcome(case, here)
    try:
        second = repr(case.call(there, case.json(), elsewhere))
    except Exception as error:  # noqa: BLE001 - as above
        second = f"{type(error).__name__}: {error}"
    if first != second:
        yield case.broken("KIT-08", f"in process {first}, {elsewhere.where} {second}.")
    if dict(here.state.contents()) != dict(there.state.contents()):
        yield case.broken("KIT-08", f"it stores something else {elsewhere.where}.")


def _providers(plugin: LoadedPlugin, setup: Setup) -> Iterator[Broken]:
    known = catalogue.hooks()
    for name in plugin.hooks:
        hook = known[name]
        if hook.kind == "register":
            for fixture in fixtures_of(hook):
                make: Callable[[], FakeHost] = partial(setup.host, plugin, fixture)
                for said in provider_faults(plugin, hook, fixture=fixture, make_host=make):
                    yield Broken(rule="KIT-06", hook=name, fixture=fixture.name, said=said)


_CHECKS: Final[Mapping[str, Callable[[_Case], Iterator[Broken]]]] = MappingProxyType(
    {
        "KIT-01": _answers,
        "KIT-02": _tolerates,
        "KIT-03": _withheld,
        "KIT-04": _same_again,
        "KIT-05": _one_effect,
        "KIT-07": _across_versions,
        "KIT-08": _same_elsewhere,
    }
)

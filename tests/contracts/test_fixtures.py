"""The golden fixtures hold for every hook of the catalogue: told, cut, sent and answered."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from platform_core.contracts import blobs, catalogue
from platform_core.contracts.fields import Cut, as_sent, paths_of
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.scopes import catalogue as scopes
from platform_core.contracts.testing.fixtures import Fixture, fixtures_of
from platform_core.contracts.testing.host import FakeHost
from platform_core.contracts.testing.provider_kit import argument_of
from tests.contracts.manifests import manifest_of

pytestmark = pytest.mark.contract

HOOKS = catalogue.hooks()
ALL = [(hook, fixture) for hook in HOOKS.values() for fixture in fixtures_of(hook)]
TOLD = [(hook, fixture) for hook, fixture in ALL if hook.payload is not None]
NAMES = [fixture.name for _, fixture in TOLD]


def result_type(hook: HookSpec, fixture: Fixture) -> TypeAdapter[Any]:
    """What a hook answers; for `register_` hooks, what the method of the first call does."""
    if hook.payload is not None:
        return TypeAdapter(hook.result)
    method = getattr(get_type_hints(hook.function)["return"], fixture.calls[0]["method"])
    return TypeAdapter(get_type_hints(method)["return"])


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_has_fixtures_of_what_is_valid_and_what_is_not(name: str) -> None:
    found = fixtures_of(HOOKS[name])
    assert found
    assert any(one.breaks is None for fixture in found for one in fixture.results)
    assert any(one.breaks is not None for fixture in found for one in fixture.results)


@pytest.mark.parametrize(("hook", "fixture"), TOLD, ids=NAMES)
def test_a_fixture_tells_everything_that_the_payload_has(hook: HookSpec, fixture: Fixture) -> None:
    assert hook.payload is not None
    assert fixture.payload is not None
    assert fixture.raw is not None
    assert fixture.raw.keys() == hook.payload.model_fields.keys() - {"withheld"}
    assert fixture.payload.withheld == ()


@pytest.mark.parametrize("name", sorted(name for name, hook in HOOKS.items() if hook.payload is not None))
def test_every_field_has_a_value_in_one_fixture_at_least(name: str) -> None:
    raws = [fixture.raw for fixture in fixtures_of(HOOKS[name]) if fixture.raw is not None]
    assert {key for raw in raws for key, value in raw.items() if value not in (None, [], "")} == raws[0].keys()


@pytest.mark.parametrize(("hook", "fixture"), TOLD, ids=NAMES)
def test_a_fixture_crosses_the_wire_whole_and_in_parts(hook: HookSpec, fixture: Fixture) -> None:
    assert hook.payload is not None
    assert fixture.payload is not None
    paths = paths_of(hook.payload)
    every = frozenset(scopes())
    for granted in (every, every - {"members:read"}, frozenset({hook.scope or ""}), frozenset()):
        sent = Cut(hook.payload, fields=paths, base=hook.scope, granted=granted).apply(fixture.payload)
        assert as_sent(hook.payload).model_validate_json(sent.model_dump_json()) == sent
    for path in paths:
        sent = Cut(hook.payload, fields=[path], base=hook.scope, granted=every).apply(fixture.payload)
        assert json.loads(sent.model_dump_json()).keys() == {path.partition(".")[0], "withheld"}


@pytest.mark.parametrize(("hook", "fixture"), ALL, ids=[fixture.name for _, fixture in ALL])
def test_answers_are_valid_or_break_the_rule_that_is_named(hook: HookSpec, fixture: Fixture) -> None:
    adapter = result_type(hook, fixture)
    for one in fixture.results:
        told, carried = json.dumps(one.result).encode(), [text.encode() for text in one.blobs]
        if one.breaks is None:
            answer = blobs.load(adapter, told, carried)
            assert blobs.load(adapter, *blobs.dump(adapter, answer)) == answer
            continue
        with pytest.raises(ValidationError, match=one.breaks):
            blobs.load(adapter, told, carried)


@pytest.mark.parametrize("name", sorted(name for name, hook in HOOKS.items() if hook.kind == "register"))
def test_the_calls_of_a_provider_are_arguments_of_its_methods(name: str) -> None:
    hook = HOOKS[name]
    promised = get_type_hints(hook.function)["return"]
    host = FakeHost(manifest_of(name))
    for fixture in fixtures_of(hook):
        assert fixture.calls
        for one in fixture.calls:
            made: Any = argument_of(getattr(promised, one["method"]), one["call"], ctx=host.context(hook))
            assert made.idempotency_key == one["call"]["idempotency_key"]
            assert made.now == fixture.now

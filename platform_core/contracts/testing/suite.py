"""The kit as tests: subclass it as a `Test...` class in `tests/test_contract.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from platform_core.contracts.plugin import EgressAnswer
from platform_core.contracts.testing.egress import Request, nothing_outside
from platform_core.contracts.testing.host import Capability
from platform_core.contracts.testing.kit import Setup, run_kit
from platform_core.contracts.testing.loaded import LoadedPlugin, load_plugin


class PluginSuite:
    """What every plugin must do. A failing test names rule, hook and fixture."""

    plugin: ClassVar[str]
    """The import package, with `plugin.toml` inside."""
    previous: ClassVar[str | None] = None
    """The import package of the version before, where one is kept for tests."""
    config: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # Any: JSON by the plugin's own schema
    secrets: ClassVar[Mapping[str, bytes | tuple[bytes, ...]]] = MappingProxyType({})
    capabilities: ClassVar[Mapping[str, Capability]] = MappingProxyType({})

    def loaded(self) -> LoadedPlugin:
        """The plugin under test."""
        return load_plugin(self.plugin)

    def outside(self, request: Request) -> EgressAnswer:
        """Answers for the world outside; says so when a plugin asks it and the test gave nobody to answer."""
        return nothing_outside(request)

    def around(self) -> Setup:
        """What it finds around it."""
        return Setup(
            config=self.config,
            secrets=self.secrets,
            outside=self.outside,
            capabilities=self.capabilities,
            previous=None if self.previous is None else load_plugin(self.previous),
        )

    def broken(self, rule: str) -> list[str]:
        """What breaks a rule, in sentences."""
        return [str(each) for each in run_kit(self.loaded(), self.around(), rules=frozenset({rule}))]

    def test_every_fixture_gets_a_valid_answer(self) -> None:
        assert self.broken("KIT-01") == []

    def test_a_field_of_a_newer_host_changes_nothing(self) -> None:
        assert self.broken("KIT-02") == []

    def test_a_withheld_scope_is_no_reason_to_fail(self) -> None:
        assert self.broken("KIT-03") == []

    def test_the_same_question_gets_the_same_answer(self) -> None:
        assert self.broken("KIT-04") == []

    def test_an_event_that_comes_twice_has_one_effect(self) -> None:
        assert self.broken("KIT-05") == []

    def test_providers_tell_success_failure_and_unknown_apart(self) -> None:
        assert self.broken("KIT-06") == []

    def test_versions_read_what_the_other_stored(self) -> None:
        assert self.broken("KIT-07") == []

"""What is checked about a plugin before pluggy sees it, as problems of that plugin."""

from __future__ import annotations

from collections.abc import Mapping

from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.inspection import Implementation, fault_of_object, marked_functions
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.problems import Problem, ProblemKind, location_of

__all__ = ["Implementation", "fault_of_object", "implementations"]


def implementations(
    plugin: Plugin, hooks: Mapping[str, HookSpec]
) -> tuple[dict[str, Implementation], tuple[Problem, ...]]:
    """The plugin's marked functions by hook, and what is wrong with them. Calls none of them.

    With any problem the whole plugin is to be left out: half a plugin behaves like none that was reviewed.
    """
    found, findings = marked_functions(plugin.implementations, hooks)
    problems = (
        Problem(
            plugin_id=plugin.id,
            kind=ProblemKind(finding.kind),
            message=finding.message,
            hook=finding.hook,
            where=location_of(finding.function),
        )
        for finding in findings
    )
    return found, tuple(problems)

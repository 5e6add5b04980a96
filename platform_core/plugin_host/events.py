"""The events of the plugins' life: under which scope each may be told, and where the object is read.

`plugin.*` carry the installation as of their commit, `plugin_release.*` the release, `plugin_switch.*` the switch; each
counts its object's changes from 1 without gaps. Those of a merchant's installation reach its apps; the others belong to
no merchant and reach nobody's webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INSTALLATION_CHANGES: Final = (
    "installed",
    "enabled",
    "disabled",
    "upgraded",
    "rolled_back",
    "configured",
    "secret_set",
    "changed",
    "retiring",
    "removed",
)
INSTALLATION_EVENTS: Final = tuple(f"plugin.{change}" for change in INSTALLATION_CHANGES)
SCOPES_AND_PATHS: Final[Mapping[str, tuple[str, str]]] = dict.fromkeys(
    INSTALLATION_EVENTS, ("plugins:read", "/v1/plugin-installations/{id}")
)
TOLD_CHANGES: Final = ("enabled", "disabled", "upgraded", "rolled_back", "configured")
"""Of these the plugin itself hears, through `on_plugin_changed`."""


def hooks_by_event(names: Mapping[str, str]) -> Mapping[str, str]:
    """By event type the `on_` hook that tells of it. `names`: hooks by kind (`{"on_payment_captured": "on"}`)."""
    known = [name for name, kind in names.items() if kind == "on" and name != "on_plugin_changed"]
    found = {f"plugin.{change}": "on_plugin_changed" for change in TOLD_CHANGES}
    return found | {_event_of(name): name for name in known}


def _event_of(hook: str) -> str:
    """`on_payment_captured` tells of `payment.captured`; of a newer major too."""
    bare, _, suffix = hook.rpartition("_v")
    name = bare if bare and suffix.isdigit() else hook
    noun, _, verb = name.removeprefix("on_").partition("_")
    return f"{noun}.{verb}"

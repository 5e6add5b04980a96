"""Which ask a call may make: by the kind of its hook and by its scopes (plugins.md sections 3 and 7). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from platform_core.contracts.scopes import catalogue
from platform_core.identity.errors import SCOPE_MISSING
from platform_core.plugin_host.asks import CLIENT_ASKS
from platform_core.plugin_host.calls import CallFacts
from platform_core.plugin_host.depth import HOOK_DEPTH
from platform_core.plugin_host.gate_errors import (
    EGRESS_IN_DECISION,
    NOT_ALLOWED_HERE,
    OPERATION_UNKNOWN,
    WRITE_IN_DECISION,
)
from platform_core.plugin_host.operations import Operation, Operations

CallKind = Literal["deciding", "load", "provider", "on"]
Family = Literal["state", "egress", "secrets", "problems", "read", "write"]
ALLOWED: Final[Mapping[CallKind, frozenset[Family]]] = {
    "deciding": frozenset({"read", "state", "problems"}),
    "load": frozenset(),
    "provider": frozenset({"egress", "secrets", "state", "problems"}),
    "on": frozenset({"read", "write", "egress", "secrets", "state", "problems"}),
}


def kind_of_call(facts: CallFacts) -> CallKind:
    """What sort of call it is, as far as the gate is concerned."""
    if facts.hook.kind == "register":
        return "load" if facts.operation == facts.hook.name else "provider"
    return "on" if facts.hook.kind == "on" else "deciding"


def client_allowed(operation: str, facts: CallFacts) -> bool:
    """Whether this is an ask of a client, allowed here; False: an operation of a capability.

    A remote plugin keeps its state on its own server: the process that it asks may be another than the one whose plan
    would write it. Raises 403 `plugin.egress_in_decision`, `plugin.not_allowed_here`.
    """
    if operation not in CLIENT_ASKS:
        return False
    family = _family(operation)
    _check(family, operation, facts)
    if family == "state" and facts.enabled.release.tier == "remote":
        raise NOT_ALLOWED_HERE.error({"operation": operation, "hook": facts.operation})
    return True


def operation_allowed(operations: Operations, name: str, facts: CallFacts) -> Operation:
    """The operation, if the kind allows it.

    Raises 404 `plugin.operation_unknown`, 403 `plugin.write_in_decision`, `plugin.not_allowed_here`, 409
    `plugin.hook_depth`.
    """
    operation = operations.get(name)
    if operation is None:
        raise OPERATION_UNKNOWN.error({"known": ", ".join(operations.names)})
    _check("write" if operation.is_write else "read", name, facts)
    if operation.needs_hooks:
        raise HOOK_DEPTH.error({"operation": name})
    return operation


def scopes_of(operation: Operation, facts: CallFacts, *, granted: frozenset[str] | None = None) -> frozenset[str]:
    """The scopes of the call: those of the manifest that the merchant granted, as far as the kind can use them.

    `granted`: those that the grant still covers. Raises 403 `identity.scope_missing` when the operation's is not among
    them.
    """
    scopes = scopes_of_call(facts)
    if granted is not None:
        scopes &= granted
    if operation.scope not in scopes:
        raise SCOPE_MISSING.error({"scope": operation.scope})
    return scopes


def scopes_of_call(facts: CallFacts) -> frozenset[str]:
    """What manifest, grant and kind have in common."""
    scopes = facts.enabled.scopes & facts.enabled.release.manifest.scope_names
    if "write" not in ALLOWED[kind_of_call(facts)]:
        scopes = frozenset(name for name in scopes if not _writes(name))
    return scopes


def _writes(scope: str) -> bool:
    declared = catalogue().get(scope)
    return scope.endswith(":write") or (declared is not None and declared.is_metered)


def _family(operation: str) -> Family:
    family = operation.partition(".")[0]
    assert family in ("state", "egress", "secrets", "problems"), operation
    return family  # type: ignore[return-value]  # asserted


def _check(family: Family, operation: str, facts: CallFacts) -> None:
    kind = kind_of_call(facts)
    if family in ALLOWED[kind]:
        return
    values = {"operation": operation, "hook": facts.operation}
    if kind == "deciding" and family == "egress":
        raise EGRESS_IN_DECISION.error({"hook": facts.operation})
    if kind == "deciding" and family == "write":
        raise WRITE_IN_DECISION.error(values)
    raise NOT_ALLOWED_HERE.error(values)

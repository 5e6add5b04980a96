"""Every event that apps may hear of, gathered from the capabilities that declare them."""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.events import SCOPES_AND_PATHS
from platform_core.contracts.versions import versions
from platform_core.delivery.catalogue import EventCatalogue, EventKind
from platform_core.identity.limit_windows import EXHAUSTED
from platform_core.identity.operations import FINISHED
from platform_core.identity.operations import PATH as OPERATION_PATH
from platform_core.identity.operations import SCOPE as OPERATION_SCOPE
from platform_core.plugin_host.events import SCOPES_AND_PATHS as PLUGIN_EVENTS

_CONVENTIONS: Final = {FINISHED: (OPERATION_SCOPE, OPERATION_PATH)}

# Grants and secrets belong to identity; an app hears of its own grant under the scope that reads it.
_IDENTITY: Final = {
    "grant.created": ("grant_management_query", "/oauth/grants/{id}"),
    "grant.changed": ("grant_management_query", "/oauth/grants/{id}"),
    "grant.expired": ("grant_management_query", "/oauth/grants/{id}"),
    "grant.revoked": ("grant_management_query", "/oauth/grants/{id}"),
    EXHAUSTED: ("grant_management_query", "/v1/events?object_id={id}"),
}


def event_catalogue() -> EventCatalogue:
    """The catalogue of this release."""
    kinds = {**SCOPES_AND_PATHS, **PLUGIN_EVENTS, **_IDENTITY, **_CONVENTIONS}
    return EventCatalogue((EventKind(type_, scope, path) for type_, (scope, path) in kinds.items()), versions())

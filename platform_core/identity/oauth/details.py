"""`authorization_details` (RFC 9396) as the authorization endpoint takes them."""

from __future__ import annotations

from typing import Any

from platform_core.contracts.rar import detail_types
from platform_core.identity import rar
from platform_core.identity.oauth.protocol import OAuthRefusal


def read_details(text: str) -> tuple[dict[str, Any], ...]:
    """The details as JSON objects. Raises `OAuthRefusal` `invalid_authorization_details`; the words are ours."""
    try:
        found = rar.read_details(text)
    except rar.DetailsRefused as refused:
        raise OAuthRefusal("invalid_authorization_details", str(refused)) from refused
    return tuple(one.model_dump(mode="json", exclude_none=True) for one in found)


def detail_type_names() -> tuple[str, ...]:
    """The types that are known, sorted."""
    return tuple(sorted(detail_types()))


def present_details(granted: rar.Granted, scopes: frozenset[str]) -> tuple[dict[str, Any], ...]:
    """What limits some scopes as the grant stands now, as RFC 9396 section 7 shows it: lowered limits included."""
    return tuple(
        one.detail.model_dump(mode="json", exclude_none=True)
        for one in granted
        if not scopes.isdisjoint(detail_types()[one.detail.type].scopes)
    )

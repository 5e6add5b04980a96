"""What a refused plan means to the caller: its guard, as the RFC's error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.seen_jti import AlreadySeen, Forgotten
from platform_core.kernel.commit import Duplicate, Missing, PlanRefused, VersionConflict

_GUARDS: Final[Mapping[str, tuple[str, str]]] = {
    "oauth_code": ("invalid_grant", "The code was used."),
    "oauth_refresh_token": ("invalid_grant", "The refresh token was used."),
    "oauth_token_family": ("invalid_grant", "The tokens of this authorization were revoked."),
    "oauth_device_decision": ("invalid_grant", "The device code was used."),
    "access_grant": ("invalid_grant", "The authorization was changed meanwhile."),
}


def refusal_of(refused: PlanRefused) -> OAuthRefusal:
    """The answer for a plan that lost its race. Anything that is no guard of ours is a bug and is raised again."""
    refusal = refused.refusal
    if isinstance(refusal, AlreadySeen | Forgotten) and refusal.kind == "session":
        return OAuthRefusal("invalid_request", "The session token was used.")
    if isinstance(refusal, Duplicate | VersionConflict | Missing) and refusal.table in _GUARDS:
        return OAuthRefusal(*_GUARDS[refusal.table])
    raise refused

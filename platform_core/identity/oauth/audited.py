"""The audit row of a token: in the plan that makes it, so that no token is out without its row."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from platform_core.identity.oauth.protocol import OAuthAnswer
from platform_core.identity.oauth.server import TokenRequest
from platform_core.kernel.commit import Audit, Plan

_TOLD: Final = ("scope", "grant_id", "gv", "fam", "exp")


def audit_issue(request: TokenRequest, answer: OAuthAnswer) -> None:
    """Put into the request's plan who got which access token: its id and what it is for, never the token itself."""
    claims = _claims(answer.body["access_token"])
    merchant_id = claims.get("merchant")
    if request.plan is None:
        request.plan = Plan(merchant_id)
    facts: dict[str, object] = {name: claims[name] for name in _TOLD if name in claims}
    facts["grant_type"] = request.form["grant_type"]
    if "cnf" in claims:
        facts["jkt"] = claims["cnf"]["jkt"]
    request.plan.add(Audit("token.issued", claims["client_id"], claims["jti"], merchant_id, facts))


def _claims(token: str) -> dict[str, Any]:  # Any: JSON
    """What we signed a moment ago."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims

"""An authorization request that was found valid, and how it travels from `/oauth/authorize` through sign-in to consent.

Opening the page writes nothing: the request travels in a sealed token that only the browser it was made for can use.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from platform_core.identity.models import Mode
from platform_core.identity.sessions import ACR_MFA, ACR_PASSWORD, SignedIn
from platform_core.identity.vault import SealBroken, Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

DECISION_WITHIN: Final = timedelta(minutes=10)
OAUTH: Final = "oauth"
"""The door of requests that came to `/oauth/authorize`."""
ACR_VALUES: Final = (ACR_MFA, ACR_PASSWORD)
BROWSER_COOKIE: Final = "__Host-arsenal_browser"
"""Names the browser that opened `/oauth/authorize`, before and after anybody signs in there."""
TOKEN_LENGTH_MAX: Final = 7500  # with the page's path it stays below the longest target that is served
_PLAIN_LENGTH_MAX: Final = 64 * 1024
_ZLIB_LEVEL: Final = 6

AUTHORIZATION_STALE = declare(
    "identity.authorization_stale",
    status=400,
    title=Text(en="The authorization cannot be continued", zh="无法继续授权"),
    detail=Text(
        en="The request is older than ten minutes, was changed, or was opened in another browser.",
        zh="该请求已超过十分钟、已被改动，或由其他浏览器打开。",
    ),
    hint=Text(en="Go back to the app and begin again.", zh="请返回应用重新发起授权。"),
)
SIGN_IN_TOO_WEAK = declare(
    "identity.sign_in_too_weak",
    status=401,
    title=Text(en="The app asks for a fresh sign-in", zh="应用要求重新登录"),
    detail=Text(
        en="The app asks for a sign-in that is more recent or has a second factor.",
        zh="应用要求更近时间的登录，或使用第二重验证。",
    ),
    hint=Text(en="Sign in again.", zh="请重新登录。"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What an app asks for. Every field was validated; `redirect_uri` is proven to be the client's."""

    client_id: str
    app_id: str
    mode: Mode
    redirect_uri: str
    scopes: frozenset[str]
    state: str | None
    code_challenge: str
    resource: str
    details: tuple[dict[str, Any], ...]  # JSON objects of `authorization_details`
    dpop_jkt: str | None
    prompt: frozenset[str]
    max_age: int | None  # seconds
    acr_values: tuple[str, ...]
    ui_locales: tuple[str, ...]
    nonce: str | None
    grant_management_action: str | None  # merge or replace; None: merge
    grant_id: str | None
    par_id: str | None
    opened_at: datetime  # aware, UTC; of the page, not of the push
    door: str = OAUTH  # who answers the app once the merchant has decided

    def is_open(self, now: datetime) -> bool:
        """Whether a decision still counts."""
        return now - self.opened_at <= DECISION_WITHIN

    def accepts(self, who: SignedIn, now: datetime) -> bool:
        """Whether the sign-in is recent and strong enough for the request (`max_age`, `acr_values`, `prompt=login`)."""
        if self.max_age is not None and now.timestamp() - who.auth_time > self.max_age:
            return False
        if "login" in self.prompt and who.auth_time < int(self.opened_at.timestamp()):
            return False
        # Several values are alternatives; mfa is also a password sign-in.
        return not self.acr_values or who.acr in self.acr_values or who.acr == ACR_MFA


class ConsentTokens:
    """Seals requests for one browser and opens them again."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    def seal(self, request: AuthorizationRequest, browser: str) -> str:
        """The token for `/consent?token=`. `browser` is the value of `BROWSER_COOKIE`.

        ValueError when the token would be longer than an address may be.
        """
        plain = zlib.compress(_encode(request), _ZLIB_LEVEL)
        token = urlsafe_b64encode(self._vault.seal(_bound(browser), plain)).decode().rstrip("=")
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError("the request is too long to travel in an address")
        return token

    def open(self, token: str, browser: str) -> AuthorizationRequest:
        """The request. 400 `identity.authorization_stale` for whatever is wrong with the token, or with its age."""
        try:
            box = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            plain = zlib.decompressobj().decompress(self._vault.open(_bound(browser), box), _PLAIN_LENGTH_MAX)
        except (ValueError, SealBroken) as error:
            raise AUTHORIZATION_STALE.error() from error
        request = _decode(plain)
        if not request.is_open(self._clock.now()):
            raise AUTHORIZATION_STALE.error()
        return request


def _bound(browser: str) -> str:
    return f"consent_token\x1f{browser}"


def _encode(request: AuthorizationRequest) -> bytes:
    values: dict[str, Any] = {field.name: getattr(request, field.name) for field in fields(request)}
    for name in ("scopes", "prompt"):
        values[name] = sorted(values[name])
    values["opened_at"] = request.opened_at.isoformat()
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()


def _decode(plain: bytes) -> AuthorizationRequest:
    values: dict[str, Any] = json.loads(plain)  # we wrote it: the seal held
    for name in ("scopes", "prompt"):
        values[name] = frozenset(values[name])
    for name in ("details", "acr_values", "ui_locales"):
        values[name] = tuple(values[name])
    values["opened_at"] = datetime.fromisoformat(values["opened_at"])
    return AuthorizationRequest(**values)

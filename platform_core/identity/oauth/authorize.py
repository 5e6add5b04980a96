"""The authorization endpoint's rules (RFC 6749 section 4.1.1, RFC 9700, OpenID Connect Core 1.0 section 3.1.2.1).

Own code: Authlib's endpoint binds PKCE to public clients, takes `plain`, reads some parameters in silence, answers 302
and knows `iss` only on some ways out (F05, F13, F14, F24, F26, F28). Pure: what it needs was read before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from platform_core.contracts.scopes import catalogue
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.oauth.requests import ACR_VALUES, AuthorizationRequest
from platform_core.identity.redirects import is_registered
from platform_core.identity.repository import ClientState
from platform_core.kernel.errors import declare
from platform_core.kernel.i18n import Text

PROMPTS: Final = frozenset({"none", "login", "consent", "select_account"})
GRANT_ACTIONS: Final = frozenset({"merge", "replace"})
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_THUMBPRINT: Final = _CHALLENGE
_VISIBLE: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)
_NONCE_MAX: Final = 256
_SECONDS: Final = re.compile(r"[0-9]{1,8}", re.ASCII)
_LOCALES_MAX: Final = 8
_SCOPES_MAX: Final = 64

AUTHORIZATION_REFUSED = declare(
    "identity.authorization_refused",
    status=400,
    title=Text(en="The app sent you here with a request that cannot be answered", zh="应用发起的授权请求无效"),
    detail=Text(en="{reason}", zh="{reason}"),
    hint=Text(
        en="Go back to the app. If it happens again, tell its publisher.",
        zh="请返回应用；如再次出现，请联系应用开发者。",
    ),
)
UNKNOWN_CLIENT: Final = Text(en="The app is not known here, or it was disabled.", zh="该应用不存在或已停用。")
UNKNOWN_REDIRECT: Final = Text(
    en="The address to return to is missing or is not one that the app registered.",
    zh="回调地址缺失，或未经该应用登记。",
)
UNREADABLE: Final = Text(en="The address of this page is malformed.", zh="本页地址格式错误。")
UNKNOWN_PUSHED: Final = Text(
    en="The app's request is unknown, was used, or is older than 90 seconds.",
    zh="该授权请求不存在、已使用或已超过 90 秒。",
)

DetailsReader = Callable[[str], tuple[dict[str, Any], ...]]
"""Reads `authorization_details`; raises `OAuthRefusal` `invalid_authorization_details`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every request."""

    audience: str
    read_details: DetailsReader

    def check(
        self, parameters: Mapping[str, str], client: ClientState, *, now: datetime, par_id: str | None = None
    ) -> AuthorizationRequest:
        """The request that the parameters make, for a client and a redirect address that are proven.

        Raises `OAuthRefusal` with the error for the client's redirect address.
        """
        _check_kind(parameters, client)
        scopes, details = self.check_wish(parameters, client)
        return AuthorizationRequest(
            client_id=client.client_id,
            app_id=client.app_id,
            mode=client.mode,
            redirect_uri=parameters["redirect_uri"],
            scopes=scopes,
            state=parameters.get("state"),
            code_challenge=_challenge(parameters),
            resource=self.audience,
            details=details,
            dpop_jkt=_thumbprint(parameters),
            prompt=_prompt(parameters),
            max_age=_max_age(parameters),
            acr_values=_acr_values(parameters),
            ui_locales=tuple(parameters.get("ui_locales", "").split()[:_LOCALES_MAX]),
            nonce=_visible(parameters, "nonce", _NONCE_MAX),
            grant_management_action=_grant_action(parameters),
            grant_id=parameters.get("grant_id"),
            par_id=par_id,
            opened_at=now,
        )

    def check_wish(
        self, parameters: Mapping[str, str], client: ClientState
    ) -> tuple[frozenset[str], tuple[dict[str, Any], ...]]:
        """The scopes and details that are asked for, whatever the way. Raises `OAuthRefusal`."""
        scopes = _scopes(parameters.get("scope"), client)
        details = (
            self.read_details(parameters["authorization_details"]) if "authorization_details" in parameters else ()
        )
        if not scopes and not details:
            raise OAuthRefusal("invalid_scope", "No scope was asked for.")
        if parameters.get("resource", self.audience) != self.audience:
            raise OAuthRefusal("invalid_target", "The resource is not served here.")
        return scopes, details


def check_client(parameters: Mapping[str, str], client: ClientState | None) -> ClientState:
    """The client, once it and its redirect address are proven. Until then an error stays on our page: raises
    `identity.authorization_refused`.
    """
    if client is None or not client.is_active:
        raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_CLIENT})
    uri = parameters.get("redirect_uri")
    if uri is None or not is_registered(uri, client.redirect_uris, any_port=client.profile == "public"):
        raise AUTHORIZATION_REFUSED.error({"reason": UNKNOWN_REDIRECT})
    return client


def must_push(client: ClientState, details: tuple[dict[str, Any], ...]) -> bool:
    """Whether the request may come by PAR alone: the client says so, or it names amounts."""
    names_amounts = any("amount_minor" in limit for one in details for limit in one.get("limits", ()) if limit)
    return client.requires_par or names_amounts


def answer_address(redirect_uri: str, answer: Mapping[str, str | None], *, issuer: str) -> str:
    """Where the browser goes with an answer: the registered address with our parameters after its own, `iss` always
    among them (RFC 9207). Values are encoded, so no state breaks out of the header.
    """
    query = urlencode([(name, value) for name, value in {**answer, "iss": issuer}.items() if value is not None])
    return f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{query}"


def error_address(refusal: OAuthRefusal, parameters: Mapping[str, str], *, issuer: str) -> str:
    """Where the browser goes with an error. A state that is not plain is not given back."""
    state = parameters.get("state")
    answer = {
        "error": refusal.error,
        "error_description": refusal.description,
        "state": state if state is not None and _VISIBLE.fullmatch(state) else None,
    }
    return answer_address(parameters["redirect_uri"], answer, issuer=issuer)


def _check_kind(parameters: Mapping[str, str], client: ClientState) -> None:
    if "response_type" not in parameters:
        raise OAuthRefusal("invalid_request", "The parameter response_type is missing.")
    if parameters["response_type"] != "code":
        raise OAuthRefusal("unsupported_response_type", "The response type is code.")
    if parameters.get("response_mode", "query") != "query":
        raise OAuthRefusal("invalid_request", "The response mode is query.")
    if "request" in parameters:
        raise OAuthRefusal("request_not_supported", "Request objects are not supported.")
    if "authorization_code" not in client.grant_types:
        raise OAuthRefusal("unauthorized_client", "The client may not use authorization_code.")
    _visible(parameters, "state", 1024)


def _scopes(wanted: str | None, client: ClientState) -> frozenset[str]:
    names, known = frozenset((wanted or "").split(" ")) - {""}, catalogue()
    found = [known.get(name) for name in names]
    if len(names) > _SCOPES_MAX or not all(scope is not None and scope.is_for_apps for scope in found):
        raise OAuthRefusal("invalid_scope", "A scope is unknown or cannot be given to an app.")
    if client.mode != "test" and any(scope is not None and scope.is_test_only for scope in found):
        raise OAuthRefusal("invalid_scope", "A scope exists in test mode only.")
    return names


def _challenge(parameters: Mapping[str, str]) -> str:
    """RFC 7636 section 4.2, for every client and S256 alone (F13)."""
    challenge = parameters.get("code_challenge", "")
    if parameters.get("code_challenge_method") != "S256" or _CHALLENGE.fullmatch(challenge) is None:
        raise OAuthRefusal("invalid_request", "A code_challenge with the method S256 is required.")
    return challenge


def _thumbprint(parameters: Mapping[str, str]) -> str | None:
    thumbprint = parameters.get("dpop_jkt")
    if thumbprint is not None and _THUMBPRINT.fullmatch(thumbprint) is None:
        raise OAuthRefusal("invalid_request", "The parameter dpop_jkt is no SHA-256 thumbprint.")
    return thumbprint


def _prompt(parameters: Mapping[str, str]) -> frozenset[str]:
    prompt = frozenset(parameters.get("prompt", "").split())
    if not prompt <= PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise OAuthRefusal("invalid_request", "The parameter prompt cannot be followed.")
    return prompt


def _max_age(parameters: Mapping[str, str]) -> int | None:
    text = parameters.get("max_age")
    if text is not None and _SECONDS.fullmatch(text) is None:
        raise OAuthRefusal("invalid_request", "The parameter max_age is a number of seconds.")
    return int(text) if text is not None else None


def _acr_values(parameters: Mapping[str, str]) -> tuple[str, ...]:
    wanted = parameters.get("acr_values", "").split()
    known = tuple(value for value in wanted if value in ACR_VALUES)
    if wanted and not known:
        raise OAuthRefusal("unmet_authentication_requirements", "None of acr_values is offered here.")
    return known


def _grant_action(parameters: Mapping[str, str]) -> str | None:
    action = parameters.get("grant_management_action")
    if action is not None and action not in GRANT_ACTIONS:
        raise OAuthRefusal("invalid_request", "The parameter grant_management_action is merge or replace.")
    return action


def _visible(parameters: Mapping[str, str], name: str, length_max: int) -> str | None:
    text = parameters.get(name)
    if text is not None and (len(text) > length_max or _VISIBLE.fullmatch(text) is None):
        raise OAuthRefusal("invalid_request", f"The parameter {name} is too long or not plain.")
    return text

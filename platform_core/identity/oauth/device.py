"""The device authorization endpoint (RFC 8628 section 3.1): a cash register asks, a person decides elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models_device import DEVICE_CODES
from platform_core.identity.oauth.authorize import Rules
from platform_core.identity.oauth.clients import Client
from platform_core.identity.oauth.handles import make_handle, make_secret
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal
from platform_core.identity.vault import Vault
from platform_core.kernel.commit import Duplicate, Insert, Plan, PlanRefused

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
PAGE: Final = "/device"
LIFE: Final = timedelta(seconds=600)
INTERVAL_S: Final = 5
USER_CODE_LENGTH: Final = 8
# RFC 8628 section 6.1: consonants alone, so that no word comes out and nothing is taken for a digit. 20^8 codes.
ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
_ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """Begins device grants."""

    deps: IdentityDeps
    rules: Rules
    issuer: str

    async def begin(self, form: Mapping[str, str], client: Client) -> OAuthAnswer:
        """The two codes. Raises `OAuthRefusal` also for a client that may not use the grant, or these scopes (F19)."""
        if not client.check_grant_type(GRANT_TYPE):
            raise OAuthRefusal("unauthorized_client", "The client may not use the device grant.")
        scopes, details = self.rules.check_wish(form, client.state)
        for _ in range(_ATTEMPTS_MAX):
            user_code = make_user_code(self.deps.entropy)
            handle = await self._keep(client, user_code, scopes=scopes, details=json.dumps(details))
            if handle is not None:
                return self._answer(handle, user_code)
        raise OAuthRefusal("temporarily_unavailable", "No code is free; try again.", status=503)

    async def _keep(self, client: Client, user_code: str, *, scopes: frozenset[str], details: str) -> str | None:
        """The device code; None where somebody has this user code."""
        now, state = self.deps.clock.now(), client.state
        device_id, secret = self.deps.ids.mint("dvc"), make_secret(self.deps.entropy)
        row = {
            "id": device_id,
            "merchant_id": state.owner_merchant_id,
            "client_id": state.client_id,
            "app_id": state.app_id,
            "mode": state.mode,
            "digest": self.deps.vault.digest(device_id, secret),
            "user_code_digest": user_code_digest(self.deps.vault, user_code),
            "scopes": " ".join(sorted(scopes)),
            "details": details,
            "resource": self.rules.audience,
            "interval_s": INTERVAL_S,
            "polled_at": None,
            "version": 1,
            "created_at": now,
            "expires_at": now + LIFE,
        }
        try:
            await self.deps.committer.commit(Plan(state.owner_merchant_id).add(Insert(DEVICE_CODES, row)))
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Duplicate):
                raise
            return None
        return make_handle(device_id, secret)

    def _answer(self, handle: str, user_code: str) -> OAuthAnswer:
        shown, page = show_user_code(user_code), f"{self.issuer}{PAGE}"
        body = {
            "device_code": handle,
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": int(LIFE.total_seconds()),
            "interval": INTERVAL_S,
        }
        return OAuthAnswer(200, body)


def make_user_code(entropy: Callable[[int], bytes]) -> str:
    """Eight consonants, each as likely as any other."""
    letters: list[str] = []
    while len(letters) < USER_CODE_LENGTH:
        letters += [ALPHABET[byte % len(ALPHABET)] for byte in entropy(16) if byte < 240]  # 240: a multiple of 20
    return "".join(letters[:USER_CODE_LENGTH])


def show_user_code(user_code: str) -> str:
    """As a person reads it: `WDJB-MJHT`."""
    return f"{user_code[:4]}-{user_code[4:]}"


def read_user_code(text: str) -> str | None:
    """A code as a person types it: in any case, with or without what separates; None for what can be none."""
    letters = "".join(letter for letter in text.upper() if letter not in "- \u2010\u2013\u3000")
    is_code = len(letters) == USER_CODE_LENGTH and all(letter in ALPHABET for letter in letters)
    return letters if is_code else None


def user_code_digest(vault: Vault, user_code: str) -> bytes:
    """How it is kept and found: 34 bits need the pepper to stay secret, and guesses are bounded."""
    return vault.digest("oauth_user_code", user_code)

"""Who acts: the same shape for an app's token, a person's session, and later a plugin's handle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from platform_core.identity.models import GrantKind, Mode, Standing
from platform_core.identity.models_people import PartyKind
from platform_core.identity.rar import Granted
from platform_core.kernel.i18n import Language


def narrowed(stores: frozenset[str] | None, to: Iterable[str] | None) -> frozenset[str] | None:
    """The stores of a grant that a token is for, where it is for fewer. None: every store."""
    if to is None:
        return stores
    return frozenset(to) if stores is None else stores & frozenset(to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller, with everything that authorising needs. Services read this and nothing of the request's headers."""

    kind: Literal["app", "person"]
    client_id: str  # of a person: its id
    app_id: str  # of a person: empty
    merchant_id: str | None  # None: an app that acts for no merchant
    standing: Standing  # of the merchant; of an app alone `active`
    mode: Mode
    scopes: frozenset[str]
    stores: frozenset[str] | None  # None: every store of the merchant
    grant_id: str | None
    grant_version: int
    grant_kind: GrantKind | None = None
    details: Granted = ()  # what limits the grant's metered scopes
    token_id: str
    key_id: str  # `kid` of the key that signed the token
    expires_at: int  # seconds since the epoch, UTC
    api_version: str
    family_id: str | None = None  # of the tokens born of one code; None for an app by itself
    tier: str | None = None  # of the ISV that owns the app; None: a merchant's own app
    must_sign: bool = False  # whether the client's requests count signed alone (RFC 9421)
    jkt: str | None = None  # thumbprint of the key that the token is bound to (RFC 9449)
    actors: tuple[str, ...] = ()  # who passed the token on, the latest first (RFC 8693 `act`)
    acr: str | None = None
    auth_time: int | None = None
    locale: Language | None = None  # None: by the request's Accept-Language
    party_kind: PartyKind | None = None  # of a person's party; None: an app
    party_id: str | None = None

    def can(self, scope: str) -> bool:
        """Whether the scope was given."""
        return scope in self.scopes

    def may_use_store(self, store_id: str) -> bool:
        """Whether the grant names the store; that it is the merchant's own is for the service to check."""
        return self.stores is None or store_id in self.stores

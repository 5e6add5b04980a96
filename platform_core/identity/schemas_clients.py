"""What goes into and comes out of the set-up of an app's clients and their public keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from platform_core.identity.models import Mode, Profile
from platform_core.identity.oauth.clients import Method
from platform_core.identity.oauth.public_keys import KeyKind
from platform_core.identity.schemas import GrantType, RedirectUri
from platform_core.kernel.http.redaction import SECRET

# The key of RFC 7515 appendix A.3, read 2026-11-22.
_EXAMPLE_JWK: Final = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "kid": "till-1",
}


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class ClientUpdate(_Command):
    """How the client may use the authorization server; what is left out stays.

    `profile`: `confidential` signs in with a secret or a key, `public` keeps nothing secret and its secrets end now,
    `money` signs in with a key, pushes its requests and binds its tokens. `redirect_uris` are compared as strings.
    """

    profile: Profile | None = None
    redirect_uris: tuple[RedirectUri, ...] | None = Field(
        default=None, max_length=20, description="https, or http on a loopback address for public and test clients."
    )
    grant_types: frozenset[GrantType] | None = Field(default=None, min_length=1)
    requires_par: bool | None = Field(
        default=None, description="Its authorization requests are pushed (RFC 9126); always so for `money`."
    )


class JwksUriSet(_Command):
    """Where the client publishes its keys, instead of uploading them."""

    uri: Annotated[
        str, StringConstraints(min_length=1, max_length=2048), Field(examples=["https://shop.example/jwks.json"])
    ]


class RequestSigningSet(_Command):
    """Whether the client's requests count signed alone (RFC 9421). It needs a key that signs first."""

    is_required: bool


class OwnClientRead(_Answer):
    """An app's client in one mode: how it proves itself and what it may use. Any change raises `version`."""

    id: str
    app_id: str
    mode: Mode
    state: str
    api_version: str
    profile: Profile
    authentication_methods: list[Method]
    redirect_uris: list[str]
    grant_types: list[str]
    requires_par: bool
    jwks_uri: str | None
    must_sign: bool
    version: int
    created_at: datetime


class PublicKeyAdd(_Command):
    """A public key as JWK (RFC 7517): EC on P-256, OKP on Ed25519, or RSA of 2048 to 4096 bits."""

    # Marked, so that a private key which somebody sends by mistake is in no log; it is refused.
    jwk: Annotated[dict[str, Any], SECRET, Field(examples=[_EXAMPLE_JWK])]


class PublicKeyRead(_Answer):
    """A public key of a client. `thumbprint` is that of RFC 7638; `kid` its owner's name for it."""

    id: str
    app_id: str
    client_id: str
    thumbprint: str
    kid: str | None
    kind: KeyKind
    added_by: str
    created_at: datetime

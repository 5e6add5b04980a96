"""Answers about clients' keys."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from platform_core.identity.oauth.public_keys import KeyKind


class ClientKeyRead(BaseModel):
    """A public key of a client."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    client_id: str
    thumbprint: str
    kid: str | None
    kind: KeyKind
    added_by: str
    created_at: datetime


class ClientKeysRead(BaseModel):
    """How a client's signatures are verified: by uploaded keys, the oldest first, or by the set at an address."""

    model_config = ConfigDict(frozen=True)

    client_id: str
    jwks_uri: str | None
    must_sign: bool  # whether its requests count signed alone
    keys: list[ClientKeyRead]

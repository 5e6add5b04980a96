"""Who is signed in at a console."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from platform_core.kernel.i18n import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A person at a console, acting for one party."""

    session_id: str
    person_id: str
    console: str
    party_kind: Literal["platform", "merchant", "isv"]
    party_id: str
    roles: frozenset[str]
    scopes: frozenset[str]
    stores: frozenset[str] | None  # None: every store of the party
    acr: str | None
    auth_time: datetime
    locale: Language

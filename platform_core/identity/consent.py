"""What a person decides on the consent page, and what the decision writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Approved:
    """The app may do this. `stores` None: every store; `details` as the person left them."""

    scopes: frozenset[str]
    stores: frozenset[str] | None
    details: tuple[dict[str, Any], ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Declined:
    """The app may not."""


@dataclass(frozen=True, slots=True)
class GrantParts:
    """What a decision writes about the grant, for the plan that also makes the code."""

    parts: Sequence[object]
    grant_id: str
    version: int  # after the plan

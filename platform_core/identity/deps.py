"""What identity's services are handed by bootstrap."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids


def single_reads(database: Database) -> AsyncEngine:
    """The authorization server's role for single statements, which see one moment by themselves.

    Without a transaction around them they cost one round trip instead of three.
    """
    return database.engine("auth").execution_options(isolation_level="AUTOCOMMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityDeps:
    """Time, ids, reads, the one writer, and secrets. Tokens live by this clock, so it is the real one in service."""

    clock: Clock
    ids: Ids
    database: Database
    committer: Committer
    vault: Vault
    entropy: Callable[[int], bytes] = os.urandom

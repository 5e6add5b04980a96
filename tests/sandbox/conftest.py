"""A sandbox with its application, on its own turned clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.world import SCOPES, Till, World, open_world

SANDBOX_SCOPES = (*SCOPES, "testbed:write", "webhooks:read", "webhooks:write", "webhooks:resend")


@pytest.fixture
async def sandbox_world(sandbox_database_url: str, acquirer: str, tmp_path: Path) -> AsyncIterator[World]:
    """A platform that is a sandbox; its clock is the sandbox's own."""
    async with open_world(
        sandbox_database_url,
        clock=None,  # type: ignore[arg-type]  # the sandbox brings one
        home=tmp_path,
        acquirer_url=acquirer,
        is_sandbox=True,
    ) as world:
        yield world


@pytest.fixture
async def sandbox_till(sandbox_world: World) -> Till:
    """A merchant's app that may do everything, the testbed's doors included."""
    return await sandbox_world.new_till(scopes=SANDBOX_SCOPES)

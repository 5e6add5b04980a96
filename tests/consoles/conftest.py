"""One world for all tests of consoles; each brings its own merchant and app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.consoles.scene import Scene, open_scene
from tests.support.world import World, open_world


@pytest.fixture(scope="session")
async def shared(
    postgres: EmbeddedPostgres, acquirer: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The world that they share."""
    postgres.create_database("consent", template="template_arsenal")
    clock = ManualClock(datetime.now(UTC))
    home: Path = tmp_path_factory.mktemp("consent")
    async with open_world(postgres.url("consent"), clock=clock, home=home, acquirer_url=acquirer) as world:
        yield world


@pytest.fixture
async def scene(shared: World) -> Scene:
    """A merchant and an app of the test's own."""
    return await open_scene(shared)

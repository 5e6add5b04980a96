"""One zygote for all tests of the runtime; a supervisor for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.runtime.spawner import Spawner
from tests.sandbox.runtime.stage import Stage, open_stage, started_spawner


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of installed plugins."""
    folder = tmp_path_factory.mktemp("runtime") / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
async def spawner(plugins: Path) -> AsyncIterator[Spawner]:
    """The zygote, at the highest level of this machine."""
    spawner = await started_spawner(plugins)
    yield spawner
    await spawner.close()


@pytest.fixture
async def stage(spawner: Spawner, plugins: Path) -> AsyncIterator[Stage]:
    """A supervisor with patient limits."""
    async with open_stage(spawner, plugins) as stage:
        yield stage

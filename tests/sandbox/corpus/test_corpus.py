"""The hostile corpus at every level that this machine must reach (specs/isolation.md section 13)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Final

import pytest

from sandbox.runtime.levels import Level, best_promised, look_at_machine
from tests.sandbox.corpus.scene import Scene
from tests.sandbox.corpus.stage import Stage
from tests.sandbox.corpus.table import TABLE, Behaviour
from tests.sandbox.corpus.trial import try_out

REQUIRED: Final = Level[os.environ.get("ARSENAL_TEST_LEVEL", best_promised(look_at_machine()).name)]
LEVELS: Final = [level for level in Level if level <= REQUIRED]
pytestmark = pytest.mark.corpus


@pytest.fixture(scope="session")
async def scene() -> AsyncIterator[Scene]:
    made = await Scene.set_up()
    yield made
    await made.clear_away()


@pytest.fixture(scope="session")
async def stages(scene: Scene) -> AsyncIterator[dict[Level, Stage]]:
    made = {level: Stage(scene, level) for level in LEVELS}
    yield made
    for stage in made.values():
        await stage.close()


@pytest.mark.parametrize("behaviour", TABLE, ids=lambda behaviour: behaviour.name)
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
async def test_hostile_behaviour(level: Level, behaviour: Behaviour, stages: dict[Level, Stage]) -> None:
    found = await try_out(stages[level], behaviour)
    expected = behaviour.harms[level]
    seen = "; ".join(found.details)
    assert found.outcome in behaviour.outcomes[level].split("|"), seen
    if expected:
        assert expected in found.harms, seen
    else:
        assert not found.harms, seen

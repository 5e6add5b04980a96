"""The hostile corpus at every level that this machine must reach (specs/isolation.md section 13)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from platform_core.contracts.runtime import FaultKind
from sandbox.runtime.installed import delete_tree
from sandbox.runtime.levels import Level, best_promised, look_at_machine
from tests.sandbox.corpus.bundles import HOSTILE, VERSION, install_hostile
from tests.sandbox.corpus.scene import MERCHANTS, Scene
from tests.sandbox.corpus.stage import ROOT, Stage
from tests.sandbox.corpus.table import TABLE, Behaviour, summary
from tests.sandbox.corpus.trial import try_out

REQUIRED: Final = Level[os.environ.get("ARSENAL_TEST_LEVEL", best_promised(look_at_machine()).name)]
OF_THE_SPECIFICATION: Final = """
    read_passwd read_db env proc_environ proc_mem frames ptrace fds stat_probe import_time hostname mutate_args
    monkeypatch write_outside write_self chmod_db truncate_db kill_host kill_pgrp kill_sibling tcp http udp
    unix_path listen exec execve_direct forkbomb daemonize int80 iouring userns memwx setlimit threads loop cloop
    regex sleep membomb fd_exhaust diskfill stderr bg_burn sysexit osexit segv abort huge_reply malformed lenbomb
    forged_id double_reply prefetch_reply bad_verdict extra_field stale_token scope capflood crosstenant
"""
"""specs/isolation.md section 13."""
TAMPERED: Final = "1.9.0"
FAULTS_ELSEWHERE: Final = {
    FaultKind.NOT_CONFINED,  # below
    FaultKind.SATURATED,  # below
    FaultKind.TAMPERED,  # below
    FaultKind.QUARANTINED,  # after every security fault
    FaultKind.BREAKER_OPEN,  # the plugin host's
    FaultKind.UNAVAILABLE,  # nobody's behaviour
}
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


def test_the_corpus_is_what_the_specification_asks_for() -> None:
    names = Counter(behaviour.name for behaviour in TABLE)
    assert not set(OF_THE_SPECIFICATION.split()) - set(names)
    assert max(names.values()) == 1
    assert len(names) >= 90
    assert [each.name for each in TABLE if each.harms[Level.L2]] == ["stat_probe"]
    assert [each.name for each in TABLE if each.harms[Level.L3] or each.harms[Level.L4]] == []
    assert sum(bool(each.harms[Level.L0]) for each in TABLE) > 100, "a corpus that does not bite proves nothing"


def test_every_fault_of_a_runtime_has_its_behaviour() -> None:
    ends = {end for each in TABLE for outcome in each.outcomes for end in outcome.split("|")}
    assert set(FaultKind) - FAULTS_ELSEWHERE <= ends


def test_the_page_shows_the_corpus() -> None:
    page = (ROOT / "docs" / "explanation" / "isolation.md").read_text(encoding="utf-8")
    assert "\n".join(summary()) in page, "write into the page:\n" + "\n".join(summary())


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


def _call(mode: str, *, merchant: str = "mer_a", version: str = VERSION, **known: Any) -> dict[str, Any]:
    return {
        "plugin": HOSTILE,
        "version": version,
        "merchant": merchant,
        "hook": "check_payment",
        "mode": mode,
        "amount": 10,
        "deadline_s": 30.0,
        "known": known,
        "config": {},
        "decision": "1",
    }


@pytest.mark.parametrize("level", LEVELS[1:], ids=lambda level: level.name)
async def test_a_release_that_was_changed_on_the_disk_is_not_run(level: Level, scene: Scene) -> None:
    stage = Stage(scene, level)
    install_hostile(scene.plugins, scene.folder, version=TAMPERED)
    file = scene.plugins / HOSTILE / TAMPERED / "tree" / "corpus_hostile" / "values.py"
    _add_a_line(file)
    try:
        victim = await stage.victim()
        told = await victim.ask("decide", **_call("benign", version=TAMPERED))
        heard = (await victim.ask("logs"))["heard"]
        pids = (await victim.ask("pids", plugin=HOSTILE))["pids"]
    finally:
        await stage.close()
        delete_tree(scene.plugins / HOSTILE / TAMPERED)
    assert (told["outcome"], [each["outcome"] for each in heard], pids) == ("quarantined", ["tampered"], [])


def _add_a_line(file: Path) -> None:
    file.chmod(0o644)
    with file.open("a", encoding="utf-8") as text:
        text.write("\n")


async def test_no_plugin_runs_below_the_required_level(scene: Scene) -> None:
    stage = Stage(scene, Level.L1, required=Level.L2)
    try:
        victim = await stage.victim()
        told = await victim.ask("decide", **_call("write_outside", **scene.known()))
        assert (told["outcome"], scene.is_untouched()) == ("not_confined", True)
    finally:
        await stage.close()
        scene.restore()


@pytest.mark.parametrize("level", LEVELS[1:], ids=lambda level: level.name)
async def test_a_merchants_flood_saturates_that_merchant_alone(level: Level, stages: dict[Level, Stage]) -> None:
    victim = await stages[level].victim()
    await asyncio.gather(*(victim.ask("decide", **_call("benign", merchant=merchant)) for merchant in MERCHANTS))
    flood = _call("sleep", seconds=60) | {"deadline_s": 3.0}
    sent = [victim.send("decide", **flood) for _ in range(12)]
    beside = await victim.ask("decide", **_call("benign", merchant="mer_b"))
    are_open = [answer for answer in sent if not answer.done()]
    ends = Counter([(await victim.answer_to(answer))["outcome"] for answer in sent])
    await victim.ask("end", plugin=HOSTILE, merchant=None)
    assert (beside["outcome"], beside["score"]) == ("allow", (10 + MERCHANTS["mer_b"]) % 101)
    assert are_open, "the other merchant was answered only when the flood was over"
    assert ends == {"timeout": 2, "saturated": 10}

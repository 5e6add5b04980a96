"""Faults become problems in words, and security faults quarantine: for every kind that there is."""

from __future__ import annotations

import asyncio

import pytest

from platform_core.contracts.runtime import SECURITY_FAULTS, Fault, FaultKind
from platform_core.identity.revocation import RevocationFeed
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.plugin_host.answers import Answer
from platform_core.plugin_host.fault_desk import WORDS, FaultDesk
from platform_core.plugin_host.health_rows import HealthDeps, Quarantines
from platform_core.plugin_host.problem_book import ProblemBook
from tests.plugin_host.gate_support import PLUGIN


def _answers(fault: Fault | None) -> list[Answer]:
    """One asking of one plugin."""
    return [
        Answer(plugin_id=PLUGIN, version="1.0.0", tier="confined", hook="check_payment", call_id="c" * 32, fault=fault)
    ]


@pytest.mark.unit
def test_every_kind_of_fault_has_its_words_and_next_step() -> None:
    assert set(WORDS) == set(FaultKind)
    assert len({words.message.en for words in WORDS.values()}) == len(FaultKind)
    assert {kind for kind, words in WORDS.items() if "quarantine for all" in words.message.en} == SECURITY_FAULTS
    assert all(WORDS[kind].severity == "critical" for kind in SECURITY_FAULTS)


@pytest.mark.database
async def test_a_fault_is_a_problem_of_its_merchant_and_a_security_fault_is_everybodys(
    database: Database, committer: Committer, clock: ManualClock, ids: Ids
) -> None:
    problems = ProblemBook(database=database, committer=committer, clock=clock, ids=ids)
    deps = HealthDeps(database=database, committer=committer, clock=clock, ids=ids)
    feed = RevocationFeed(lambda: database.connect("auth"), clock=clock)
    quarantines = Quarantines(deps, feed)
    desk = FaultDesk(problems, quarantines)
    for _ in range(3):
        desk.answered(_answers(Fault(FaultKind.TIMEOUT)), "mer_a")
    desk.answered(_answers(None), "mer_a")
    desk.heard(PLUGIN, "1.0.0", Fault(FaultKind.LOAD, "ImportError"))
    assert not quarantines.holds(PLUGIN, "1.0.0")
    desk.answered(_answers(Fault(FaultKind.FOREIGN_HANDLE)), "mer_a")
    assert quarantines.holds(PLUGIN, "1.0.0")
    await asyncio.wait(quarantines._tasks)
    await problems.flush()
    rows = await problems.of_plugins([PLUGIN], after=None, limit=10)
    told = {(row.kind, row.merchant_id, row.hook, row.count, row.severity) for row in rows}
    assert told == {
        ("timeout", "mer_a", "check_payment", 3, "warning"),
        ("load", None, None, 1, "critical"),
        ("foreign_handle", None, "check_payment", 1, "critical"),
    }
    assert {row.hint["zh"] for row in rows if row.kind == "timeout"} == {"请减少钩子内的工作，或移至 on_ 钩子。"}

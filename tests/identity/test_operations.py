"""Long jobs: begun in a plan, done in steps, finished once with an event; who sees them; what becomes of faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.operations import RUN, TRIES_MAX, OperationKind, Operations, Step
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import DueDone, Plan
from platform_core.kernel.commit.due import DueWork, lease_due
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.handlers import DATABASE_UNAVAILABLE
from platform_core.kernel.telemetry import continue_trace, correlated, current_traceparent
from tests.identity.test_rate_limits import ISV_APP

pytestmark = pytest.mark.database
WHO = replace(ISV_APP, scopes=frozenset({"operations:read"}))


@dataclass
class Counting:
    """A job that counts to its task's `up_to`, two at a step; `faults` are raised first."""

    faults: list[Exception] = field(default_factory=list)
    seen: list[tuple[int, str | None]] = field(default_factory=list)

    async def step(self, task: Mapping[str, Any], done: int) -> Step:
        self.seen.append((done, current_traceparent()))
        if self.faults:
            raise self.faults.pop(0)
        now = min(done + 2, task["up_to"])
        if now < task["up_to"]:
            return Step(now, total=task["up_to"], task=task)
        return Step(now, total=now, result={"counted": now})


@dataclass
class Bench:
    """The service with one job, and the worker's half by hand."""

    deps: IdentityDeps
    operations: Operations
    job: Counting

    async def begin(self, who: Principal = WHO, up_to: int = 5) -> str:
        answer, parts = self.operations.begin(who, kind="tests.count", task={"up_to": up_to}, total=up_to)
        await self.deps.committer.commit(Plan(who.merchant_id, parts))
        return answer.id

    async def turn(self) -> int:
        """What is due now, each once."""
        connection = await self.deps.database.connect("job")
        try:
            rows = await lease_due(connection, kind=RUN, now=self.deps.clock.now(), lease_s=0)
        finally:
            await connection.close()
        for row in rows:
            await self.deps.committer.commit(await self.operations.run(row))
        return len(rows)

    async def events(self) -> list[Any]:
        connection = await self.deps.database.connect("job")
        try:
            return list(await connection.fetch("SELECT * FROM outbox WHERE type = 'operation.finished' ORDER BY id"))
        finally:
            await connection.close()


@pytest.fixture
def bench(deps: IdentityDeps) -> Bench:
    job = Counting()
    return Bench(deps, Operations(deps, [OperationKind("tests.count", job.step)]), job)


async def test_a_job_is_done_in_steps_and_finishes_once(bench: Bench, clock: ManualClock) -> None:
    id_ = await bench.begin()
    shown = await bench.operations.get(WHO, id_)
    assert (shown.state, shown.progress.done, shown.progress.total, shown.result) == ("pending", 0, 5, None)
    states = []
    for _ in range(3):
        clock.advance(timedelta(seconds=1))
        assert await bench.turn() == 1
        shown = await bench.operations.get(WHO, id_)
        states.append((shown.state, shown.progress.done, shown.result))
    assert states == [("running", 2, None), ("running", 4, None), ("done", 5, {"counted": 5})]
    assert await bench.turn() == 0
    [event] = await bench.events()
    assert (event["object_id"], event["merchant_id"], event["sequence"]) == (id_, WHO.merchant_id, 1)
    assert json.loads(event["body"]) == json.loads(shown.model_dump_json())


async def test_the_trace_of_the_request_goes_on_in_the_job_and_its_event(bench: Bench, clock: ManualClock) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with correlated(continue_trace(f"00-{trace}-b7ad6b7169203331-01")):
        await bench.begin(up_to=1)
    await bench.turn()
    [(_, seen)] = bench.job.seen
    [event] = await bench.events()
    assert [value.split("-")[1] for value in (seen or "", event["traceparent"])] == [trace, trace]


async def test_a_refusal_ends_the_job_and_is_shown(bench: Bench) -> None:
    bench.job.faults = [DATABASE_UNAVAILABLE.error()]
    id_ = await bench.begin()
    await bench.turn()
    shown = await bench.operations.get(WHO, id_)
    assert shown.state == "failed"
    assert shown.error is not None
    assert (shown.error.code, shown.result) == ("kernel.database_unavailable", None)
    assert json.loads((await bench.events())[0]["body"])["state"] == "failed"
    assert await bench.turn() == 0


async def test_other_faults_are_tried_again_and_the_eighth_ends_it(bench: Bench) -> None:
    id_ = await bench.begin()
    bench.job.faults = [ValueError("secret words")] * 2
    work = DueWork(RUN, id_, WHO.merchant_id, bench.deps.clock.now(), tries=TRIES_MAX - 2)
    with pytest.raises(ValueError, match="secret words"):
        await bench.operations.run(work)
    assert (await bench.operations.get(WHO, id_)).state == "pending"
    await bench.deps.committer.commit(await bench.operations.run(replace(work, tries=TRIES_MAX - 1)))
    shown = await bench.operations.get(WHO, id_)
    assert (shown.state, shown.error is not None and shown.error.code) == ("failed", "kernel.internal")
    assert "secret words" not in shown.model_dump_json()


async def test_a_step_of_a_finished_job_does_nothing(bench: Bench) -> None:
    id_ = await bench.begin(up_to=1)
    await bench.turn()
    late = DueWork(RUN, id_, WHO.merchant_id, bench.deps.clock.now(), tries=0)
    for work in (late, replace(late, subject_id="opr_none")):
        assert (await bench.operations.run(work)).parts == [DueDone(RUN, work.subject_id)]
    assert len(bench.job.seen) == 1
    assert len(await bench.events()) == 1


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "app_live_1"}, {"app_id": "app_2"}, {"merchant_id": "mer_2"}, {"merchant_id": None}],
    ids=["other mode", "other app", "other merchant", "no merchant"],
)
async def test_only_who_began_it_sees_it(bench: Bench, changes: dict[str, Any]) -> None:
    id_ = await bench.begin()
    with pytest.raises(PlatformError) as refused:
        await bench.operations.get(replace(WHO, **changes), id_)
    assert (refused.value.code, refused.value.status) == ("identity.operation_not_found", 404)


def test_a_step_leaves_a_task_or_a_result() -> None:
    with pytest.raises(ValueError, match="a task, or a result"):
        Step(1)
    with pytest.raises(ValueError, match="a task, or a result"):
        Step(1, task={}, result={})

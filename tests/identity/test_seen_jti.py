"""What may be shown once: one of many wins in all processes, and a crash forgets nothing that could hurt."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.identity import seen_jti
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.models import ISVS
from platform_core.identity.seen_jti import AlreadySeen, Forgotten, claim
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(seconds=300)
pytestmark = pytest.mark.database


def isv(deps: IdentityDeps) -> Insert:
    row = {"id": deps.ids.mint("isv"), "name": "x", "verification": "verified", "tier": "standard", "version": 1}
    return Insert(ISVS, {**row, "created_at": NOW})


async def isvs(database: Database) -> int:
    connection = await database.connect("job")
    try:
        return int(await connection.fetchval("SELECT count(*) FROM isv"))
    finally:
        await connection.close()


async def test_of_forty_plans_with_one_claim_in_two_processes_one_is_in(
    deps: IdentityDeps, database: Database, clock: ManualClock, ids: Ids
) -> None:
    other = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids)
    await other.start()
    try:
        for turn in range(20):
            plans = [
                Plan(None, [claim("dpop", "jkt", f"once-{turn}", UNTIL, birth=0), isv(deps)], answer="in")
                for _ in range(40)
            ]
            outcomes = await asyncio.gather(
                *((deps.committer if n % 2 else other).commit(plan) for n, plan in enumerate(plans)),
                return_exceptions=True,
            )
            refused = [type(outcome.refusal) for outcome in outcomes if isinstance(outcome, PlanRefused)]
            assert (outcomes.count("in"), refused) == (1, [AlreadySeen] * 39)
            assert await isvs(database) == turn + 1
    finally:
        await other.stop()


async def test_kind_issuer_and_jti_make_the_claim_together(deps: IdentityDeps) -> None:
    for kind, issuer, jti in (("dpop", "a", "b"), ("assertion", "a", "b"), ("dpop", "ab", ""), ("dpop", "a", "c")):
        part = claim(kind, issuer, jti, UNTIL, issued=NOW)  # type: ignore[arg-type]  # a tuple of texts
        await deps.committer.commit(Plan(None, [part]))
    with pytest.raises(PlanRefused) as refused:
        await deps.committer.commit(Plan("mer_any", [claim("dpop", "a", "b", UNTIL, issued=NOW)]))
    assert isinstance(refused.value.refusal, AlreadySeen)
    assert refused.value.refusal.kind == "dpop"


async def test_after_a_crash_what_was_issued_before_is_refused(deps: IdentityDeps, database: Database) -> None:
    committer = deps.committer
    await committer.commit(Plan(None, [claim("assertion", "app", "first", UNTIL, issued=NOW)]))
    owner = await asyncpg.connect(database.urls.owner)
    await owner.execute("TRUNCATE seen_jti")  # which is what a crash of the database does to an UNLOGGED table
    outcomes = await asyncio.gather(
        committer.commit(Plan(None, [claim("assertion", "app", "first", UNTIL, issued=NOW - timedelta(days=365))])),
        committer.commit(Plan(None, [claim("dpop", "jkt", "p", UNTIL, birth=0)])),
        return_exceptions=True,
    )
    born = await owner.fetchval("SELECT born FROM seen_jti WHERE id = 'birth'")
    crashed = await owner.fetchval("SELECT extract(epoch FROM now())")
    assert crashed < born <= crashed + 11
    assert [outcome.refusal for outcome in outcomes if isinstance(outcome, PlanRefused)] == [
        Forgotten("assertion", born),
        Forgotten("dpop", born),
    ]
    assert await owner.fetchval("SELECT count(*) FROM seen_jti") == 1
    moment = datetime.fromtimestamp(born, tz=UTC)
    await committer.commit(Plan(None, [claim("assertion", "app", "second", UNTIL, issued=moment)]))
    await committer.commit(Plan(None, [claim("dpop", "jkt", "p", UNTIL, birth=born)]))
    assert await owner.fetchval("SELECT count(*) FROM seen_jti") == 3
    await owner.close()


async def test_the_sweep_takes_what_is_past_and_leaves_the_birth(deps: IdentityDeps, database: Database) -> None:
    for n in range(3):
        until = NOW + timedelta(seconds=n)
        await deps.committer.commit(Plan(None, [claim("dpop", "jkt", str(n), until, birth=0)]))
    connection = await database.connect("job")
    assert await seen_jti.sweep(connection, now=NOW + timedelta(seconds=2), limit=1) == 1
    assert await seen_jti.sweep(connection, now=NOW + timedelta(seconds=2)) == 1
    assert await seen_jti.sweep(connection, now=NOW + timedelta(seconds=2)) == 0
    assert await connection.fetchval("SELECT count(*) FROM seen_jti WHERE id = 'birth' AND born = 0") == 1
    assert await connection.fetchval("SELECT count(*) FROM seen_jti") == 2
    await connection.close()


async def test_the_table_waits_for_no_log(database: Database) -> None:
    connection = await database.connect("job")
    kept = await connection.fetchval("SELECT relpersistence FROM pg_class WHERE relname = 'seen_jti'")
    await connection.close()
    assert kept == b"u"

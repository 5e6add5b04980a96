"""The audit log: rows go with their act, order outlives late commits, and no tampering passes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest
import structlog

from platform_core.bootstrap.appliers import make_appliers
from platform_core.governance.audit import sealer as sealing
from platform_core.governance.audit.chain import merkle_proof, merkle_root, proven_root
from platform_core.governance.audit.checkpoints import Checkpoint, CheckpointUnreadable, NothingSealed, Signer
from platform_core.governance.audit.export import export, is_proven
from platform_core.governance.audit.sealer import Sealer
from platform_core.governance.audit.verify import Broken, verify
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Audit, Committer, Event, Plan, PlanRefused, TenantViolation
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.kernel.telemetry import continue_trace, correlated

pytestmark = pytest.mark.database
VAULT = Vault(b"a secrets key of thirty-two bytes or more")


@dataclass
class Log:
    """An audit log, and its owner's own connection."""

    database: Database
    committer: Committer
    sealer: Sealer
    clock: ManualClock
    ids: Ids
    owner: asyncpg.Connection

    async def write(self, *subjects: str, merchant_id: str | None = "mer_a") -> None:
        """One row for each subject, in one plan."""
        parts: list[object] = [
            Audit("grant.created", "per_1", subject, merchant_id, {"scopes": ["payments:read"]}) for subject in subjects
        ]
        await self.committer.commit(Plan(merchant_id, parts))

    async def seal(self) -> int:
        """Seal what has ended. Other tests' transactions on the same server may hold the line for a moment."""
        waiting = await self.owner.fetchval(
            "SELECT count(*) FROM audit_row WHERE position > coalesce((SELECT max(last_position) FROM audit_seal), 0)"
        )
        sealed = 0
        async with asyncio.timeout(20):
            while sealed < waiting:
                sealed += await self.sealer.seal()
        return sealed

    async def broken(self, checkpoint: Checkpoint | None = None) -> Broken | None:
        """What does not hold."""
        key = Signer(VAULT).public_key
        report = await verify(self.database, now=self.clock.now(), checkpoint=checkpoint, public_key=key)
        return report.broken

    async def tamper(self, *statements: str) -> None:
        """As a superuser who first takes the guards away."""
        for table in ("audit_row", "audit_seal"):
            await self.owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            await self.owner.execute(statement)


@pytest.fixture
async def log(
    database_url: str, database: Database, committer: Committer, clock: ManualClock, ids: Ids
) -> AsyncIterator[Log]:
    """An empty log."""
    owner = await asyncpg.connect(database_url)
    yield Log(database, committer, Sealer(database, committer, clock=clock, ids=ids), clock, ids, owner)
    await owner.close()


async def _rows(log: Log) -> int:
    return int(await log.owner.fetchval("SELECT count(*) FROM audit_row"))


async def test_a_row_holds_what_the_act_said_and_the_request(log: Log) -> None:
    with correlated(continue_trace(None, request_id="req_7", entropy=bytes)):
        part = Audit(
            "app.disabled", "per_1", "app_1", "mer_a", {"b": 1, "a": ["x"]}, reason="stolen", on_behalf_of="mer_a",
            before_digest=b"\x01" * 32,
        )  # fmt: skip
    await log.committer.commit(Plan("mer_a", [part]))
    row = await log.owner.fetchrow("SELECT * FROM audit_row")
    assert dict(row) == {
        "position": 1, "written_in": row["written_in"], "at": log.clock.now(), "stream": "act", "kind": "app.disabled",
        "actor": "per_1", "on_behalf_of": "mer_a", "subject": "app_1", "merchant_id": "mer_a", "reason": "stolen",
        "rule": None, "request_id": "req_7", "before_digest": b"\x01" * 32, "after_digest": None,
        "facts": '{"a":["x"],"b":1}',
    }  # fmt: skip


async def test_a_refused_plan_leaves_no_row(log: Log) -> None:
    foreign = Audit("grant.created", "per_1", "gra_1", "mer_b")
    event = Event("evt_1", "grant.created", "gra_1", 1, log.clock.now(), "{}")
    outcomes = await asyncio.gather(
        log.committer.commit(Plan("mer_a", [Audit("grant.created", "per_1", "gra_2", "mer_a"), event, foreign])),
        log.write("gra_3"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], PlanRefused)
    assert isinstance(outcomes[0].refusal, TenantViolation)
    assert [row["subject"] for row in await log.owner.fetch("SELECT subject FROM audit_row")] == ["gra_3"]
    assert await log.owner.fetchval("SELECT count(*) FROM outbox") == 0


@pytest.mark.parametrize("role", ["arsenal_writer", "arsenal_app", "arsenal_job", "arsenal_auth"])
async def test_no_role_may_change_or_remove_a_row(log: Log, role: str) -> None:
    await log.write("gra_1")
    await log.seal()
    await log.owner.execute(f"SET ROLE {role}")
    for table, column in (("audit_row", "written_in"), ("audit_seal", "number")):
        for act in (f"UPDATE {table} SET {column} = 1", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await log.owner.execute(act)


async def test_a_trigger_refuses_the_owner_too(log: Log) -> None:
    await log.write("gra_1")
    await log.seal()
    for act in ("UPDATE audit_row SET actor = 'x'", "DELETE FROM audit_row", "TRUNCATE audit_row",
                "UPDATE audit_seal SET number = 2", "DELETE FROM audit_seal", "TRUNCATE audit_seal"):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is append-only"):
            await log.owner.execute(act)


async def test_a_merchant_reads_its_own_rows_alone(log: Log) -> None:
    await log.write("gra_a")
    await log.write("gra_b", merchant_id="mer_b")
    await log.write("key_1", merchant_id=None)
    async with log.database.read("mer_a") as connection:
        rows = (await connection.exec_driver_sql("SELECT subject FROM audit_row")).scalars().all()
    assert rows == ["gra_a"]


async def test_the_chain_holds_over_several_seals(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "ROWS_MAX", 3)
    await log.write(*(f"gra_{n}" for n in range(7)))
    assert await log.seal() == 7
    await log.write("gra_7")
    assert await log.seal() == 1
    report = await verify(log.database, now=log.clock.now())
    assert (report.rows, report.seals, report.unsealed, report.broken) == (8, 4, 0, None)
    part = await verify(log.database, now=log.clock.now(), from_seal=2, to_seal=3)
    assert (part.rows, part.seals, part.broken) == (4, 2, None)
    assert await log.sealer.seal() == 0


async def test_two_processes_write_and_seal_together(log: Log, ids: Ids, clock: ManualClock) -> None:
    other = Committer(log.database.connect_writer, make_appliers(clock), clock=clock, ids=ids)
    await other.start()
    second = Log(log.database, other, Sealer(log.database, other, clock=clock, ids=ids), clock, ids, log.owner)
    try:

        async def write(into: Log, name: str) -> None:
            for n in range(30):
                await into.write(f"{name}_{n}")
                if n % 5 == 0:
                    await into.sealer.seal()

        await asyncio.gather(*(write(into, f"gra_{n}") for n, into in enumerate((log, second, log, second))))
    finally:
        await other.stop()
    await log.seal()
    report = await verify(log.database, now=log.clock.now())
    assert (report.rows, report.unsealed, report.broken) == (120, 0, None)
    assert await _rows(log) == 120


async def test_chain_orders_late_commits(log: Log, database_url: str) -> None:
    """A row drawn first and committed last is neither lost nor put before what was sealed meanwhile."""
    late = await asyncpg.connect(database_url)
    open_ = late.transaction()
    await open_.start()
    insert = "INSERT INTO audit_row (at, stream, kind, actor, subject, facts) VALUES ($1, 'act', 'a.b', 'x', $2, '{}')"
    await late.execute(insert, log.clock.now(), "gra_late")
    await log.write("gra_early")
    assert await log.sealer.seal() == 0, "an older transaction is under way: its row belongs before"
    await open_.commit()
    await late.close()
    assert await log.seal() == 2
    order = [document["row"]["subject"] async for document in export(log.database)]
    assert order == ["gra_late", "gra_early"]
    assert await log.broken() is None


async def test_what_waits_for_a_seal_too_long_is_a_finding(log: Log) -> None:
    await log.write("gra_1")
    assert await log.broken() is None
    log.clock.advance(timedelta(seconds=11))
    assert await log.broken() == Broken("unsealed", None, None, None)


async def _one_bit(log: Log) -> None:
    await log.tamper("UPDATE audit_row SET facts = '{\"scopes\":[\"payments:reae\"]}' WHERE subject = 'gra_3'")


async def _moment(log: Log) -> None:
    await log.tamper("UPDATE audit_row SET at = at + interval '1 microsecond' WHERE subject = 'gra_3'")


async def _null(log: Log) -> None:
    await log.tamper("UPDATE audit_row SET reason = '' WHERE subject = 'gra_3'")


async def _swapped(log: Log) -> None:
    await log.tamper(
        "UPDATE audit_row AS a SET subject = CASE a.subject WHEN 'gra_3' THEN 'gra_4' ELSE 'gra_3' END "
        "WHERE a.subject IN ('gra_3', 'gra_4')"
    )


async def _removed(log: Log) -> None:
    await log.tamper("DELETE FROM audit_row WHERE subject = 'gra_3'")


async def _last_removed(log: Log) -> None:
    await log.tamper("DELETE FROM audit_row WHERE subject = 'gra_5'")


async def _added(log: Log) -> None:
    await log.tamper(
        "INSERT INTO audit_row (position, written_in, at, stream, kind, actor, subject, facts) OVERRIDING SYSTEM VALUE "
        "SELECT -1, written_in, at, stream, kind, actor, 'gra_x', facts FROM audit_row WHERE subject = 'gra_3'"
    )


async def _seal_forged(log: Log) -> None:
    """The row and its leaf agree; the root does not."""
    await _one_bit(log)
    await log.tamper(
        "UPDATE audit_seal SET row_hashes = decode(repeat('ab', 32), 'hex') || substr(row_hashes, 33) WHERE number = 2"
    )


async def _seal_removed(log: Log) -> None:
    await log.tamper(
        "DELETE FROM audit_seal WHERE number = 2", "DELETE FROM audit_row WHERE subject IN ('gra_3', 'gra_4', 'gra_5')"
    )


async def _seals_relinked(log: Log) -> None:
    """The last seal is made anew over other rows, but follows a wrong one."""
    await log.tamper("UPDATE audit_seal SET previous = decode(repeat('00', 32), 'hex') WHERE number = 3")


async def _sealed_moment(log: Log) -> None:
    await log.tamper("UPDATE audit_seal SET sealed_at = sealed_at - interval '1 hour' WHERE number = 2")


# Three seals of three rows: gra_0 to gra_2, gra_3 to gra_5, gra_6 to gra_8, numbered from 1.
@pytest.mark.parametrize(
    ("attack", "found"),
    [
        (_one_bit, Broken("row changed", 2, 4, 4)),
        (_moment, Broken("row changed", 2, 4, 4)),
        (_null, Broken("row changed", 2, 4, 4)),
        (_swapped, Broken("row changed", 2, 4, 4)),
        (_removed, Broken("row missing", 2, 4, None)),
        (_last_removed, Broken("row missing", 2, 6, None)),
        (_added, Broken("row added", 2, 4, -1)),
        (_seal_forged, Broken("seal", 2, None, None)),
        (_seal_removed, Broken("seal", 2, None, None)),
        (_seals_relinked, Broken("seal", 3, None, None)),
        (_sealed_moment, Broken("seal", 2, None, None)),
    ],
)
async def test_audit_finds_each_tampering(log: Log, attack: Callable[[Log], Awaitable[None]], found: Broken) -> None:
    for first in (0, 3, 6):
        await log.write(*(f"gra_{n}" for n in range(first, first + 3)))
        await log.seal()
    assert await log.broken() is None
    await attack(log)
    assert await log.broken() == found


async def test_a_checkpoint_finds_what_the_chain_cannot(log: Log) -> None:
    signer = Signer(VAULT)
    with pytest.raises(NothingSealed):
        await signer.sign(log.database, now=log.clock.now())
    await log.write("gra_0")
    await log.seal()
    await log.write("gra_1")
    await log.seal()
    kept = Checkpoint.read(json.dumps((await signer.sign(log.database, now=log.clock.now())).document()))
    assert (kept.number, kept.last_row) == (2, 2)
    await log.write("gra_2")
    await log.seal()
    assert await log.broken(kept) is None
    await log.tamper("DELETE FROM audit_seal WHERE number > 1", "DELETE FROM audit_row WHERE subject <> 'gra_0'")
    assert await log.broken() is None, "a chain without its end is a chain"
    assert await log.broken(kept) == Broken("tail cut", 2, None, None)
    await log.write("gra_other")
    await log.seal()
    assert await log.broken() is None, "and so is one that was written anew"
    assert await log.broken(kept) == Broken("seal", 2, None, None)


async def test_a_checkpoint_signed_by_nobody_we_know_is_refused(log: Log) -> None:
    await log.write("gra_0")
    await log.seal()
    kept = await Signer(VAULT).sign(log.database, now=log.clock.now())
    for forged in (
        replace(kept, last_row=2),
        replace(kept, digest=hashlib.sha256(b"other").digest()),
        replace(kept, signature=bytes(64)),
        await Signer(Vault(b"z" * 32)).sign(log.database, now=log.clock.now()),
    ):
        assert await log.broken(forged) == Broken("signature", 1, None, None)
    for text in ("", "[]", "{}", '{"seal": "x"}', kept.document()["digest"]):
        with pytest.raises(CheckpointUnreadable):
            Checkpoint.read(text)


async def test_an_exported_row_is_proven_alone(log: Log) -> None:
    await log.write("gra_0", "gra_1", "gra_2")
    await log.write("gra_b", merchant_id="mer_b")
    await log.seal()
    await log.write("gra_unsealed")
    documents = [json.loads(json.dumps(document)) async for document in export(log.database, merchant_id="mer_a")]
    assert [(each["number"], each["row"]["subject"]) for each in documents] == [
        (1, "gra_0"),
        (2, "gra_1"),
        (3, "gra_2"),
    ]
    assert all(map(is_proven, documents))
    documents[1]["row"]["actor"] = "per_2"
    assert [is_proven(each) for each in documents] == [True, False, True]
    digest = await log.owner.fetchval("SELECT digest FROM audit_seal WHERE number = 1")
    assert {each["seal_digest"] for each in documents} == {digest.hex()}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 13])
def test_every_leaf_proves_its_root_and_no_other_place(count: int) -> None:
    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(count)]
    root = merkle_root(leaves)
    for place, leaf in enumerate(leaves):
        proof = merkle_proof(leaves, place)
        assert proven_root(leaf, proof) == root
        assert proven_root(hashlib.sha256(b"other").digest(), proof) != root
    assert count == 1 or merkle_root(leaves[::-1]) != root


async def test_a_cluster_that_counts_from_lower_is_noticed(log: Log) -> None:
    """As after a restore into a new cluster: a new row would stand before the chain's end."""
    await log.write("gra_0")
    await log.seal()
    await log.tamper("UPDATE audit_seal SET last_written_in = last_written_in + 1000000")
    await log.write("gra_1")
    with structlog.testing.capture_logs() as said:
        assert await log.sealer.seal() == 0
    assert [line["event"] for line in said] == ["audit.restored_behind"]
    assert await log.owner.fetchval("SELECT count(*) FROM audit_seal") == 1


async def test_a_late_seal_rings(log: Log) -> None:
    await log.write("gra_0")
    log.clock.advance(timedelta(seconds=11))
    with structlog.testing.capture_logs() as said:
        await log.seal()
    assert "audit.sealed_late" in {line["event"] for line in said}

"""`verify` finds each kind of damage and names its first row. Damage is done as superuser, past every constraint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database.pools import Database
from platform_core.ledger.accounts import Account, Guard, Post, Transfer, Void
from platform_core.ledger.service import LedgerService
from platform_core.ledger.verify import RULES, LedgerReport, verify

pytestmark = pytest.mark.database

MERCHANT = "mer_a"
CHANNEL = Account(MERCHANT, "CNY", MERCHANT, "channel_receivable", "acquirer")
CLEARING = Account(MERCHANT, "CNY", MERCHANT, "customer_clearing", guard=Guard.GE0)
PENDING = Account(MERCHANT, "CNY", MERCHANT, "merchant_pending", guard=Guard.GE0)
FEE = Account(None, "CNY", "platform", "platform_fee")
SCORE = Account(MERCHANT, "points:1", MERCHANT, "issued")
MEMBER = Account(MERCHANT, "points:1", MERCHANT, "member", "cus_1", Guard.GE0)
# Accounts are opened in the order of their keys: 1 channel, 2 clearing, 3 pending, 4 fee, 5 issued, 6 member.
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOOSEN = """
ALTER TABLE ledger_account DROP CONSTRAINT guard_ge0, DROP CONSTRAINT guard_le0;
ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_amount_check, DROP CONSTRAINT ledger_transfer_check;
ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_check1;
ALTER TABLE ledger_pending DROP CONSTRAINT ledger_pending_check;
DROP INDEX ledger_transfer_resolution;
"""


@dataclass(frozen=True)
class Damage:
    """What is done to the sound ledger, and the offences that must be among those found, as (rule, subject)."""

    sql: str
    found: tuple[tuple[str, str], ...]


def insert(id_: str, kind: str, values: str) -> str:
    """A forged row; values: debit, credit, unit, amount, pending_id, reverses, created_at, balances after."""
    return (
        "INSERT INTO ledger_transfer (id, kind, merchant_id, debit_account, credit_account, unit, amount, pending_id, "
        "reverses, created_at, debit_after, credit_after, code, reference) "
        f"SELECT '{id_}', '{kind}', 'mer_a', {values}, 'x', 'x'"
    )


LATE = "'2026-11-22 13:00Z'::timestamptz"
DAMAGES = {
    "balance raised": Damage(
        "UPDATE ledger_account SET credits_posted = credits_posted + 1 WHERE id = 3",
        (("unit_sum", "CNY"), ("balance", "3")),
    ),
    "balance moved between two accounts": Damage(
        "UPDATE ledger_account SET debits_posted = debits_posted + 5 WHERE id IN (1, 4); "
        "UPDATE ledger_account SET credits_posted = credits_posted + 5 WHERE id IN (1, 4)",
        (("balance", "1"),),
    ),
    "pending sum raised": Damage(
        "UPDATE ledger_account SET debits_pending = debits_pending + 1 WHERE id = 3",
        (("unit_sum", "CNY"), ("balance", "3")),
    ),
    "amount of a transfer changed": Damage(
        "UPDATE ledger_transfer SET amount = 999 WHERE id = 'sale'",
        (("balance", "1"), ("chain", "sale")),
    ),
    "amount of a pending transfer changed": Damage(
        "UPDATE ledger_transfer SET amount = 41 WHERE id = 'hold_void'",
        (("posted_amount", "void"), ("pending_state", "hold_void")),
    ),
    "first transfer removed": Damage(
        "DELETE FROM ledger_transfer WHERE id = 'sale'", (("balance", "1"), ("chain", "share"))
    ),
    "last transfer removed": Damage("DELETE FROM ledger_transfer WHERE id = 'burn'", (("balance", "5"),)),
    "running balance changed": Damage(
        "UPDATE ledger_transfer SET credit_after = credit_after + 1 WHERE id = 'fee'", (("chain", "fee"),)
    ),
    "transfers swapped in time": Damage(
        "UPDATE ledger_transfer SET created_at = created_at - interval '1 day' WHERE id = 'fee'", (("time", "fee"),)
    ),
    "transfer sent to another account": Damage(
        "UPDATE ledger_transfer SET credit_account = 2 WHERE id = 'fee'", (("balance", "2"), ("chain", "rev:fee"))
    ),
    "account removed": Damage(
        "DELETE FROM ledger_account WHERE id = 6", (("account", "grant"), ("unit_sum", "points:1"))
    ),
    "transfer to itself": Damage(
        insert("forged", "transfer", f"1, 1, 'CNY', 5, NULL, NULL, {LATE}, -1000, -1000"), (("account", "forged"),)
    ),
    "negative amount": Damage(
        insert("forged", "transfer", f"1, 4, 'CNY', -5, NULL, NULL, {LATE}, -965, 1"), (("account", "forged"),)
    ),
    "transfer in a foreign unit": Damage(
        "UPDATE ledger_transfer SET unit = 'USD' WHERE id = 'fee'", (("unit", "fee"),)
    ),
    "account in a foreign unit": Damage(
        "UPDATE ledger_account SET unit = 'USD' WHERE id = 3", (("unit_sum", "CNY"), ("unit", "share"))
    ),
    "account given to another merchant": Damage(
        "UPDATE ledger_account SET merchant_id = 'mer_b' WHERE id = 3", (("tenant", "share"),)
    ),
    "transfer given to another merchant": Damage(
        "UPDATE ledger_transfer SET merchant_id = 'mer_b' WHERE id = 'fee'", (("tenant", "fee"),)
    ),
    "guard changed afterwards": Damage("UPDATE ledger_account SET guard = 'ge0' WHERE id = 1", (("guard", "1"),)),
    "guard broken for a while": Damage(
        "UPDATE ledger_transfer SET credit_after = -1 WHERE id = 'share'", (("guard", "share"), ("chain", "share"))
    ),
    "clearing left with money": Damage(
        insert("forged", "transfer", f"1, 2, 'CNY', 7, NULL, NULL, {LATE}, -967, 7")
        + "; UPDATE ledger_account SET debits_posted = debits_posted + 7 WHERE id = 1"
        + "; UPDATE ledger_account SET credits_posted = credits_posted + 7 WHERE id = 2",
        (("clearing", "2"),),
    ),
    "pending posted twice": Damage(
        insert("forged", "post", f"3, 1, 'CNY', 1, 'hold_post', NULL, {LATE}, 1, 1"),
        (("resolved_twice", "forged"), ("pending_state", "hold_post")),
    ),
    "post of nothing": Damage(
        insert("forged", "post", f"3, 1, 'CNY', 1, 'none', NULL, {LATE}, 1, 1"), (("resolution", "forged"),)
    ),
    "post of what was no pending": Damage(
        insert("forged", "post", f"1, 2, 'CNY', 1, 'sale', NULL, {LATE}, 1, 1"), (("resolution", "forged"),)
    ),
    "post between other accounts": Damage(
        "UPDATE ledger_transfer SET debit_account = 4 WHERE id = 'post'", (("resolution", "post"),)
    ),
    "more posted than was pending": Damage(
        "UPDATE ledger_transfer SET amount = 61 WHERE id = 'post'", (("posted_amount", "post"),)
    ),
    "expired before its time": Damage(
        "UPDATE ledger_transfer SET expires_at = '2027-01-01 00:00Z' WHERE id = 'hold_expire'",
        (("expiry", "expire"), ("pending_state", "hold_expire")),
    ),
    "state kept wrongly": Damage(
        "UPDATE ledger_pending SET state = 'pending' WHERE id = 'hold_void'", (("pending_state", "hold_void"),)
    ),
    "posted amount kept wrongly": Damage(
        "UPDATE ledger_pending SET posted = 59 WHERE id = 'hold_post'", (("pending_state", "hold_post"),)
    ),
    "pending forgotten": Damage("DELETE FROM ledger_pending WHERE id = 'hold_open'", (("pending_state", "hold_open"),)),
    "pending invented": Damage(
        "INSERT INTO ledger_pending (id, debit_account, credit_account, amount, unit, reference, state) "
        "VALUES ('forged', 1, 2, 5, 'CNY', 'x', 'pending')",
        (("pending_state", "forged"),),
    ),
    "resolution removed": Damage(
        "DELETE FROM ledger_transfer WHERE id = 'void'", (("balance", "1"), ("pending_state", "hold_void"))
    ),
    "reversal of nothing": Damage(
        "UPDATE ledger_transfer SET reverses = 'none' WHERE id = 'burn'", (("reversal", "burn"),)
    ),
    "reversal of a hold": Damage(
        "UPDATE ledger_transfer SET reverses = 'hold_void' WHERE id = 'rev:fee'", (("reversal", "rev:fee"),)
    ),
    "reversal in another unit": Damage(
        "UPDATE ledger_transfer SET reverses = 'sale' WHERE id = 'burn'", (("reversal", "burn"),)
    ),
}


def transfer(id_: str, debit: Account, credit: Account, amount: int) -> Transfer:
    return Transfer(id_, debit, credit, amount, "move", "obj_1")


def hold(id_: str, amount: int, expires_at: datetime | None = None) -> Transfer:
    return Transfer(id_, PENDING, CHANNEL, amount, "hold", "obj_1", is_pending=True, expires_at=expires_at)


@pytest.fixture
async def ledger(
    committer: Committer, clock: ManualClock, database: Database, database_url: str
) -> AsyncIterator[asyncpg.Connection]:
    """A small sound ledger with every kind of row, and a superuser's connection to it with the constraints loosened."""
    service = LedgerService(database, ids=None)  # type: ignore[arg-type]  # no id is minted here
    pairs = ((CHANNEL, CLEARING), (PENDING, FEE), (SCORE, MEMBER))
    nothing = [Transfer(a.role, a, b, 0, "open", "obj_1", balancing="debit") for a, b in pairs]
    await committer.commit(Plan(MERCHANT, nothing))
    first = [transfer("sale", CHANNEL, CLEARING, 1000), transfer("share", CLEARING, PENDING, 1000)]
    await committer.commit(Plan(MERCHANT, [*first, transfer("fee", PENDING, FEE, 6)]))
    await committer.commit(Plan(MERCHANT, [hold("hold_post", 60), hold("hold_void", 40), hold("hold_open", 10)]))
    await committer.commit(Plan(MERCHANT, [hold("hold_expire", 20, NOW + timedelta(minutes=1))]))
    clock.advance(timedelta(minutes=2))
    await committer.commit(Plan(MERCHANT, [Post("post", "hold_post", 40), Void("void", "hold_void")]))
    await committer.commit(Plan(MERCHANT, [Void("expire", "hold_expire", is_expiry=True)]))
    await committer.commit(await service.reverse(None, "fee", reference="obj_1"))
    await committer.commit(Plan(MERCHANT, [transfer("grant", SCORE, MEMBER, 300)]))
    await committer.commit(Plan(MERCHANT, [transfer("burn", MEMBER, SCORE, 100)]))
    connection = await asyncpg.connect(database_url)
    await connection.execute(LOOSEN)
    yield connection
    await connection.close()


async def test_sound_ledger_is_clean(ledger: asyncpg.Connection, database: Database) -> None:
    steps: list[tuple[str, int, int]] = []
    report = await verify(database, now=NOW, progress=lambda *step: steps.append(step))
    assert report.offences == ()
    assert report.is_clean
    assert (report.accounts, report.transfers, report.pending, report.checked_at) == (6, 13, 1, NOW)
    assert [(u.unit, u.accounts, u.net, u.net_pending) for u in report.units] == [
        ("CNY", 4, 0, 0),
        ("points:1", 2, 0, 0),
    ]
    assert [done for _, done, _ in steps] == list(range(len(steps)))
    assert steps[-1] == ("done", len(steps) - 1, len(steps) - 1)


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found_and_named(name: str, ledger: asyncpg.Connection, database: Database) -> None:
    await ledger.execute(DAMAGES[name].sql)
    report: LedgerReport = await verify(database, now=NOW)
    assert not report.is_clean
    found = {(offence.rule, offence.subject) for offence in report.offences}
    assert found >= set(DAMAGES[name].found), report.offences
    assert all(RULES[offence.rule] in str(offence) for offence in report.offences)


def test_every_rule_is_seen_broken() -> None:
    assert {rule for damage in DAMAGES.values() for rule, _ in damage.found} == set(RULES)


async def test_first_of_several_is_named(ledger: asyncpg.Connection, database: Database) -> None:
    await ledger.execute("UPDATE ledger_transfer SET unit = 'USD' WHERE id IN ('burn', 'share', 'fee')")
    report = await verify(database, now=NOW)
    assert [(offence.rule, offence.subject) for offence in report.offences if offence.rule == "unit"] == [
        ("unit", "share")
    ]

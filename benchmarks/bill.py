"""`bill`: a large day's bill, made in pieces, against COPY of the same rows to a table of texts."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import uvloop

from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.ground import Ground, bench_settings, open_ground, seed_sellers
from benchmarks.options import Options
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.capabilities.payments.bills.models import Bill
from platform_core.capabilities.payments.bills.rows import COLUMNS
from platform_core.kernel.database.pools import DatabaseUrls

NAME: Final = "bill"
TRANSFERS: Final = 99_000  # a day's: three for each payment
QUICK_TRANSFERS: Final = 3_000
COPIED_AT_ONCE: Final = 10_000
MEMORY_GOAL: Final = Goal("<=", 150, 80)  # what making and verifying such days may add to a process
_FIRST_DAY: Final = datetime(2026, 3, 2, 4, tzinfo=UTC)

# A day of payments as a provider's: rows of documents that answer the bill's look-ups, and transfers with balances.
_SEED: Final = """
INSERT INTO ledger_account (merchant_id, unit, owner, role, bucket, guard)
SELECT $1, 'CNY', $1, role, '', 'free' FROM unnest(ARRAY['channel_receivable', 'customer_clearing',
  'merchant_available', 'platform_fee']) AS role ON CONFLICT DO NOTHING
"""
_PAYMENTS: Final = """
INSERT INTO pay_payment (id, merchant_id, out_trade_no, fingerprint, subject, form, is_capture, state, version,
  sequence, currency, order_minor, payable_minor, authorized_minor, voided_minor, capturing_minor, captured_minor,
  refunding_minor, refunded_minor, fee_minor, fee_returned_minor, attempts, created_at, updated_at, expires_at,
  captured_at)
SELECT 'pay_' || $2 || '_' || n, $1, 'o_' || $2 || '_' || n, '\\x00', 'Two coffees', 'merchant_scan', true, 'captured',
  2, 2, 'CNY', 8200, 8200, 0, 0, 0, 8200, 0, 0, 49, 0, 1, $3, $3, $3, $3 FROM generate_series(1, $4::int) AS n
"""
_TRANSACTIONS: Final = """
INSERT INTO pay_transaction (id, merchant_id, payment_id, attempt_id, kind, request_key, state, amount_minor,
  released_minor, is_final, provider_id, channel_account_id, provider_reference, holds, fee_minor, reason, created_at,
  finished_at)
SELECT 'txn_' || $2 || '_' || n, $1, 'pay_' || $2 || '_' || n, 'att_' || n, 'sale', 'att_' || n, 'succeeded', 8200, 0,
  true, 'acquirer', 'cha_1', 'ref_' || $2 || '_' || n, '[]', 0, '', $3, $3 FROM generate_series(1, $4::int) AS n
"""
_TRANSFERS: Final = """
INSERT INTO ledger_transfer (id, merchant_id, kind, debit_account, credit_account, unit, amount, code, reference,
  created_at, debit_after, credit_after)
SELECT 'tra_' || $2 || '_' || n || '_' || leg, $1, 'transfer', d.id, c.id, 'CNY', amount, code,
  'txn_' || $2 || '_' || n, $3::timestamptz + n * interval '1 millisecond',
  ($5::bigint + n) * CASE d.role WHEN 'channel_receivable' THEN -8200 WHEN 'merchant_available' THEN 8151 ELSE 0 END,
  ($5::bigint + n) * CASE c.role WHEN 'merchant_available' THEN 8151 WHEN 'platform_fee' THEN 49 ELSE 0 END
FROM generate_series(1, $4::int) AS n CROSS JOIN (VALUES
  (1, 'channel_receivable', 'customer_clearing', 8200, 'capture'), (2, 'customer_clearing', 'merchant_available', 8200,
  'capture'), (3, 'merchant_available', 'platform_fee', 49, 'fee')) AS l(leg, debit, credit, amount, code)
JOIN ledger_account AS d ON d.merchant_id = $1 AND d.role = debit
JOIN ledger_account AS c ON c.merchant_id = $1 AND c.role = credit ORDER BY n, leg
"""
_SUMS: Final = """
UPDATE ledger_account AS a SET moved_at = $2,
  debits_posted = (SELECT coalesce(sum(amount), 0) FROM ledger_transfer WHERE debit_account = a.id),
  credits_posted = (SELECT coalesce(sum(amount), 0) FROM ledger_transfer WHERE credit_account = a.id)
WHERE merchant_id = $1
"""


def run(options: Options) -> list[Figure]:
    """Alternated: the bill of one more day, then COPY of its rows, as texts, to a table without index."""
    with open_ground() as ground:
        url = ground.database("app")
        [seller] = seed_sellers(ground, url, count=1)
        rounds = uvloop.run(_measure(ground, url, seller.merchant_id, options))
    return [
        Figure(NAME, "against_copy", rounds.ratios("rows_per_s", "copied_per_s"), "x"),
        Figure(NAME, "rows_per_s", rounds.of("rows_per_s"), "rows/s"),
        Figure(NAME, "copied_per_s", rounds.of("copied_per_s"), "rows/s"),
        Figure(NAME, "verified_per_s", rounds.of("verified_per_s"), "rows/s"),
        Figure(NAME, "memory_added", rounds.of("memory_added"), "MB", MEMORY_GOAL),
    ]


async def _measure(ground: Ground, url: str, merchant_id: str, options: Options) -> Rounds:
    payments = (QUICK_TRANSFERS if options.rounds == 1 else TRANSFERS) // 3
    connection = await asyncpg.connect(url)
    columns = ", ".join(f"{column} text" for column in COLUMNS)
    await connection.execute(f"CREATE TABLE copied ({columns})")
    rounds, before = Rounds(), 0.0
    async with open_platform(bench_settings(ground.home), DatabaseUrls(owner=url)) as platform:
        for number in range(options.rounds):
            day = _FIRST_DAY + timedelta(days=number)
            await _seed(connection, merchant_id, number=number, day=day, payments=payments)
            before = before or _memory_mb()
            made_s = await _make(platform, merchant_id)
            [bill] = await platform.payments.bills.published(merchant_id, limit=1)
            assert bill.rows == payments, f"round {number}: {bill.rows} rows of {payments}"
            copied_s = await _copy(connection, platform, bill)
            started = time.perf_counter()
            report = await platform.payments.bill_verifier.verify(bill)
            verified_s = time.perf_counter() - started
            assert report.is_clean, report.differences
            rounds.add(
                {
                    "rows_per_s": bill.rows / made_s,
                    "copied_per_s": bill.rows / copied_s,
                    "verified_per_s": bill.rows / verified_s,
                }
            )
    rounds.add({"memory_added": _memory_mb() - before})
    await connection.close()
    return rounds


async def _seed(connection: asyncpg.Connection, merchant_id: str, *, number: int, day: datetime, payments: int) -> None:
    """One day more of payments, captured one a millisecond."""
    await connection.execute(_SEED, merchant_id)
    await connection.execute(_PAYMENTS, merchant_id, str(number), day, payments)
    await connection.execute(_TRANSACTIONS, merchant_id, str(number), day, payments)
    await connection.execute(_TRANSFERS, merchant_id, str(number), day, payments, number * payments)
    await connection.execute(_SUMS, merchant_id, day + timedelta(hours=1))
    await connection.execute("ANALYZE")


async def _make(platform: Platform, merchant_id: str) -> float:
    """Seconds for the merchant's next bill, from nothing to published."""
    day = await platform.payments.bill_maker.next_day(merchant_id)
    assert day is not None, "money moved"
    started = time.perf_counter()
    await platform.payments.bill_maker.advance(merchant_id, day, work_s=None)
    return time.perf_counter() - started


async def _copy(connection: asyncpg.Connection, platform: Platform, bill: Bill) -> float:
    """Seconds to COPY the bill's own rows, as its file has them."""
    seconds, records = 0.0, list[tuple[str, ...]]()

    async def copy() -> float:
        started = time.perf_counter()
        await connection.copy_records_to_table("copied", records=records)
        records.clear()
        return time.perf_counter() - started

    async for line in platform.payments.bills.lines(bill):
        records.append(tuple(line.values()))
        if len(records) == COPIED_AT_ONCE:
            seconds += await copy()
    seconds += await copy()
    await connection.execute("TRUNCATE copied")
    return seconds


def _memory_mb() -> float:
    """The most that this process ever held; it never falls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

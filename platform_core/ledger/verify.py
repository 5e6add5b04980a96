"""`arsenal ledger verify`: recomputes the ledger from its transfers alone, names the first row that breaks each rule.

All rules read one snapshot, so a ledger in use can be verified. PostgreSQL sorts and sums within `_WORK_MEMORY` and on
disk beyond it: memory stays bounded however long the history is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.database.pools import Database
from platform_core.ledger import repository
from platform_core.ledger.records import UnitSums

_WORK_MEMORY: Final = "64MB"

RULES: Final = {
    "unit_sum": "All accounts of a unit together are zero, posted and pending.",
    "balance": "An account's four sums are those of its transfers.",
    "guard": "No account is, or ever was, beyond its guard.",
    "clearing": "An account that money only passes through is zero after every plan.",
    "chain": "Each balance noted on a transfer is the one before it plus what the transfer moved.",
    "time": "Within an account the time of booking never steps back.",
    "account": "Both accounts of a transfer exist and differ, and it moves a positive amount.",
    "unit": "A transfer and its accounts have one unit.",
    "tenant": "A transfer touches accounts of its own merchant or of the platform.",
    "resolution": "What posts, voids or expires a pending transfer names an earlier one, and its accounts.",
    "resolved_twice": "A pending transfer is resolved once.",
    "posted_amount": "No more is posted than was pending; what is released is all of it.",
    "expiry": "A pending transfer expires when its time has come, not before.",
    "pending_state": "The state kept of a pending transfer is the one that its transfers say.",
    "reversal": "A reversal names an earlier transfer that moved something in the same unit.",
}
"""Each rule in words. The order is that of the report."""

ROLES_PASSING_THROUGH: Final = ("customer_clearing",)  # specs of payments: zero after every plan

# Each query answers rows of (rule, subject, expected, found): the first offence against each rule that it looks after.
# The long ones filter by all their conditions first, so that words are made of broken rows only.
_UNITS = """
SELECT DISTINCT ON (rule) 'unit_sum' AS rule, unit, '0 posted, 0 pending',
       sum(credits_posted - debits_posted) || ' posted, ' || sum(credits_pending - debits_pending) || ' pending'
FROM ledger_account GROUP BY unit
HAVING sum(credits_posted - debits_posted) <> 0 OR sum(credits_pending - debits_pending) <> 0
ORDER BY rule, unit
"""
_ACCOUNTS = """
SELECT DISTINCT ON (rule) rule, a.id::text, expected, found
FROM ledger_account AS a CROSS JOIN LATERAL (VALUES
  ('guard', 'a balance that ' || a.guard || ' allows',
   a.credits_posted - a.debits_posted || ' posted, pending debits ' || a.debits_pending || ', credits '
     || a.credits_pending,
   (a.guard = 'ge0' AND a.debits_posted + a.debits_pending > a.credits_posted)
   OR (a.guard = 'le0' AND a.credits_posted + a.credits_pending > a.debits_posted)),
  ('clearing', '0', (a.credits_posted - a.debits_posted)::text,
   a.role = ANY(%(passing)s) AND a.credits_posted <> a.debits_posted)
) AS v(rule, expected, found, is_broken)
WHERE is_broken ORDER BY rule, a.id
"""
_BALANCES = """
WITH side AS (
  SELECT debit_account AS account, CASE WHEN kind IN ('transfer', 'post') THEN amount ELSE 0 END AS dp, 0::bigint AS cp,
         CASE WHEN kind = 'pending' THEN amount ELSE 0 END AS dn, 0::bigint AS cn
  FROM ledger_transfer
  UNION ALL
  SELECT credit_account, 0, CASE WHEN kind IN ('transfer', 'post') THEN amount ELSE 0 END, 0,
         CASE WHEN kind = 'pending' THEN amount ELSE 0 END
  FROM ledger_transfer
  UNION ALL
  SELECT v.account, 0, 0, v.dn, v.cn
  FROM ledger_transfer AS r JOIN ledger_transfer AS p ON p.id = r.pending_id AND p.kind = 'pending'
  CROSS JOIN LATERAL (VALUES (p.debit_account, -p.amount, 0::bigint), (p.credit_account, 0, -p.amount))
    AS v(account, dn, cn)
), total AS (
  SELECT account, sum(dp) AS dp, sum(cp) AS cp, sum(dn) AS dn, sum(cn) AS cn FROM side GROUP BY account
)
SELECT 'balance', a.id::text,
       concat_ws('/', coalesce(t.dp, 0), coalesce(t.cp, 0), coalesce(t.dn, 0), coalesce(t.cn, 0)),
       concat_ws('/', a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)
FROM ledger_account AS a LEFT JOIN total AS t ON t.account = a.id
WHERE (coalesce(t.dp, 0), coalesce(t.cp, 0), coalesce(t.dn, 0), coalesce(t.cn, 0))
   IS DISTINCT FROM (a.debits_posted::numeric, a.credits_posted::numeric, a.debits_pending::numeric,
                     a.credits_pending::numeric)
ORDER BY a.id LIMIT 1
"""
_CHAIN = """
WITH side AS (
  SELECT debit_account AS account, position, id, created_at, debit_after AS after,
         CASE WHEN kind IN ('transfer', 'post') THEN -amount ELSE 0 END AS effect
  FROM ledger_transfer
  UNION ALL
  SELECT credit_account, position, id, created_at, credit_after,
         CASE WHEN kind IN ('transfer', 'post') THEN amount ELSE 0 END
  FROM ledger_transfer
), chain AS (
  SELECT side.*, lag(after, 1, 0::bigint) OVER w AS before, lag(created_at) OVER w AS earlier
  FROM side WINDOW w AS (PARTITION BY account ORDER BY position)
)
SELECT DISTINCT ON (rule) rule, c.id, expected, found
FROM (
  SELECT chain.*, a.guard FROM chain LEFT JOIN ledger_account AS a ON a.id = chain.account
  WHERE after <> before::numeric + effect OR created_at < earlier
     OR (a.guard = 'ge0' AND after < 0) OR (a.guard = 'le0' AND after > 0)
) AS c CROSS JOIN LATERAL (VALUES
  ('chain', before::numeric + effect || ' on account ' || c.account, after::text, after <> before::numeric + effect),
  ('time', 'not before ' || earlier, c.created_at::text, c.created_at < earlier),
  ('guard', 'a balance that ' || c.guard || ' allows on account ' || c.account, after::text,
   (c.guard = 'ge0' AND after < 0) OR (c.guard = 'le0' AND after > 0))
) AS v(rule, expected, found, is_broken)
WHERE is_broken ORDER BY rule, c.position
"""
_TRANSFERS = """
SELECT DISTINCT ON (rule) rule, t.id, expected, found
FROM ledger_transfer AS t
LEFT JOIN ledger_account AS d ON d.id = t.debit_account
LEFT JOIN ledger_account AS c ON c.id = t.credit_account
CROSS JOIN LATERAL (VALUES
  ('account', 'two accounts and a positive amount',
   concat_ws(' ', t.amount, 'from', coalesce(d.id::text, 'none'), 'to', coalesce(c.id::text, 'none')),
   d.id IS NULL OR c.id IS NULL OR d.id = c.id OR t.amount <= 0),
  ('unit', t.unit, d.unit || ' > ' || c.unit, d.unit <> t.unit OR c.unit <> t.unit),
  ('tenant', coalesce(t.merchant_id, 'the platform'),
   coalesce(d.merchant_id, 'the platform') || ' > ' || coalesce(c.merchant_id, 'the platform'),
   (d.merchant_id IS NOT NULL AND d.merchant_id IS DISTINCT FROM t.merchant_id)
   OR (c.merchant_id IS NOT NULL AND c.merchant_id IS DISTINCT FROM t.merchant_id))
) AS v(rule, expected, found, is_broken)
WHERE (d.id IS NULL OR c.id IS NULL OR d.id = c.id OR t.amount <= 0 OR d.unit <> t.unit OR c.unit <> t.unit
       OR coalesce(d.merchant_id, t.merchant_id) IS DISTINCT FROM t.merchant_id
       OR coalesce(c.merchant_id, t.merchant_id) IS DISTINCT FROM t.merchant_id)
  AND is_broken ORDER BY rule, t.position
"""
_RESOLUTIONS = """
SELECT DISTINCT ON (rule) rule, r.id, expected, found
FROM (SELECT t.*, row_number() OVER (PARTITION BY pending_id ORDER BY position) AS time
      FROM ledger_transfer AS t WHERE kind IN ('post', 'void', 'expire') OR pending_id IS NOT NULL) AS r
LEFT JOIN ledger_transfer AS p ON p.id = r.pending_id
CROSS JOIN LATERAL (VALUES
  ('resolution', 'an earlier pending transfer with its accounts', coalesce(p.kind, 'none') || ' ' || coalesce(p.id, ''),
   p.id IS NULL OR p.kind <> 'pending' OR p.position > r.position
   OR (p.debit_account, p.credit_account, p.unit, p.merchant_id)
      IS DISTINCT FROM (r.debit_account, r.credit_account, r.unit, r.merchant_id)),
  ('resolved_twice', '1 resolution of ' || coalesce(r.pending_id, 'nothing'), r.time::text, r.time = 2),
  ('posted_amount', CASE r.kind WHEN 'post' THEN 'at most ' ELSE '' END || p.amount, r.amount::text,
   CASE r.kind WHEN 'post' THEN r.amount > p.amount ELSE r.amount <> p.amount END),
  ('expiry', 'not before ' || coalesce(p.expires_at::text, 'ever'), r.created_at::text,
   r.kind = 'expire' AND coalesce(r.created_at < p.expires_at, true))
) AS v(rule, expected, found, is_broken)
WHERE is_broken ORDER BY rule, r.position
"""
_PENDINGS = """
WITH said AS (
  SELECT t.id, t.merchant_id, t.debit_account, t.credit_account, t.amount, t.unit, t.reference, t.expires_at,
         CASE r.kind WHEN 'post' THEN 'posted' WHEN 'void' THEN 'voided' WHEN 'expire' THEN 'expired'
           ELSE 'pending' END AS state,
         CASE r.kind WHEN 'post' THEN r.amount ELSE 0 END AS posted
  FROM ledger_transfer AS t LEFT JOIN ledger_transfer AS r ON r.pending_id = t.id
  WHERE t.kind = 'pending'
)
SELECT 'pending_state', coalesce(s.id, p.id),
       coalesce(s.state || ', posted ' || s.posted || ' of ' || s.amount, 'none'),
       coalesce(p.state || ', posted ' || p.posted || ' of ' || p.amount, 'none')
FROM said AS s FULL JOIN ledger_pending AS p ON p.id = s.id
WHERE (s.id, s.merchant_id, s.debit_account, s.credit_account, s.amount, s.unit, s.reference, s.expires_at, s.state,
       s.posted)
   IS DISTINCT FROM
      (p.id, p.merchant_id, p.debit_account, p.credit_account, p.amount, p.unit, p.reference, p.expires_at, p.state,
       p.posted)
ORDER BY 2 LIMIT 1
"""
_REVERSALS = """
SELECT 'reversal', r.id, 'an earlier transfer that moved ' || r.unit,
       concat_ws(' ', o.kind, o.id, o.unit, 'is', r.reverses)
FROM ledger_transfer AS r LEFT JOIN ledger_transfer AS o ON o.id = r.reverses
WHERE r.reverses IS NOT NULL
  AND (o.id IS NULL OR o.kind NOT IN ('transfer', 'post') OR o.unit <> r.unit OR o.position > r.position)
ORDER BY r.position LIMIT 1
"""
_QUERIES: Final = {
    "sums of units": _UNITS,
    "accounts": _ACCOUNTS.replace("%(passing)s", f"'{{{','.join(ROLES_PASSING_THROUGH)}}}'::text[]"),
    "balances": _BALANCES,
    "running balances": _CHAIN,
    "transfers": _TRANSFERS,
    "resolutions": _RESOLUTIONS,
    "pending transfers": _PENDINGS,
    "reversals": _REVERSALS,
}
_COUNTS = """
SELECT (SELECT count(*) FROM ledger_account), (SELECT count(*) FROM ledger_transfer),
       (SELECT count(*) FROM ledger_pending WHERE state = 'pending')
"""


@dataclass(frozen=True, slots=True)
class Offence:
    """The first row that breaks a rule. `subject`: a transfer's id, an account's number or a unit."""

    rule: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: expected {self.expected}, found {self.found}. {RULES[self.rule]}"


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a verification saw: how much, the sums by unit, and the first offence against each rule that is broken."""

    checked_at: datetime
    accounts: int
    transfers: int
    pending: int
    units: tuple[UnitSums, ...]
    offences: tuple[Offence, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every rule holds."""
        return not self.offences


def _unheard(step: str, done: int, steps: int) -> None:
    """Progress that nobody wants."""


async def verify(
    database: Database, *, now: datetime, progress: Callable[[str, int, int], None] = _unheard
) -> LedgerReport:
    """Check every rule on one snapshot of the whole ledger. Reads with the role of the workers; writes nothing.

    `progress(step, done, steps)` is told before each step what comes, and in the end once with `done == steps`.
    """
    async with database.read_all() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        await connection.exec_driver_sql(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
        accounts, transfers, pending = tuple[int, ...]((await connection.exec_driver_sql(_COUNTS)).one())
        units = await repository.unit_sums(connection)
        offences: dict[str, Offence] = {}
        for done, (step, query) in enumerate(_QUERIES.items()):
            progress(step, done, len(_QUERIES))
            for offence in await _offences(connection, query):
                offences.setdefault(offence.rule, offence)
    progress("done", len(_QUERIES), len(_QUERIES))
    found = tuple(offences[rule] for rule in RULES if rule in offences)
    return LedgerReport(now, accounts, transfers, pending, tuple(units), found)


async def _offences(connection: AsyncConnection, query: str) -> list[Offence]:
    rows: Iterable[Sequence[str]] = await connection.exec_driver_sql(query)
    return [Offence(*row) for row in rows]

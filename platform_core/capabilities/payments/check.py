"""`arsenal ledger check`: the amounts kept on payments against their transactions and disputes, and these against the
ledger.

One snapshot, read with the role of the workers; nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from platform_core.kernel.database.pools import Database

RULES: Final = {
    "captured": "A payment's captured amount is that of its sales and captures.",
    "refunded": "A payment's refunded amount is that of its refunds less those that bounced, or of its cancel.",
    "refunding": "A payment's amount on its way back is that of its open refunds, or of its open cancel.",
    "disputed": "A payment's disputed amount is what is held for its disputes, but for those that were won.",
    "disputes": "A payment counts its disputes.",
    "given_back": "Refunded and disputed stay within captured.",
    "dispute_held": "What the ledger has for a dispute is what it holds, until the acquirer takes it or it is won.",
}
"""Each rule in words. The order is that of the report."""
_PAYMENTS: Final = """
WITH moved AS (
  SELECT t.payment_id,
         sum(t.amount_minor) FILTER (WHERE t.state = 'succeeded' AND (t.kind = 'capture'
           OR (t.kind = 'sale' AND a.state = 'succeeded'))) AS captured,
         coalesce(sum(t.amount_minor) FILTER (WHERE t.state = 'succeeded' AND (t.kind = 'refund'
           OR (t.kind = 'cancel' AND jsonb_array_length(t.holds) > 0))), 0)
         - coalesce(sum(t.amount_minor) FILTER (WHERE t.state = 'succeeded' AND t.kind = 'refund_bounce'), 0)
           AS refunded,
         sum(t.amount_minor) FILTER (WHERE t.state IN ('pending', 'unknown') AND (t.kind = 'refund'
           OR (t.kind = 'cancel' AND jsonb_array_length(t.holds) > 0))) AS refunding
  FROM pay_transaction AS t JOIN pay_attempt AS a ON a.id = t.attempt_id GROUP BY t.payment_id
), claimed AS (
  SELECT payment_id, count(*) AS disputes, sum(held_minor) FILTER (WHERE state <> 'won') AS disputed
  FROM pay_dispute GROUP BY payment_id
)
SELECT rule, p.id, expected, found
FROM pay_payment AS p LEFT JOIN moved AS m ON m.payment_id = p.id LEFT JOIN claimed AS c ON c.payment_id = p.id
CROSS JOIN LATERAL (VALUES
  ('captured', coalesce(m.captured, 0)::bigint, p.captured_minor),
  ('refunded', coalesce(m.refunded, 0)::bigint, p.refunded_minor),
  ('refunding', coalesce(m.refunding, 0)::bigint, p.refunding_minor),
  ('disputed', coalesce(c.disputed, 0)::bigint, p.disputed_minor),
  ('disputes', coalesce(c.disputes, 0)::bigint, p.disputes::bigint),
  ('given_back', least(p.captured_minor, p.refunded_minor + p.refunding_minor + p.disputed_minor),
   p.refunded_minor + p.refunding_minor + p.disputed_minor)
) AS v(rule, expected, found)
WHERE expected <> found ORDER BY p.id LIMIT {limit}
"""
_DISPUTES: Final = """
WITH stands AS (
  SELECT t.reference, sum(CASE WHEN c.role = 'merchant_dispute' THEN t.amount ELSE -t.amount END) AS amount
  FROM ledger_transfer AS t JOIN ledger_account AS d ON d.id = t.debit_account
  JOIN ledger_account AS c ON c.id = t.credit_account
  WHERE t.kind = 'transfer' AND 'merchant_dispute' IN (d.role, c.role) GROUP BY t.reference
), wanted AS (
  SELECT id, CASE WHEN is_withdrawn OR state = 'won' THEN 0 ELSE held_minor END AS amount FROM pay_dispute
)
SELECT 'dispute_held', coalesce(w.id, s.reference), coalesce(w.amount, 0), coalesce(s.amount, 0)
FROM wanted AS w FULL JOIN stands AS s ON s.reference = w.id
WHERE coalesce(w.amount, 0) <> coalesce(s.amount, 0) ORDER BY 2 LIMIT {limit}
"""
OFFENCES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class PaymentOffence:
    """A figure that is not what it should be. `subject`: a payment or dispute."""

    rule: str
    subject: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: expected {self.expected}, found {self.found}. {RULES[self.rule]}"


@dataclass(frozen=True, slots=True)
class PaymentsReport:
    """What a check saw; at most 100 offences of each table."""

    checked_at: datetime
    payments: int
    disputes: int
    offences: tuple[PaymentOffence, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every figure is right."""
        return not self.offences


async def check(database: Database, *, now: datetime) -> PaymentsReport:
    """Recompute the amounts of all payments of all merchants. Payments in use can be checked."""
    async with database.read_all() as plain:
        connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        counts = "SELECT (SELECT count(*) FROM pay_payment), (SELECT count(*) FROM pay_dispute)"
        payments, disputes = tuple[int, ...]((await connection.exec_driver_sql(counts)).one())
        found: list[PaymentOffence] = []
        for query in (_PAYMENTS, _DISPUTES):
            rows: Iterable[Sequence[Any]] = await connection.exec_driver_sql(query.format(limit=OFFENCES_MAX))
            found += [PaymentOffence(rule, subject, int(expected), int(got)) for rule, subject, expected, got in rows]
    return PaymentsReport(now, payments, disputes, tuple(found))

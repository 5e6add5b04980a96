"""`arsenal ledger check`, its part about disputes: what is held for each, by the ledger."""

from __future__ import annotations

from typing import Final

_HELD: Final = """
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
QUERIES: Final = (_HELD,)
RULES: Final = {
    "dispute_held": "What the ledger has for a dispute is what it holds, until the acquirer takes it or it is won.",
}

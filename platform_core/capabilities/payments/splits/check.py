"""`arsenal ledger check`, its part about splits: the columns that say how a split stands, recomputed from transfers.

Read it as of one snapshot: the caller's transaction is REPEATABLE READ.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.capabilities.payments.folds import Difference

# What each split put on and took off the hold ('' here) and its receivers' accounts, by the ledger alone.
_BY_LEDGER: Final = """
WITH side AS (
  SELECT reference, credit_account AS account, amount FROM ledger_transfer
  WHERE kind IN ('transfer', 'post') AND reference LIKE 'spl\\_%'
  UNION ALL
  SELECT reference, debit_account, -amount FROM ledger_transfer
  WHERE kind IN ('transfer', 'post') AND reference LIKE 'spl\\_%'
), stands AS (
  SELECT side.reference AS split_id,
         CASE a.role WHEN 'merchant_split_hold' THEN '' ELSE split_part(a.bucket, '/', 1) END AS receiver_id,
         sum(side.amount) AS amount
  FROM side JOIN ledger_account AS a ON a.id = side.account
  WHERE a.role IN ('merchant_split_hold', 'receiver_pending', 'receiver_available') GROUP BY 1, 2
), said AS (
  SELECT split_id, receiver_id, settled_minor AS amount FROM pay_split_share
  UNION ALL
  SELECT id, '', frozen_minor FROM pay_split
)
SELECT 'split_transfers', split_id || ' ' || receiver_id,
       coalesce(stands.amount, 0)::text, coalesce(said.amount, 0)::text
FROM said FULL JOIN stands USING (split_id, receiver_id)
WHERE coalesce(said.amount, 0) <> coalesce(stands.amount, 0) ORDER BY 2 LIMIT 1
"""
_SUMS: Final = """
WITH sums AS (
  SELECT split_id, sum(amount_minor) FILTER (WHERE state <> 'failed') AS amount, sum(frozen_minor) AS frozen,
         sum(settled_minor) AS settled, sum(returned_minor) AS returned, sum(given_back_minor) AS given_back
  FROM pay_split_share GROUP BY 1
)
SELECT 'split_sums', s.id,
       concat_ws(' ', coalesce(sums.amount, 0), sums.frozen, sums.settled, sums.returned, sums.given_back),
       concat_ws(' ', s.amount_minor, s.frozen_minor, s.settled_minor, s.returned_minor, s.given_back_minor)
FROM pay_split AS s LEFT JOIN sums ON sums.split_id = s.id
WHERE (s.amount_minor, s.frozen_minor, s.settled_minor, s.returned_minor, s.given_back_minor)
   IS DISTINCT FROM (coalesce(sums.amount, 0), sums.frozen, sums.settled, sums.returned, sums.given_back)
ORDER BY 2 LIMIT 1
"""
_OF_PAYMENT: Final = """
WITH sums AS (
  SELECT payment_id, sum(frozen_minor + settled_minor) AS live, count(DISTINCT split_id) AS splits,
         coalesce(sum(amount_minor) FILTER (WHERE state IN ('pending', 'unknown')), 0) AS in_flight
  FROM pay_split_share GROUP BY 1
)
SELECT 'payment_splits', p.id,
       concat_ws(' ', coalesce(sums.live, 0), coalesce(sums.in_flight, 0), coalesce(sums.splits, 0)),
       concat_ws(' ', p.split_minor, p.splitting_minor, p.split_count)
FROM pay_payment AS p LEFT JOIN sums ON sums.payment_id = p.id
WHERE (p.split_minor, p.splitting_minor, p.split_count)
   IS DISTINCT FROM (coalesce(sums.live, 0), coalesce(sums.in_flight, 0), coalesce(sums.splits, 0))
ORDER BY 2 LIMIT 1
"""


async def differences(connection: AsyncConnection) -> list[Difference]:
    """The first split or payment that breaks each rule."""
    return [
        Difference(*row)
        for query in (_BY_LEDGER, _SUMS, _OF_PAYMENT)
        for row in await connection.exec_driver_sql(query)
    ]

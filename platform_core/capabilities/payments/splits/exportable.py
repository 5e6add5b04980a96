"""Exports of splits, their shares with them."""

from __future__ import annotations

from typing import Any, Final

from platform_core.capabilities.payments.exports.exportables import Exportable, Row, columns_of, created, equal
from platform_core.capabilities.payments.splits.answers import split_answer
from platform_core.capabilities.payments.splits.schemas import SplitRead

_SHARES: Final = (
    "(SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.number), '[]'::jsonb) FROM pay_split_share AS s "
    "WHERE s.split_id = t.id) AS shares"
)


def _split(row: Row) -> dict[str, Any]:
    return split_answer(row, row["shares"])


EXPORTABLES: Final = (
    Exportable(
        noun="splits",
        scope="splits:write",
        source="pay_split AS t",
        select=f"t.*, {_SHARES}",
        show=_split,
        columns=tuple(columns_of(SplitRead)),
        filters={**equal("payment_id", "state", "out_request_no"), **created("t.created_at")},
        of_stores="EXISTS (SELECT 1 FROM pay_payment AS p WHERE p.id = t.payment_id AND p.store_id = ANY ({}))",
    ),
)

"""Exports of disputes."""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.disputes.answers import dispute_answer
from platform_core.capabilities.payments.disputes.read import DisputeRead
from platform_core.capabilities.payments.exports.exportables import Exportable, columns_of, created, equal

EXPORTABLES: Final = (
    Exportable(
        noun="disputes",
        scope="disputes:read",
        source="pay_dispute AS t",
        select="t.*",
        show=dispute_answer,
        columns=tuple(columns_of(DisputeRead)),
        filters={**equal("payment_id", "state"), **created("t.created_at")},
        of_stores="EXISTS (SELECT 1 FROM pay_payment AS p WHERE p.id = t.payment_id AND p.store_id = ANY ({}))",
    ),
)

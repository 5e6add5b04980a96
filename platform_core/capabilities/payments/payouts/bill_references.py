"""Payouts as transfers name them: of no payment, and with the merchant's own number."""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.bills.references import ReferenceTable

REFERENCES: Final = (
    ReferenceTable(
        "pyo",
        "pay_payout",
        payment_id="NULL::text",
        out_request_no="out_payout_no",
        provider="provider_id",
        provider_reference="provider_reference",
    ),
)

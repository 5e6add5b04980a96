"""Disputes as transfers name them."""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.bills.references import ReferenceTable

REFERENCES: Final = (
    ReferenceTable(
        "dsp",
        "pay_dispute",
        out_request_no="NULL",
        transaction_id="transaction_id",
        provider="provider_id",
        provider_reference="provider_reference",
    ),
)

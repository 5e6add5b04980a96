"""Splits as transfers name them."""

from __future__ import annotations

from typing import Final

from platform_core.capabilities.payments.bills.references import ReferenceTable

REFERENCES: Final = (ReferenceTable("spl", "pay_split"),)

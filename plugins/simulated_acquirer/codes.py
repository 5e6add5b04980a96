"""The acquirer's codes, and what each means for the next step. A code that is not listed is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from platform_core.contracts.payments import ErrorClass

CLASS_OF: Final[Mapping[str, ErrorClass]] = MappingProxyType(
    {
        "RATE_LIMITED": ErrorClass.BUSY,
        "WALLET_LIMIT": ErrorClass.DECLINED_TRY_OTHER,
        "CHANNEL_CLOSED": ErrorClass.DECLINED_TRY_OTHER,
        "SYSTEM_REVERSED": ErrorClass.DECLINED_TRY_OTHER,
        "BALANCE_NOT_ENOUGH": ErrorClass.DECLINED_FINAL,
        "PAYER_BLOCKED": ErrorClass.DECLINED_FINAL,
        "AUTH_CODE_INVALID": ErrorClass.DECLINED_FINAL,
        "PAYEE_REFUSED": ErrorClass.DECLINED_FINAL,
        "PAYOUT_RETURNED": ErrorClass.DECLINED_FINAL,
        "REFUND_REFUSED": ErrorClass.DECLINED_FINAL,
        "AMOUNT_EXCEEDED": ErrorClass.DECLINED_FINAL,
        "ORDER_CLOSED": ErrorClass.DECLINED_FINAL,
        "ORDER_CANCELED": ErrorClass.DECLINED_FINAL,
        "ORDER_EXPIRED": ErrorClass.DECLINED_FINAL,
        "INVALID_PARAMETER": ErrorClass.INVALID_REQUEST,
        "NOT_FOUND": ErrorClass.INVALID_REQUEST,
        "TOO_LARGE": ErrorClass.INVALID_REQUEST,
        "MERCHANT_DISABLED": ErrorClass.CONFIGURATION,
        "TIMESTAMP_STALE": ErrorClass.CONFIGURATION,
        "ORDER_PAID": ErrorClass.DUPLICATE,
        "KEY_REUSED": ErrorClass.DUPLICATE,
        "DISPUTE_UNKNOWN": ErrorClass.INVALID_REQUEST,
        "EVIDENCE_REFUSED": ErrorClass.DECLINED_FINAL,
    }
)

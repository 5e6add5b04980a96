"""The network's codes, and what each means for the next step. A code that is not listed is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from platform_core.contracts.payments import ErrorClass

CLASS_OF: Final[Mapping[str, ErrorClass]] = MappingProxyType(
    {
        "BUSY": ErrorClass.BUSY,
        "BALANCE": ErrorClass.DECLINED_FINAL,
        "CARD_UNKNOWN": ErrorClass.DECLINED_FINAL,
        "CANCELED": ErrorClass.DECLINED_FINAL,
        "NOT_CHARGED": ErrorClass.DECLINED_FINAL,
        "AMOUNT": ErrorClass.DECLINED_FINAL,
        "PAID": ErrorClass.DUPLICATE,
        "KEY_REUSED": ErrorClass.DUPLICATE,
        "SIGNATURE": ErrorClass.CONFIGURATION,
        "TIME": ErrorClass.CONFIGURATION,
        "NO_OPERATION": ErrorClass.INVALID_REQUEST,
    }
)

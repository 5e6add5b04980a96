"""What the platform charges, exactly: payments.md section 4, Fee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from platform_core.kernel.money import round_half_up_bp


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """The values of a fee plan as they stood at capture. Minor units and basis points."""

    rate_bp: int = 0
    fixed_minor: int = 0
    fee_minor_min: int = 0
    fee_minor_max: int | None = None
    is_kept_on_refund: bool = False

    def fee(self, gross_minor: int) -> int:
        """The fee of `gross_minor` received in all: nothing of nothing, and never more than was received."""
        assert gross_minor >= 0, gross_minor
        if gross_minor == 0:
            return 0
        fee = round_half_up_bp(gross_minor, self.rate_bp) + self.fixed_minor
        fee = max(fee, self.fee_minor_min)
        if self.fee_minor_max is not None:
            fee = min(fee, self.fee_minor_max)
        return min(fee, gross_minor)

    def returned(self, gross_minor: int, refunded_minor: int) -> int:
        """What of the fee has gone back once `refunded_minor` of `gross_minor` are refunded in all, cumulatively."""
        if self.is_kept_on_refund:
            return 0
        return self.fee(gross_minor) - self.fee(gross_minor - refunded_minor)


def terms_record(terms: FeeTerms) -> dict[str, Any]:
    """The fee plan's values as the payment keeps them."""
    return {
        "rate_bp": terms.rate_bp,
        "fixed_minor": terms.fixed_minor,
        "fee_minor_min": terms.fee_minor_min,
        "fee_minor_max": terms.fee_minor_max,
        "is_kept_on_refund": terms.is_kept_on_refund,
    }


NO_FEE = FeeTerms()

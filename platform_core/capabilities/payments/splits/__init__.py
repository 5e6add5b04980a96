"""Split settlement: shares of what was captured for receivers that the merchant bound (payments.md section 4)."""

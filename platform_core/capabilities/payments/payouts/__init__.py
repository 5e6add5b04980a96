"""Payouts: available money goes to the merchant's bank; and top-ups, which come from there."""

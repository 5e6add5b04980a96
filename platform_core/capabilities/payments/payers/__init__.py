"""Payments as their payers see them: no account, no token but the address that they were given."""

"""Accounts and transfers: the one multi-unit double-entry ledger."""

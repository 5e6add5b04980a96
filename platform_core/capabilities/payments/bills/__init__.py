"""Daily bills: what a merchant's day was, derived from the ledger alone, published once and never changed."""

"""Pages of ISVs, merchants and platform staff."""

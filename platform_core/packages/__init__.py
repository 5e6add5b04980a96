"""Function packages and industry packs."""

"""Merchants, stores, ISVs, apps, grants and the OAuth authorization server."""

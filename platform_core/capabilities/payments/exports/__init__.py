"""Exports: a merchant's objects as files, made in the background out of one snapshot, kept for a week."""

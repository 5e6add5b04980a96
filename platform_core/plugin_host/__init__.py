"""Finds plugins and calls their hooks."""

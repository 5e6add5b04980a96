"""Spend and save: money off once the basket reaches an amount."""

from __future__ import annotations

from .plugin import amend_basket

__all__ = ["amend_basket"]

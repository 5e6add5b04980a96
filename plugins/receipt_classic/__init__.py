"""The classic receipt: a page or a document, in Chinese or English."""

from __future__ import annotations

from .plugin import render_receipt

__all__ = ["render_receipt"]

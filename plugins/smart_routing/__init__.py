"""Smart routing: the route with the lowest expected cost first."""

from __future__ import annotations

from .plugin import choose_route

__all__ = ["choose_route"]

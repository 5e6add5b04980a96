"""How long the files of exports are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from platform_core.kernel.database.retention import Kept

KEPT: Final = timedelta(days=7)  # payments.md section 8, from the end of the export
PURGED: Final = (Kept("pay_export_part", "created_at", KEPT + timedelta(days=1)),)
"""A part is written before the export ends, and is served for no longer than `KEPT` behind that end."""

"""What others wrote and lies here is what it says it is."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "vendor"
pytestmark = pytest.mark.unit


def test_vendor_files_match_checksums() -> None:
    listed = tomllib.loads((FOLDER / "VENDOR.toml").read_text(encoding="utf-8"))["file"]
    assert {path.name for path in FOLDER.iterdir()} == {"VENDOR.toml", *(one["name"] for one in listed)}
    for one in listed:
        assert hashlib.sha256((FOLDER / one["name"]).read_bytes()).hexdigest() == one["sha256"], one["name"]

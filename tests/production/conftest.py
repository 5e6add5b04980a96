"""Skipped, with the packages that are missing named; under ARSENAL_REQUIRE_ALL=1 that is a failure."""

from __future__ import annotations

import os

import pytest

from tests.support import brokers, postgres15


@pytest.fixture(scope="session", autouse=True)
def system_packages() -> None:
    """PostgreSQL 15, Redis and RabbitMQ as the system brings them."""
    missing = brokers.missing() + ([] if postgres15.is_installed() else ["postgresql-15"])
    if not missing:
        return
    words = f"not installed: {', '.join(missing)}. Run: apt-get install --no-install-recommends {' '.join(missing)}"
    if os.environ.get("ARSENAL_REQUIRE_ALL") == "1":
        pytest.fail(words)
    pytest.skip(words)

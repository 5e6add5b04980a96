"""One real browser for all journeys: the system's Chromium, driven by Playwright, on a platform that answers on a port.

Without Chromium they are skipped; under ARSENAL_REQUIRE_ALL=1 that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.async_api import Browser, async_playwright

from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.docs.served import serving
from tests.support.world import SCOPES, Till, World

CHROMIUM: Final = Path(os.environ.get("ARSENAL_CHROMIUM", "/usr/bin/chromium"))


@dataclass
class Street:
    """A served platform with a merchant, and the buyer's side of its acquirer."""

    world: World
    till: Till
    acquirer: httpx.AsyncClient

    async def scan(self, code: str) -> None:
        """The buyer's phone scans a code and pays."""
        answer = await self.acquirer.post("/buyer/scan", json={"qr_code": code})
        assert answer.json()["status"] == "SUCCESS", answer.text


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Headless; as root without its sandbox, which needs another user."""
    if not CHROMIUM.exists():
        words = f"not installed: {CHROMIUM}. Run: apt-get install --no-install-recommends chromium fonts-noto-cjk"
        if os.environ.get("ARSENAL_REQUIRE_ALL") == "1":
            pytest.fail(words)
        pytest.skip(words)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def street(
    browser: Browser, postgres: EmbeddedPostgres, acquirer: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Street]:
    """After the browser, so that nothing is started where there is none."""
    postgres.create_database("journey", template="template_arsenal")
    home = tmp_path_factory.mktemp("journey")
    async with (
        serving(postgres.url("journey"), clock=SystemClock(), home=home, acquirer_url=acquirer) as world,
        httpx.AsyncClient(base_url=acquirer, trust_env=False) as control,
    ):
        yield Street(world, await world.new_till(scopes=(*SCOPES, "stores:write")), control)

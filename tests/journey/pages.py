"""A page in the browser, watched: what it may not do fails the test that looked at it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, expect

AXE: Final = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SHOTS: Final = os.environ.get("ARSENAL_SHOTS")  # a folder; unset, no picture is taken
PHONE: Final = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140 Mobile Safari/537.36"
expect.set_options(timeout=15_000)  # a look for news comes every few seconds
LOCALES: Final = {"en": "en-GB", "zh": "zh-CN"}


@asynccontextmanager
async def opened(
    browser: Browser, *, language: str, width: int = 390, has_script: bool = True, user_agent: str = PHONE
) -> AsyncIterator[Page]:
    """A page of a fresh phone. On leaving: no error, no violation, no request to another machine."""
    context = await browser.new_context(
        viewport={"width": width, "height": 780},
        locale=LOCALES[language],
        timezone_id="Asia/Shanghai",
        java_script_enabled=has_script,
        user_agent=user_agent,
    )
    context.set_default_timeout(15_000)
    page = await context.new_page()
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "status of 404" not in message.text:
            wrong.append(message.text)

    def asked(request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            wrong.append(request.url)

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", asked)
    try:
        yield page
    finally:
        await context.close()
    assert not wrong, wrong


async def inspect(page: Page, name: str, *, has_script: bool = True) -> None:
    """No violation that axe knows of, nothing cut off sideways, nothing left unfilled; and a picture, if wanted."""
    if SHOTS:
        await page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
    text = await page.inner_text("body")
    assert not any(wrong in text for wrong in ("None", "undefined", "{{", "{merchant}"))
    assert await page.locator("h1").count() == 1
    if not has_script:
        return
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} scrolls sideways"
    small = await page.evaluate(
        "[...document.querySelectorAll('button, a.button, input:not([type=hidden])')]"
        ".filter(one => one.getBoundingClientRect().height < 44).map(one => one.outerHTML)"
    )
    assert small == []
    await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run(document)")
    assert found["violations"] == [], json.dumps(found["violations"], indent=1)[:3_000]

"""What a merchant begins to use is made ready once, before its first order, and not waited for longer than that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from platform_core.bootstrap import warmth as module
from platform_core.bootstrap.warmth import Warmth
from tests.plugin_host.stage import FakeEnablement, release

pytestmark = pytest.mark.unit
OLD, NEW, TRUSTED = release("example.acme.a"), release("example.acme.a", version="1.1.0"), "example.acme.b"


class Ready:
    """What was loaded and warmed, in order; workers start when `gate` is open."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def include(self, keys: Iterable[tuple[str, str]]) -> None:
        self.done += [("load", *key) for key in keys]

    async def warm(self, plugin_id: str, version: str, *, merchant_id: str | None = None) -> None:
        await self.gate.wait()
        self.done.append(("warm", plugin_id, version, merchant_id))


def warmth_over(ready: Ready) -> Warmth:
    unused: Any = None
    return Warmth(ready, FakeEnablement(), ready, database=unused, feed=unused)  # type: ignore[arg-type]  # two methods


async def test_only_what_is_new_to_a_merchant_is_made_ready() -> None:
    ready = Ready()
    warmth, enablement = warmth_over(ready), FakeEnablement()
    trusted = release(TRUSTED, tier="trusted")
    await warmth.prepare(enablement.enable(OLD, trusted))
    assert ready.done == [
        ("load", OLD.plugin_id, "1.0.0"),
        ("load", TRUSTED, "1.0.0"),
        ("warm", OLD.plugin_id, "1.0.0", "mer_one"),
    ]
    ready.done.clear()
    await warmth.prepare(enablement.enable(OLD, trusted))
    assert ready.done == [], "a re-reading changes nothing"
    await warmth.prepare(enablement.enable(NEW, trusted))
    assert ready.done == [("load", NEW.plugin_id, "1.1.0"), ("warm", NEW.plugin_id, "1.1.0", "mer_one")]
    ready.done.clear()
    await warmth.prepare(enablement.enable(NEW, merchant_id="mer_two"))
    assert ready.done[-1] == ("warm", NEW.plugin_id, "1.1.0", "mer_two")
    ready.done.clear()
    await warmth.prepare(enablement.enable(trusted))
    await warmth.prepare(enablement.enable(NEW, trusted))
    assert ready.done[-1] == ("warm", NEW.plugin_id, "1.1.0", "mer_one"), "suspended and lifted: its worker is gone"


async def test_an_order_does_not_wait_for_what_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PREPARED_S_MAX", 0.01)
    ready = Ready()
    ready.gate.clear()
    warmth = warmth_over(ready)
    plugins = FakeEnablement().enable(OLD)
    await warmth.prepare(plugins)
    assert ready.done == [("load", OLD.plugin_id, "1.0.0")]
    await warmth.prepare(plugins)
    assert ready.done == [("load", OLD.plugin_id, "1.0.0")], "it is waited for once"
    ready.gate.set()
    await warmth.settled()
    assert ready.done[-1] == ("warm", OLD.plugin_id, "1.0.0", "mer_one"), "and it goes on behind"

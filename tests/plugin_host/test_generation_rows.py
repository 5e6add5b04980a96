"""Generations from rows: what an installation needs is there at once, and what the allow-list does not name is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from platform_core.contracts.hooks import ENTRY_POINT_GROUP
from platform_core.plugin_host import generations as module
from platform_core.plugin_host.allow_list import NOBODY, AllowList, tree_hash_of
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.generations import Generations, Sources
from platform_core.plugin_host.host_deps import EVERYBODY
from platform_core.plugin_host.host_releases import admitted
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.off_list import KIND
from platform_core.plugin_host.problem_book import Noted
from platform_core.plugin_host.problems import Problem
from platform_core.plugin_host.registry import Registry
from tests.plugin_host.conftest import RISK, Market, manifest_text
from tests.support.patience import HEARD_S


class Made:
    """Generations of one process, and what they said."""

    def __init__(
        self, market: Market, *, listed: Mapping[tuple[str, str], str], unlisted: Sequence[Noted] = ()
    ) -> None:
        self.registries: list[Registry] = []
        self.noted: list[Noted] = []
        self.gate = asyncio.Event()
        self.gate.set()
        sources = Sources(
            database=market.deps.database,
            allow_list=AllowList(listed),
            points=(),
            outside=self._outside,
            unlisted=unlisted,
        )
        self.generations = Generations(sources, market.feed, swap=self.registries.append, note=self.noted.append)

    async def _outside(self, releases: Sequence[Release]) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]:
        await self.gate.wait()
        return tuple(Plugin(one.plugin_id, SimpleNamespace(), one) for one in releases), ()


@pytest.mark.database
async def test_what_is_enabled_is_included_before_its_publication_was_heard_of(market: Market) -> None:
    made = Made(market, listed={})
    await made.generations.start()
    await market.publish()
    assert made.registries[-1].keys == ()
    await made.generations.include([(RISK, "1.0.0")])
    assert made.registries[-1].keys == ((RISK, "1.0.0"),)
    await made.generations.include([(RISK, "1.0.0")])
    assert len(made.registries) == 2, "what is there needs no other generation"
    await made.generations.stop()


@pytest.mark.database
async def test_the_feed_does_not_wait_for_a_generation_that_takes_long(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_S", 0.01)
    made = Made(market, listed={})
    await made.generations.start()
    made.gate.clear()
    await market.publish()
    await market.feed.poll()
    assert len(made.registries) == 1, "it is being made"
    await market.publish(version="1.1.0")
    await market.feed.poll()
    made.gate.set()
    async with asyncio.timeout(HEARD_S):
        while made.registries[-1].keys != ((RISK, "1.0.0"), (RISK, "1.1.0")):  # noqa: ASYNC110 - a task's own time
            await asyncio.sleep(0.01)
    await made.generations.stop()


@pytest.mark.database
async def test_a_release_whose_hash_left_the_list_is_told_once(market: Market) -> None:
    release = await market.publish()
    await market.publish(plugin_id="example.acme.other")
    [tree_hash] = await market.row("SELECT tree_hash FROM plugin_release WHERE id = $1", release.id)
    agreed = Made(market, listed={(RISK, "1.0.0"): tree_hash})
    await agreed.generations.start()
    assert agreed.noted == []
    made = Made(market, listed={(RISK, "1.0.0"): "f" * 64})
    await made.generations.start()
    await made.generations.refresh()
    [noted] = made.noted
    assert (noted.plugin_id, noted.plugin_version, noted.kind) == (RISK, "1.0.0", KIND)
    assert (noted.severity, noted.merchant_id) == ("critical", None)
    assert (RISK, "1.0.0") in made.registries[-1].keys, "it is confined, and asked"


@pytest.mark.unit
def test_only_what_the_list_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "acme_listed"
    folder.mkdir()
    (folder / "__init__.py").write_text("x = 1\n", encoding="utf-8")
    (folder / "plugin.toml").write_text(manifest_text(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint(name="acme", value="acme_listed", group=ENTRY_POINT_GROUP)
    listed = AllowList({(RISK, "1.0.0"): tree_hash_of(folder)})
    assert admitted([point], listed) == ((point,), ())
    (folder / "__init__.py").write_text("x = 2\n", encoding="utf-8")
    for stale in (listed, NOBODY):
        good, [noted] = admitted([point], stale)
        assert (good, noted.plugin_id, noted.kind) == ((), RISK, KIND)
    (folder / "plugin.toml").write_text("manifest = 2\n", encoding="utf-8")
    assert admitted([point], listed) == ((), ())
    assert "acme_listed" not in sys.modules


@pytest.mark.database
async def test_what_the_environment_holds_unlisted_is_told_at_the_start(market: Market) -> None:
    told = Noted(
        plugin_id=RISK, plugin_version="1.0.0", merchant_id=None, kind=KIND, key="k", severity="critical",
        message="m", hint="h",
    )  # fmt: skip
    made = Made(market, listed={}, unlisted=(told,))
    await made.generations.start()
    await made.generations._heard(EVERYBODY)
    assert made.noted == [told]
    await made.generations.stop()

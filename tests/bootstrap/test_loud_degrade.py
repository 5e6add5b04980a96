"""Less confinement than isolation: refused without a name, and with one said everywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from platform_core.bootstrap import confined, loud
from platform_core.bootstrap.confined import Confined
from platform_core.bootstrap.loud import banner
from platform_core.bootstrap.terminal import Terminal
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.discovery import discover
from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import SpawnFailed
from tests.bootstrap.test_plugin_host import VELOCITY, enable, publish
from tests.support.plugin_bundles import bundle_of
from tests.support.world import World, open_world

pytestmark = [pytest.mark.api, pytest.mark.database]
WHO, WHY = "Li Na", "a laptop {for} development"
ACCEPTED = {"sandbox_require": "L1", "sandbox_accept": f"{WHO}: {WHY}"}
SCOPES = ("payments:read", "refunds:read", "payments.payer:read")
Open = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
async def owner(postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Reads the database of this test."""
    postgres.create_database("loud_degrade", template="template_arsenal")
    connection = await asyncpg.connect(postgres.url("loud_degrade"))
    yield connection
    await connection.close()
    postgres.sql("DROP DATABASE loud_degrade WITH (FORCE)")


@pytest.fixture
def opening(owner: asyncpg.Connection[Any], postgres: EmbeddedPostgres, tmp_path: Path) -> Open:
    """A platform with these settings, each time over the same database and home."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[World]:
        url = postgres.url("loud_degrade")
        async with open_world(
            url, clock=SystemClock(), home=tmp_path, acquirer_url="http://acquirer.invalid", **settings
        ) as world:
            yield world

    return opened


@pytest.fixture
def gauged(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the metric was set to."""

    class Kept(list[float]):
        def set(self, value: float) -> None:
            self.append(value)

    kept = Kept()
    monkeypatch.setattr(loud, "DEGRADED", kept)
    return kept


async def accounted(owner: asyncpg.Connection[Any], kind: str) -> list[tuple[str, dict[str, Any], str]]:
    rows = await owner.fetch(
        "SELECT subject, facts, reason FROM audit_row WHERE kind = $1 ORDER BY position NULLS LAST", kind
    )
    return [(row[0], json.loads(row[1]), row[2]) for row in rows]


async def test_accepted_it_is_said_at_the_start_at_the_load_and_on_every_page(
    opening: Open, owner: asyncpg.Connection[Any], gauged: list[float], tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with opening(**ACCEPTED) as world:
            assert await accounted(owner, "sandbox.degrade_accepted") == [
                ("sandbox", {"required": "L1", "accepted_by": WHO}, WHY)
            ]
            till = await world.new_till(scopes=("payments:write", "payments:read", "plugins:read"))
            await publish(world, bundle_of("risk_velocity", tmp_path))
            await world.platform.plugin_life.host_releases.register(discover())
            installation = await enable(world, till, VELOCITY, *SCOPES)
            attained = world.platform.plugin_host.confined.level
            health = (await world.client.get("/health")).json()
            shown = (await till.get(f"/plugins/{VELOCITY}")).json()
            own = (await till.get(f"/plugin-installations/{installation}")).json()
            trusted = (await till.get("/plugins/dev.arsenal.cash")).json()
            await world.platform.plugin_host.generations.refresh()  # type: ignore[union-attr]
    assert Level[attained] >= Level.L1
    assert health == {
        "status": "ok",
        "degraded": [{"part": "sandbox", "why": "lowered", "required": "L1", "attained": attained}],
    }
    assert shown["lowered_confinement"] == own["lowered_confinement"] == f"L1, {WHO}: {WHY}"
    assert trusted["lowered_confinement"] is None
    facts = {"required": "L1", "attained": attained, "accepted_by": WHO, "version": shown["plugin_version"]}
    assert await accounted(owner, "plugin.loaded_below_isolation") == [(VELOCITY, facts, WHY)]
    problem = await owner.fetchrow("SELECT severity, message, count FROM plugin_problem WHERE kind = $1", loud.PROBLEM)
    assert problem is not None
    assert (problem["severity"], problem["count"]) == ("critical", 1)
    assert "L1 is accepted by Li Na" in json.loads(problem["message"])["en"]
    said = [entry for entry in logs if entry["log_level"] == "critical"]
    assert [entry["event"] for entry in said] == ["sandbox.degraded", "plugin.loaded_below_isolation"]
    assert (said[1]["plugin"], said[1]["accepted"]) == (VELOCITY, f"{WHO}: {WHY}")
    assert gauged == [1]


async def test_at_the_default_nothing_of_it_is_said(
    opening: Open, owner: asyncpg.Connection[Any], gauged: list[float], tmp_path: Path
) -> None:
    async with opening() as world:
        till = await world.new_till(scopes=("plugins:read",))
        await publish(world, bundle_of("risk_velocity", tmp_path))
        assert (await world.client.get("/health")).json() == {"status": "ok", "degraded": []}
        assert (await till.get(f"/plugins/{VELOCITY}")).json()["lowered_confinement"] is None
    for kind in ("sandbox.degrade_accepted", "plugin.loaded_below_isolation"):
        assert await accounted(owner, kind) == []
    assert await owner.fetchval("SELECT count(*) FROM plugin_problem") == 0
    assert gauged == [0]


async def test_a_machine_that_cannot_confine_shows_in_health_and_metric(
    opening: Open, gauged: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(self: object) -> None:
        raise SpawnFailed("level", "attained L1, required L2")

    monkeypatch.setattr(confined.Spawner, "start", refused)
    async with opening() as world:
        await publish(world, bundle_of("risk_velocity", tmp_path))
        assert (await world.client.get("/health")).json()["degraded"] == [
            {"part": "sandbox", "why": "not_attained", "required": "L2", "attained": "L0"}
        ]
    assert gauged == [0, 1]


def test_the_banner_names_who_answers_for_it_and_goes_where_people_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert banner(Settings()) is None
    for is_json in (False, True):
        Terminal(is_json=is_json).warn(banner(Settings(**ACCEPTED)))
        told = capsys.readouterr()
        assert told.out == ""
        assert "PLUGINS ARE NOT ISOLATED: L1 is required instead of L2. A plugin may read" in told.err
        assert f"Accepted by {WHO}: {WHY}." in told.err
    Terminal(is_json=False).warn(None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("group", [None, Path("/sys/fs/cgroup/system.slice/arsenal.service")])
async def test_a_delegated_subtree_is_handed_to_the_zygote(
    group: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[ZygoteSettings] = []

    class Spawner:
        def __init__(self, settings: ZygoteSettings) -> None:
            told.append(settings)

        async def start(self) -> None:
            raise SpawnFailed("start", "no more is needed here")

        async def close(self) -> None:
            pass

    monkeypatch.setattr(confined, "delegated_group", lambda: group)
    monkeypatch.setattr(confined, "Spawner", Spawner)
    made = Confined(tmp_path, required=Level.L2, listener=None, quarantined=frozenset)  # type: ignore[arg-type]
    await made.start()
    assert [settings.group for settings in told] == [group]
    assert made.is_failed

"""The demo's plugin: put in place once, found at the next start, and never without the confinement that is required."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from platform_core.bootstrap import demo_plugin
from platform_core.bootstrap.demo_plugin import (
    HURRIED,
    PLUGIN_ID,
    DemoPlugin,
    attained,
    faults_of,
    play_hurried,
    put_in_place,
)
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.settings import Settings
from platform_core.plugin_host import repository
from sandbox.runtime.levels import Level
from sandbox.runtime.spawner import SpawnFailed
from sandbox.testbed.seed import Credentials, SeededMerchant
from sandbox.testbed.trigger_till import Till
from tests.support.world import World, open_world

pytestmark = [pytest.mark.api, pytest.mark.database]


@pytest.fixture
async def world(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    postgres.create_database("demo_plugin", template="template_arsenal")
    url = postgres.url("demo_plugin")
    async with open_world(url, clock=SystemClock(), home=tmp_path, acquirer_url="http://acquirer.invalid") as world:
        yield world
    postgres.sql("DROP DATABASE demo_plugin WITH (FORCE)")


async def merchant_of(world: World) -> SeededMerchant:
    """A merchant as the seed makes them, as far as the plugin needs it."""
    till = await world.new_till()
    return SeededMerchant(
        id=till.merchant_id,
        name="Nanluo Books",
        industry="retail",
        store_ids=(till.store_id,),
        till=Credentials("", ""),
        acquirer_no="M1",
        acquirer_key=b"",
    )


async def installed(world: World, merchant: SeededMerchant) -> list[tuple[str, str, str]]:
    page = await world.platform.plugin_life.installations.page(merchant.id, state=None, cursor=None, limit=10)
    return [(found.plugin_id, found.plugin_version, found.state) for found in page.data]


async def test_a_second_start_finds_the_release_and_installs_it_for_its_own_merchant(world: World) -> None:
    for is_new in (True, False):
        merchant = await merchant_of(world)
        placed = DemoPlugin(merchant.name, required="L2", attained="L4")
        await put_in_place(world.platform, merchant, placed)
        assert (placed.version, placed.is_new) == ("1.0.0", is_new)
        assert await installed(world, merchant) == [(PLUGIN_ID, "1.0.0", "enabled")]
    async with world.platform.database.read_auth() as connection:
        release = await repository.read_version(connection, PLUGIN_ID, "1.0.0")
        assert release is not None
        reviews = await repository.read_reviews(connection, release.id)
    assert (release.state, release.is_from_host, len(reviews)) == ("published", False, 2)


@pytest.mark.parametrize("lacking", ["level", "worker"])
async def test_a_machine_that_confines_too_little_gets_no_plugin_and_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    async def proven(settings: Settings, required: Level) -> tuple[Level, tuple[()]]:
        if lacking == "worker":
            raise SpawnFailed("zygote", "it died")
        return Level.L1, ()

    monkeypatch.setattr(demo_plugin, "proven", proven)
    merchant = await merchant_of(world)
    told = await attained(world.platform.settings, merchant)
    assert (told.required, told.attained) == ("L2", "L1" if lacking == "level" else "L0")
    assert told.why_not.endswith("then run: arsenal doctor")
    await put_in_place(world.platform, merchant, told)
    await play_hurried(Till(world.client, "", "", ""), told, run="demo")  # it would raise: nobody signs in so
    assert await installed(world, merchant) == []
    async with world.platform.database.read_auth() as connection:
        assert await repository.read_version(connection, PLUGIN_ID, "1.0.0") is None
    assert (told.document()["is_installed"], told.hurried, told.hurried_payments) == (False, [], 0)


def done(**changed: Any) -> DemoPlugin:  # Any: fields of several types
    """A plugin that did all that it had to."""
    good: dict[str, Any] = {
        "version": "1.0.0",
        "hurried": list(HURRIED),
        "hurried_payments": 4,
        "asked": 71,
        "calls": [("1.0.0", "L4", 80)],
    }
    return DemoPlugin("Nanluo Books", required="L2", attained="L4", **(good | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"hurried": ["captured"] * 4}, ["four payments of one payer became captured, captured, captured, captured"]),
        ({"asked": 66}, ["it was asked of 66 of 71 payments"]),
        ({"calls": []}, ["the audit log knows no call of it"]),
        ({"calls": [("1.0.0", "L1", 80)]}, ["80 calls of 1.0.0 ran at L1, below L2"]),
        ({"calls": [("1.0.0", "confined", 80)]}, ["80 calls of 1.0.0 ran at confined, below L2"]),
        ({"calls": [("0.9.0", "L4", 80)]}, ["80 calls of 0.9.0 ran at L4 where 1.0.0 had to"]),
    ],
)
def test_a_plugin_that_did_not_do_its_part_fails_the_check(changed: dict[str, Any], said: list[str]) -> None:
    payments = [{"state": "captured", "degraded": []}] * 71
    faults = faults_of(done(**changed), payments)
    assert [fault.startswith(words) for fault, words in zip(faults, said, strict=True)] == [True] * len(said)


def test_a_payment_that_nobody_looked_at_fails_the_check() -> None:
    payments = [{"state": "in_review", "degraded": [{"fault": "timeout"}]}] * 5
    assert faults_of(done(asked=5), payments) == ["5 payments still wait for a person"]

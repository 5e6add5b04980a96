"""A plugin from a wheel, installed, enabled and asked in its confined worker while orders are paid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.schemas import InstallationCreate, ReleaseRead, ReviewWrite
from tests.support.plugin_bundles import bundle_of
from tests.support.world import Till, World, open_world

pytestmark = [pytest.mark.api, pytest.mark.database]
VELOCITY = "dev.arsenal.risk-velocity"


@pytest.fixture
async def world(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """A platform of its own, with everything that is installed."""
    postgres.create_database("plugin_host", template="template_arsenal")
    url = postgres.url("plugin_host")
    async with open_world(url, clock=SystemClock(), home=tmp_path, acquirer_url="http://acquirer.invalid") as world:
        yield world
    postgres.sql("DROP DATABASE plugin_host WITH (FORCE)")


async def publish(world: World, bundle: Path) -> ReleaseRead:
    """Submitted, reviewed by as many as it needs, published."""
    life = world.platform.plugin_life
    assert life.bundles is not None
    unpacked = await life.bundles.unpack(bundle)
    await life.deps.parties.ensure_isv("isv_arsenal", name="Arsenal")
    wanted = Submission(unpacked=unpacked, isv_id="isv_arsenal", by="per_publisher")
    made = await life.releases.submit(wanted)
    for number in range(made.reviews_needed):
        review = ReviewWrite(decision="approve", note="Read it.")
        await life.releases.review(made.id, review, reviewer=f"per_reviewer{number}")
    published = await life.releases.publish(made.id, by="per_publisher", isv_id="isv_arsenal")
    await world.platform.feed.poll()
    return published


async def enable(world: World, till: Till, plugin_id: str, *scopes: str) -> str:
    """The installation's id."""
    actor = Actor(id="per_owner", merchant_id=till.merchant_id)
    wanted = InstallationCreate(plugin_id=plugin_id, scopes=frozenset(scopes) or None)
    installations = world.platform.plugin_life.installations
    made = await installations.install(actor, wanted)
    await installations.enable(actor, made.id)
    await world.platform.feed.poll()
    await world.platform.plugin_host.warmth.settled()
    return made.id


async def test_velocity_from_a_wheel_stops_the_payer_who_pays_too_often(world: World, tmp_path: Path) -> None:
    till, other = await world.new_till(), await world.new_till()
    await publish(world, bundle_of("risk_velocity", tmp_path))
    scopes = ("payments:read", "refunds:read", "payments.payer:read")
    await enable(world, till, VELOCITY, *scopes)
    assert world.platform.plugin_host.confined.level in ("L2", "L3", "L4")
    customer = {"channel": "wallet", "channel_user_id": "u1"}
    answers = [await till.pay(customer=customer) for _ in range(12)]
    states = [answer.json().get("state", answer.json().get("code")) for answer in answers]
    assert [answer.json().get("degraded", []) for answer in answers] == [[]] * 12
    assert states[0] == "captured", answers[0].text
    assert states[-1] in ("in_review", "payments.denied_by_risk"), states
    stranger = await till.pay(customer={"channel": "wallet", "channel_user_id": "u2"})
    assert stranger.json()["state"] == "captured"
    elsewhere = await other.pay(customer=customer)
    assert (elsewhere.json()["state"], elsewhere.json()["risk"]) == ("captured", None)

"""What an installation has besides when it is a sandbox (setting `is_sandbox`): tables, routes, due work.

Nothing here is reached unless the setting is on. A part of the sandbox is wired by adding its line to the functions
below; its `migrations` folder is found by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from platform_core.bootstrap.alipay import alipay_tools, mount_alipay
from platform_core.bootstrap.jobs import webhook_deps
from platform_core.bootstrap.platform import Platform
from platform_core.delivery.assembly import Delivery
from platform_core.delivery.catalogue import EventConsumer
from platform_core.delivery.draining import Draining
from platform_core.delivery.webhooks.feed import Feed
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database import migrations
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.version import VERSION
from platform_core.kernel.settings import Settings
from sandbox import testbed
from sandbox.testbed.acquirer_client import AcquirerControls
from sandbox.testbed.clock import SandboxClock
from sandbox.testbed.clock_desk import ClockDesk
from sandbox.testbed.clock_router import clock_router
from sandbox.testbed.drain import Drainer
from sandbox.testbed.events_router import events_router
from sandbox.testbed.fault_layer import FaultLayer
from sandbox.testbed.faults import Faults
from sandbox.testbed.faults_router import faults_router
from sandbox.testbed.parties_router import SandboxParties, parties_router
from sandbox.testbed.recording import Recordings, RecordLayer
from sandbox.testbed.recording_router import recording_router
from sandbox.testbed.seed import Seeding

_FOLDER: Final = Path(str(testbed.__file__)).resolve().parent.parent


def sandbox_folders(settings: Settings) -> list[Path]:
    """The migrations that a sandbox has besides the core's; none elsewhere."""
    return migrations.migration_folders(_FOLDER) if settings.is_sandbox else []


def all_sandbox_folders() -> list[Path]:
    """The same, whatever the settings: to know a sandbox's database when one sees it."""
    return migrations.migration_folders(_FOLDER)


def mount(app: FastAPI, platform: Platform) -> None:
    """Put the sandbox's doors beside the platform's, and the layers of scripted faults and recordings around all."""
    if isinstance(platform.clock, SandboxClock):  # a test may hand in a clock of its own, which nobody else turns
        app.include_router(clock_router(clock_desk(platform, platform.clock)))
    app.include_router(events_router(Feed(webhook_deps(platform))))
    faults, recordings = faults_of(platform), _recordings(platform)
    app.include_router(faults_router(faults))
    app.include_router(recording_router(recordings))
    acquirer = _acquirer(platform)
    if acquirer is not None:
        app.include_router(parties_router(_parties(platform, acquirer)))
    if isinstance(app, Application):
        app.surround(lambda inner: FaultLayer(inner, faults, platform.access, acquirer=acquirer))
        app.surround(lambda inner: RecordLayer(inner, recordings, platform.access))
    mount_alipay(app, platform)  # last, so that its door stands outside of all others


def faults_of(platform: Platform) -> Faults:
    """The scripted faults of apps."""
    return Faults(platform.database, platform.committer, SystemClock(), platform.ids)


def _recordings(platform: Platform) -> Recordings:
    return Recordings(platform.database, platform.committer, SystemClock(), platform.ids)


def _acquirer(platform: Platform) -> AcquirerControls | None:
    url = platform.settings.acquirer_url
    return None if url is None else AcquirerControls(url)


def _parties(platform: Platform, acquirer: AcquirerControls) -> SandboxParties:
    seeding = Seeding(
        parties=platform.parties,
        apps=platform.apps,
        grants=platform.grants,
        setup=platform.payment_setup,
        acquirer_url=acquirer.url,
        api_version=VERSION,
    )
    return SandboxParties(seeding, acquirer, platform.database, platform.committer, SystemClock())


def due_handlers(platform: Platform) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
    """The sandbox's own kinds of due rows, for workers."""
    return {**alipay_tools(platform).due_handlers()}


def consumers(platform: Platform) -> list[EventConsumer]:
    """What of the sandbox follows events, for workers."""
    return [*alipay_tools(platform).consumers()]


def clock_desk(platform: Platform, clock: SandboxClock) -> ClockDesk:
    """The desk that turns a sandbox's clock; the simulated acquirer follows, where there is one."""
    acquirer = _acquirer(platform)
    followers = [] if acquirer is None else [acquirer.follow]
    return ClockDesk(clock, platform.database, platform.committer, followers)


def worker_changes(platform: Platform, *, ambient: Collection[str]) -> dict[str, Any]:  # Any: fields of DeliveryNeeds
    """What a sandbox's worker does otherwise: it drains when the clock is turned. `ambient`: see `Drainer`."""
    clock, meddle = platform.clock, faults_of(platform).meddle
    if not isinstance(clock, SandboxClock):
        return {"meddle": meddle}
    drainer = Drainer(clock_desk(platform, clock), ambient)

    async def drain(delivery: Delivery) -> None:
        await drainer.run(Draining(delivery))

    return {
        "signing_clock": clock.real,
        "real_clock": clock.real,
        "is_held": lambda: clock.reading.target_at is not None,
        "beside": drain,
        "meddle": meddle,
    }

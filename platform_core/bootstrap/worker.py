"""A worker process: what follows a commit. Relay, webhooks, due work of capabilities, and upkeep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from platform_core.bootstrap.catalogue import event_catalogue
from platform_core.bootstrap.jobs import register_jobs
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.bootstrap.plugin_host import teller_of
from platform_core.bootstrap.sandbox import consumers as sandbox_consumers
from platform_core.bootstrap.sandbox import due_handlers as sandbox_due_handlers
from platform_core.bootstrap.sandbox import worker_changes
from platform_core.bootstrap.upkeep import EVERY, Upkeep
from platform_core.delivery.assembly import DeliveryNeeds
from platform_core.delivery.queues import DueHandler
from platform_core.identity.grants import EXPIRE as GRANT_EXPIRE
from platform_core.identity.limit_windows import SWEEP as LIMIT_SWEEP
from platform_core.identity.operations import RUN
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings
from platform_core.plugin_host.discovery import catalogue as hook_catalogue
from platform_core.plugin_host.discovery import discover
from platform_core.plugin_host.events import hooks_by_event

REAL_TIME: Final = frozenset({RUN, GRANT_EXPIRE})
"""Due rows of identity's, written by the real clock: they are not moved with business time."""


def worker_needs(
    settings: Settings, urls: DatabaseUrls, *, on_ready: Callable[[], None] = lambda: None
) -> Callable[[], AbstractAsyncContextManager[DeliveryNeeds]]:
    """What `WorkerRuntime` enters on its loop; `on_ready` is called once everything is open."""

    @asynccontextmanager
    async def open_needs() -> AsyncIterator[DeliveryNeeds]:
        async with open_platform(settings, urls, application_name="arsenal-worker") as platform:
            upkeep = Upkeep(platform)
            await upkeep.plan_first()
            await platform.plugin_life.host_releases.register(discover())
            on_ready()
            yield needs_of(platform, upkeep)

    return open_needs


def needs_of(platform: Platform, upkeep: Upkeep) -> DeliveryNeeds:
    """What delivery works with, out of an open platform."""
    register_jobs(platform)
    own = {
        RUN: platform.operations.run,
        GRANT_EXPIRE: platform.grants.expire,
        LIMIT_SWEEP: platform.grants.limits.windows.sweep,
    }
    handlers = {
        **platform.payments.due_handlers(),
        **platform.plugin_life.due_handlers(),
        **upkeep.due_handlers(),
        **own,
        **(sandbox_due_handlers(platform) if platform.settings.is_sandbox else {}),
    }
    changes = worker_changes(platform, ambient=frozenset(EVERY)) if platform.settings.is_sandbox else {}
    return DeliveryNeeds(
        database=platform.database,
        committer=platform.committer,
        vault=platform.vault,
        clock=platform.clock,
        ids=platform.ids,
        catalogue=event_catalogue(),
        consumers=sandbox_consumers(platform) if platform.settings.is_sandbox else (),
        due_handlers=[DueHandler(kind, handle) for kind, handle in handlers.items()],
        teller=teller_of(platform.plugin_host),
        plugin_hooks=hooks_by_event({name: hook.kind for name, hook in hook_catalogue().items()}),
        allow_loopback_http=platform.settings.is_webhook_loopback_allowed,
        real_time_kinds=REAL_TIME,
        **changes,
    )

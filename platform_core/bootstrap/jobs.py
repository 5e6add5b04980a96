"""The sorts of long jobs that there are, registered in every process: begun by servers, done by workers."""

from __future__ import annotations

from platform_core.bootstrap.catalogue import event_catalogue
from platform_core.bootstrap.platform import Platform
from platform_core.contracts.versions import versions
from platform_core.delivery.webhooks.history import resend_kind
from platform_core.delivery.webhooks.service import WebhookDeps


def register_jobs(platform: Platform) -> None:
    """Once for a platform, before anything is begun or done."""
    platform.operations.register(resend_kind(webhook_deps(platform)))


def webhook_deps(platform: Platform) -> WebhookDeps:
    """What the webhook services work with, out of an open platform."""
    return WebhookDeps(
        clock=platform.clock,
        ids=platform.ids,
        database=platform.database,
        committer=platform.committer,
        vault=platform.vault,
        catalogue=event_catalogue(),
        cursors=platform.cursors,
        api_versions=versions().names,
        operations=platform.operations,
        allow_loopback_http=platform.settings.is_webhook_loopback_allowed,
    )

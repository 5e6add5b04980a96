"""What an installation has besides when it is a sandbox (setting `is_sandbox`): tables, routes, due work.

Nothing here is reached unless the setting is on. A part of the sandbox is wired by adding its line to the functions
below; its `migrations` folder is found by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from platform_core.bootstrap.alipay import alipay_tools, mount_alipay
from platform_core.bootstrap.platform import Platform
from platform_core.delivery.catalogue import EventConsumer
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database import migrations
from platform_core.kernel.settings import Settings
from sandbox import testbed

_FOLDER: Final = Path(str(testbed.__file__)).resolve().parent.parent


def sandbox_folders(settings: Settings) -> list[Path]:
    """The migrations that a sandbox has besides the core's; none elsewhere."""
    return migrations.migration_folders(_FOLDER) if settings.is_sandbox else []


def all_sandbox_folders() -> list[Path]:
    """The same, whatever the settings: to know a sandbox's database when one sees it."""
    return migrations.migration_folders(_FOLDER)


def mount(app: FastAPI, platform: Platform) -> None:
    """Put the sandbox's doors beside the platform's."""
    mount_alipay(app, platform)


def due_handlers(platform: Platform) -> Mapping[str, Callable[[DueWork], Awaitable[Plan | None]]]:
    """The sandbox's own kinds of due rows, for workers."""
    return {**alipay_tools(platform).due_handlers()}


def consumers(platform: Platform) -> list[EventConsumer]:
    """What of the sandbox follows events, for workers."""
    return [*alipay_tools(platform).consumers()]

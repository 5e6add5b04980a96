"""The driver's connections with the role of workers, for the statements of the work queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from platform_core.kernel.database.pools import Database

JobPool: TypeAlias = asyncpg.Pool


@asynccontextmanager
async def open_job_pool(database: Database, *, connections_max: int = 6) -> AsyncIterator[JobPool]:
    """A pool with role arsenal_job; connections are made when first used."""
    url, settings = database.urls.of("job")
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections_max,
        timeout=5,
        command_timeout=30,
        server_settings={**settings, "application_name": "arsenal-worker:job", "jit": "off"},
    )
    async with pool:
        yield pool

"""A worker process for tests: `python -m tests.delivery.worker_process DATABASE_URL HOME [BROKER_URL]`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from platform_core.bootstrap.appliers import make_appliers
from platform_core.delivery.assembly import DeliveryNeeds
from platform_core.delivery.celery_app import make_celery, run_worker
from platform_core.delivery.runtime import WorkerRuntime
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.kernel.settings import Settings
from tests.delivery.conftest import CATALOGUE


def main(database_url: str, home: str, broker_url: str | None = None) -> None:
    """Run until SIGTERM."""

    @asynccontextmanager
    async def open_needs() -> AsyncIterator[DeliveryNeeds]:
        clock = SystemClock()
        ids = Ids(clock)
        database = Database(DatabaseUrls(owner=database_url))
        committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids)
        await committer.start()
        yield DeliveryNeeds(
            database=database,
            committer=committer,
            vault=Vault(b"k" * 32),
            clock=clock,
            ids=ids,
            catalogue=CATALOGUE,
            allow_loopback_http=True,
        )
        await committer.stop()
        await database.close()

    settings = Settings(home=Path(home), broker_url=SecretStr(broker_url) if broker_url else None)
    run_worker(make_celery(settings), WorkerRuntime(open_needs))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A platform on an acquirer in process, shared by many tests: each brings its own merchants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from platform_core.bootstrap.app import attach, create_app
from platform_core.bootstrap.platform import open_platform
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit.due import DueWork
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings
from tests.capabilities.payments.acquirer import Acquirer, DirectProvider, registry_of
from tests.capabilities.payments.plugins import ScriptedPlugins
from tests.support.world import ORIGIN, Till, World


@dataclass
class Shop(World):
    """The world, with what its tests do to it."""

    clock: ManualClock = field(kw_only=True)
    acquirer: Acquirer = field(kw_only=True)
    second: Acquirer = field(kw_only=True)
    owner: asyncpg.Connection[Any] = field(kw_only=True)  # one for all: making one takes longer than most reads
    owner_lock: asyncio.Lock = field(default_factory=asyncio.Lock, kw_only=True)
    plugins: ScriptedPlugins = field(kw_only=True)

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(**by))

    async def work_for(self, till: Till, *, rounds: int = 1) -> int:
        """What the worker does for one merchant that is due now; other tests' merchants keep theirs."""
        done = 0
        for _ in range(rounds):
            for row in await self.due_rows(till):
                if row.due_at <= self.clock.now():
                    plan = await self.platform.payments.due_handlers()[row.kind](row)
                    if plan is not None:
                        await self.platform.committer.commit(plan)
                    done += 1
        return done

    async def due_rows(self, till: Till) -> list[DueWork]:
        """The merchant's due rows, the next one first; but not of the end of a day's payments, a year ahead."""
        sql = (
            "SELECT kind, subject_id, merchant_id, due_at, tries FROM due "
            "WHERE merchant_id = $1 AND kind LIKE 'payments.%' AND kind <> 'payments.finish' ORDER BY due_at, kind"
        )
        return [DueWork(*row) for row in await self.fetch(sql, till.merchant_id)]

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """Rows, read by the owner of the database."""
        async with self.owner_lock:
            return list(await self.owner.fetch(sql, *arguments))

    async def events(self, till: Till, payment_id: str) -> list[str]:
        """The types of a payment's events; their sequence has no gap and the last one is the payment's own."""
        rows = await self.fetch("SELECT sequence, type FROM outbox WHERE object_id = $1 ORDER BY sequence", payment_id)
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
        [payment] = await self.fetch("SELECT sequence FROM pay_payment WHERE id = $1", payment_id)
        assert payment["sequence"] == len(rows)
        return [row["type"] for row in rows]

    async def deliver(self, till: Till, *, order: int = 1) -> list[int]:
        """Deliver the acquirer's open notices about this merchant to their address; `order` -1: the newest first."""
        statuses = []
        for notice in self.acquirer.notices()[::order]:
            path = httpx.URL(notice.url).path
            if not path.endswith(till.channel_account_id):
                continue
            answer = await self.client.post(path, content=notice.body, headers={"x-genuine": "yes"})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                self.acquirer.book.end_notice(notice.number)
        return statuses

    async def tell(self, till: Till, **words: Any) -> httpx.Response:
        """A notice with words of the test's choice."""
        body = {"code": "OK", "message": "", "currency": "CNY", "occurred_at": self.clock.now().isoformat(), **words}
        path = f"/v1/notices/simulated_acquirer/{till.channel_account_id}"
        return await self.client.post(path, content=json.dumps(body), headers={"x-genuine": "yes"})

    async def transactions(self, payment_id: str) -> list[Any]:
        """The payment's transactions, oldest first."""
        sql = "SELECT * FROM pay_transaction WHERE payment_id = $1 ORDER BY created_at, id"
        return await self.fetch(sql, payment_id)

    async def counts(self) -> dict[str, int]:
        """How many rows every table holds, but the log of requests: a refusal leaves all of them as they were."""
        names = await self.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname <> 'request_log'"
        )
        sql = " UNION ALL ".join(f"SELECT '{row[0]}', count(*) FROM {row[0]}" for row in names)
        return {row[0]: row[1] for row in await self.fetch(sql)}

    async def pending(self, till: Till) -> dict[str, int]:
        """Pending debits by role, zeros left out."""
        sums: dict[str, int] = {}
        for record in await self.platform.ledger.balances(till.merchant_id):
            sums[record.role] = sums.get(record.role, 0) + record.debits_pending
        return {role: amount for role, amount in sums.items() if amount}

    async def add_second(self, till: Till) -> str:
        """A second channel account at another acquirer."""
        return await self.platform.payment_setup.add_channel_account(
            till.merchant_id,
            provider_id="second_acquirer",
            name="Second",
            settings={"gateway_url": self.acquirer_url, "merchant_no": "M2"},
            secrets={"signing_key": b"0" * 32},
        )


@asynccontextmanager
async def open_shop(database_url: str, *, clock: ManualClock, home: Path, **more: Any) -> AsyncIterator[Shop]:
    """A shop on a migrated database; `more`: settings."""
    first, second = Acquirer(clock), Acquirer(clock)
    plain = DirectProvider("plain_acquirer", first, lacks="split")
    told = [DirectProvider("simulated_acquirer", first), DirectProvider("second_acquirer", second)]
    registry = registry_of([*told, plain])
    settings = Settings(home=home, public_origin=ORIGIN, **more)
    urls, plugins = DatabaseUrls(owner=database_url), ScriptedPlugins()
    async with open_platform(settings, urls, clock=clock, registry=registry, plugins=plugins) as platform:
        app = create_app(None, public_origin=ORIGIN, ids=platform.ids)  # type: ignore[arg-type]  # attached by hand
        attach(app, platform)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            owner = await asyncpg.connect(database_url)
            yield Shop(
                platform,
                app,
                client,
                "http://acquirer.invalid",
                clock=clock,
                acquirer=first,
                second=second,
                owner=owner,
                plugins=plugins,
            )
            await owner.close()

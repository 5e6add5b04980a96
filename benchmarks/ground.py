"""What every benchmark stands on: a durable PostgreSQL in a temporary folder, and merchants who sell."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Child, family_cpu_s, running
from platform_core.bootstrap.platform import Platform, open_platform
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.contracts.rar import Detail
from platform_core.identity.schemas import AppCreate, GrantCreate, MerchantCreate
from platform_core.kernel.database import migrations
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.settings import Settings

ORIGIN = "http://127.0.0.1:8080"  # the tokens' issuer; the port listened on is another
SCOPES = ("payments:write", "payments:read", "ledger:read")
TEMPLATE = "template_arsenal"
FEE_BP = 60


@dataclass(frozen=True, slots=True)
class Seller:
    """A merchant's app with its secret."""

    merchant_id: str
    client_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Ground:
    """The database server and where keys are kept."""

    postgres: EmbeddedPostgres
    home: Path

    def database(self, name: str) -> str:
        """The owner's URL of a fresh, migrated database."""
        self.postgres.create_database(name, template=TEMPLATE)
        return self.postgres.url(name)

    def cpu_s(self) -> float:
        """CPU time of all of PostgreSQL's processes so far."""
        return family_cpu_s(self.postgres.pid)

    def sql(self, command: str, *, database: str) -> str:
        """psql's answer, unaligned."""
        return self.postgres.sql(command, database=database).strip()


@contextmanager
def open_ground() -> Iterator[Ground]:
    """Start the server, migrate a template, stop and remove everything afterwards. Refuses to measure without fsync."""
    with tempfile.TemporaryDirectory(prefix="arsenal-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "pg")
        url = postgres.start(database=TEMPLATE)
        try:
            asyncio.run(migrations.upgrade(url))
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert postgres.sql(f"SHOW {name}").strip() == "on", (
                    f"{name} is off: these figures would be worth nothing"
                )
            home = Path(folder) / "home"
            home.mkdir()
            yield Ground(postgres, home)
        finally:
            postgres.stop()


def bench_settings(home: Path) -> Settings:
    """Settings of a benchmark's platform; the environment's own would make runs differ."""
    return Settings(
        home=home,
        public_origin=ORIGIN,
        log_level="warning",
        rate_own_app_per_s=100_000,
        rate_address_per_s=100_000,
    )


def serving(ground: Ground, url: str) -> AbstractContextManager[Child]:
    """`arsenal serve` on a database that is there, on a free port of the loopback."""
    settings = {
        "ARSENAL_HOME": str(ground.home),
        "ARSENAL_DATABASE_URL": url,
        "ARSENAL_PUBLIC_ORIGIN": ORIGIN,
        "ARSENAL_LISTEN_PORT": "0",
        "ARSENAL_LOG_LEVEL": "warning",
        "ARSENAL_RATE_OWN_APP_PER_S": "100000",
        "ARSENAL_RATE_ADDRESS_PER_S": "100000",
    }
    return running([Path(sys.executable).parent / "arsenal", "serve", "--json"], settings=settings)


def seed_sellers(
    ground: Ground, url: str, *, count: int, scopes: Sequence[str] = SCOPES, details: tuple[Detail, ...] = ()
) -> list[Seller]:
    """Merchants with an app, a grant, a fee plan and a cash drawer each. `details`: the grant's limits."""

    async def seed() -> list[Seller]:
        async with open_platform(bench_settings(ground.home), DatabaseUrls(owner=url)) as platform:
            return [await _seed_one(platform, frozenset(scopes), details) for _ in range(count)]

    return asyncio.run(seed())


async def _seed_one(platform: Platform, scopes: frozenset[str], details: tuple[Detail, ...]) -> Seller:
    merchant = await platform.parties.create_merchant(
        MerchantCreate(name="Hutong Coffee", mode="test", industry="restaurant", verification="verified")
    )
    app = await platform.apps.create_app(
        AppCreate(name="Till", mode="test", merchant_id=merchant.id, api_version="2026-11-22")
    )
    await platform.grants.create(
        GrantCreate(
            app_id=app.id,
            merchant_id=merchant.id,
            mode="test",
            scopes=scopes,
            stores=None,
            details=details,
            given_by="per_owner",
        )
    )
    await platform.payment_setup.set_fee_plan(merchant.id, currency="CNY", terms=FeeTerms(rate_bp=FEE_BP))
    await platform.payment_setup.add_channel_account(
        merchant.id, provider_id="cash", name="Cash drawer", settings={}, secrets={}
    )
    return Seller(merchant.id, app.client.id, app.secret.secret)


def fetch_token(port: int, seller: Seller) -> str:
    """An access token from the running server, by client credentials."""
    basic = base64.b64encode(f"{seller.client_id}:{seller.secret}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/oauth/token",
        data=b"grant_type=client_credentials",
        headers={"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        token: str = json.load(answer)["access_token"]
    return token

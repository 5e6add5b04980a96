"""One process's platform: everything that server, worker and command line share, opened in order and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from pydantic import SecretStr

from platform_core.bootstrap.appliers import make_appliers
from platform_core.capabilities.payments import assembly as payments_assembly
from platform_core.capabilities.payments.assembly import Payments
from platform_core.capabilities.payments.desk import Tools
from platform_core.capabilities.payments.providers import Providers
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.capabilities.payments.setup import PaymentSetup
from platform_core.identity.access import Access
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.grants import Grants
from platform_core.identity.oauth.adapter import AuthlibOAuthServer
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import RevocationFeed
from platform_core.identity.signing_keys import SigningKeys
from platform_core.identity.vault import Vault, read_or_create_key
from platform_core.kernel.clock import Clock, SystemClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from platform_core.kernel.settings import Settings
from platform_core.ledger.service import LedgerService
from platform_core.plugin_host.registry import Registry, load_installed
from platform_core.plugin_host.secrets import VaultContexts


@dataclass(frozen=True, slots=True)
class Platform:
    """What is open in this process."""

    settings: Settings
    clock: Clock
    ids: Ids
    database: Database
    committer: Committer
    vault: Vault
    contexts: VaultContexts
    cursors: Cursors
    feed: RevocationFeed
    access: Access
    oauth: AuthlibOAuthServer
    parties: Parties
    apps: Apps
    grants: Grants
    directory: MerchantDirectory
    registry: Registry
    ledger: LedgerService
    payments: Payments
    payment_setup: PaymentSetup


def database_urls(settings: Settings, *, keep_running: bool = False) -> DatabaseUrls:
    """Where the database is; without a setting the embedded server is started under `home` (and stopped with the last user)."""
    if settings.database_url is None:
        owner = EmbeddedPostgres(settings.home / "pg", keep_running=keep_running).start()
        return DatabaseUrls(owner=owner)
    return DatabaseUrls(
        owner=settings.database_url.get_secret_value(),
        app=_plain(settings.database_app_url),
        job=_plain(settings.database_job_url),
        auth=_plain(settings.database_auth_url),
        writer=_plain(settings.database_writer_url),
    )


@asynccontextmanager
async def open_platform(
    settings: Settings, urls: DatabaseUrls, *, clock: Clock | None = None, registry: Registry | None = None
) -> AsyncIterator[Platform]:
    """Open everything. The database is migrated already (`arsenal migrate`). Tokens live by the real clock, business by `clock`."""
    clock = clock or SystemClock()
    ids = Ids(clock)
    database = Database(urls, pool_size=settings.database_pool_max)
    committer = Committer(
        database.connect_writer,
        make_appliers(clock),
        clock=clock,
        ids=ids,
        batch_plans_max=settings.commit_batch_plans_max,
        queue_plans_max=settings.commit_queue_plans_max,
    )
    real_clock = SystemClock()
    vault = Vault(_key(settings, settings.secrets_key, "secrets.key"))
    deps = IdentityDeps(clock=real_clock, ids=ids, database=database, committer=committer, vault=vault)
    feed = RevocationFeed(lambda: database.connect("auth"), clock=real_clock)
    keys = SigningKeys(deps)
    directory = MerchantDirectory(database=database, feed=feed, clock=real_clock)
    registry = registry or load_installed()
    contexts = VaultContexts(vault)
    ledger = LedgerService(database, ids=ids)
    cursors = Cursors(_key(settings, settings.cursor_key, "cursor.key"))
    tools = Tools(
        committer=committer,
        repository=PaymentRepository(database),
        providers=Providers(registry.payment_providers(), contexts),
        directory=directory,
        clock=clock,
        ids=ids,
        public_origin=settings.public_origin,
    )
    await committer.start()
    try:
        await feed.start()
        try:
            await keys.start(feed)
            yield Platform(
                settings=settings,
                clock=clock,
                ids=ids,
                database=database,
                committer=committer,
                vault=vault,
                contexts=contexts,
                cursors=cursors,
                feed=feed,
                access=Access(
                    database=database, keys=keys, feed=feed, clock=real_clock, public_origin=settings.public_origin
                ),
                oauth=AuthlibOAuthServer(deps, keys, public_origin=settings.public_origin),
                parties=Parties(deps),
                apps=Apps(deps),
                grants=Grants(deps),
                directory=directory,
                registry=registry,
                ledger=ledger,
                payments=payments_assembly.assemble(tools, ledger, cursors),
                payment_setup=PaymentSetup(
                    committer,
                    clock,
                    ids,
                    lambda merchant_id, name, key: contexts.seal(merchant_id=merchant_id, name=name, key=key),
                ),
            )
        finally:
            await feed.stop()
    finally:
        await committer.stop()
        await database.close()


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _key(settings: Settings, given: SecretStr | None, name: str) -> bytes:
    """A key from the settings, or the one kept under `home`."""
    if given is not None:
        return sha256(given.get_secret_value().encode()).digest()
    return read_or_create_key(settings.home / name)

"""One process's platform: what server, worker and command line share, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Final

import structlog
from pydantic import SecretStr

from platform_core.bootstrap.appliers import make_appliers
from platform_core.bootstrap.hooks import OPEN_PATHS
from platform_core.bootstrap.people import People, make_people
from platform_core.bootstrap.plugin_host import IdentityParts, PluginHost, make_plugin_host
from platform_core.capabilities.payments import assembly as payments_assembly
from platform_core.capabilities.payments.assembly import Payments
from platform_core.capabilities.payments.desk import Tools
from platform_core.capabilities.payments.hosted import HostedPlugins, HostedProviders
from platform_core.capabilities.payments.operations import plugin_operations
from platform_core.capabilities.payments.providers import Providers
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.capabilities.payments.screening import Plugins
from platform_core.capabilities.payments.setup import PaymentSetup
from platform_core.capabilities.payments.splits.repository import SplitRepository
from platform_core.capabilities.payments.terms import MerchantTerms
from platform_core.contracts.plugin import HoldsConnections
from platform_core.contracts.rar import check_catalogue
from platform_core.delivery.nudges import Nudger
from platform_core.identity import proof_tools
from platform_core.identity.access import Access
from platform_core.identity.apps import Apps
from platform_core.identity.consent import Consent
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.device_approvals import DeviceApprovals
from platform_core.identity.directory import MerchantDirectory
from platform_core.identity.errors import SANDBOX_OVER_LIVE_MERCHANT
from platform_core.identity.expansions import PartyBranches
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.grants import Grants
from platform_core.identity.limit_policy import limit_policy
from platform_core.identity.limits import Limits
from platform_core.identity.oauth.adapter import AuthlibOAuthServer
from platform_core.identity.oauth.details import detail_type_names, read_details
from platform_core.identity.oauth.grants.device_code import DeviceCode
from platform_core.identity.oauth.grants.token_exchange import TokenExchange
from platform_core.identity.operations import Operations
from platform_core.identity.parties import Parties
from platform_core.identity.payout_destinations import PayoutDestinations
from platform_core.identity.processes import ServerProcesses
from platform_core.identity.proof_tools import ProofTools
from platform_core.identity.rate_limits import RateLimits
from platform_core.identity.refusals import Refusals
from platform_core.identity.request_log import RequestLog
from platform_core.identity.revocation import RevocationFeed
from platform_core.identity.session_tokens import SessionTokens
from platform_core.identity.signing_keys import SigningKeys
from platform_core.identity.vault import Vault, read_or_create_key
from platform_core.kernel.clock import Clock, SystemClock
from platform_core.kernel.commit import BatchReport, Committer
from platform_core.kernel.commit.metrics import record
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import Database, DatabaseUrls
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from platform_core.kernel.settings import Settings
from platform_core.ledger.service import LedgerService
from platform_core.plugin_host.assembly import PluginLife
from platform_core.plugin_host.registry import Registry
from platform_core.plugin_host.secrets import VaultContexts
from sandbox.testbed.acquirer_client import AcquirerControls
from sandbox.testbed.clock import SandboxClock

log = structlog.get_logger(__name__)

NUDGE_GAP_S: Final = 0.05  # a nudge is a small transaction of its own: at most twenty a second
CLOSE_S_MAX: Final = 3.0


@dataclass(frozen=True, slots=True)
class Platform:
    """What is open in this process."""

    settings: Settings
    clock: Clock
    ids: Ids
    database: Database
    committer: Committer
    nudger: Nudger
    vault: Vault
    contexts: VaultContexts
    cursors: Cursors
    feed: RevocationFeed
    refusals: Refusals
    keys: SigningKeys
    access: Access
    proof_tools: ProofTools
    processes: ServerProcesses
    request_log: RequestLog
    operations: Operations
    oauth: AuthlibOAuthServer
    consent: Consent
    devices: DeviceApprovals
    parties: Parties
    people: People
    apps: Apps
    grants: Grants
    directory: MerchantDirectory
    ledger: LedgerService
    payments: Payments
    payment_setup: PaymentSetup
    plugin_host: PluginHost

    @property
    def plugin_life(self) -> PluginLife:
        """Releases, installations, switches: what people do with plugins."""
        return self.plugin_host.life


def database_urls(settings: Settings, *, keep_running: bool = False) -> DatabaseUrls:
    """Where the database is; unset, the embedded server is started under `home`, and stops with its last user."""
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
    settings: Settings,
    urls: DatabaseUrls,
    *,
    clock: Clock | None = None,
    registry: Registry | None = None,
    plugins: Plugins | None = None,
    is_asking_plugins: bool = True,
    application_name: str = "arsenal",
) -> AsyncIterator[Platform]:
    """Open everything. The database is migrated already (`arsenal migrate`).

    Tokens live by the real clock, business by `clock`; unset, that is the sandbox's own in a sandbox, else real time.
    409 `identity.sandbox_over_live_merchant`. On leaving, what is queued is written, and plugins'
    connections on this loop are closed. `registry`: these plugins and no others, whatever is installed. Without
    `is_asking_plugins` no worker is started, for commands that take no orders.
    """
    turned = SandboxClock() if settings.is_sandbox and clock is None else None
    platform = assemble(
        settings, urls, clock=clock or turned, registry=registry, plugins=plugins, application_name=application_name
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(platform.database.close)
        stack.push_async_callback(platform.people.close)
        stack.push_async_callback(_close_providers, platform)
        stack.push_async_callback(platform.proof_tools.key_sets.aclose)
        if settings.is_sandbox and (live := await platform.parties.find_live()) is not None:
            raise SANDBOX_OVER_LIVE_MERCHANT.error({"merchant_id": live})
        if turned is not None:
            await turned.start(platform.database)
            stack.push_async_callback(turned.stop)
            if settings.acquirer_url is not None and turned.reading.version:  # it begins at real time
                await AcquirerControls(settings.acquirer_url).follow(turned.now())
        await platform.nudger.start()
        stack.push_async_callback(platform.nudger.stop)
        await platform.committer.start()
        stack.push_async_callback(platform.committer.stop)
        await platform.refusals.start()
        stack.push_async_callback(platform.refusals.stop)
        await platform.feed.start()
        stack.push_async_callback(platform.feed.stop)
        await platform.keys.start(platform.feed)
        await platform.plugin_host.open(stack, is_asking=is_asking_plugins)
        await platform.request_log.start()
        stack.push_async_callback(platform.request_log.stop)
        yield platform


async def _close_providers(platform: Platform) -> None:
    """Release what plugins opened on this loop; one that fails keeps no other from closing."""
    for provider_id, provider in platform.plugin_host.dispatcher.registry.payment_providers().items():
        if isinstance(provider, HoldsConnections):
            try:
                async with asyncio.timeout(CLOSE_S_MAX):
                    await provider.aclose()
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and we are leaving
                log.warning("provider.not_closed", provider=provider_id, error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything else stands on: time, ids, the database and its one writer, secrets, and news."""

    clock: Clock
    ids: Ids
    database: Database
    nudger: Nudger
    committer: Committer
    vault: Vault
    deps: IdentityDeps
    feed: RevocationFeed


def _ground(settings: Settings, urls: DatabaseUrls, *, clock: Clock | None, application_name: str) -> _Ground:
    """Tokens live by the real clock, business by `clock`."""
    clock, real_clock = clock or SystemClock(), SystemClock()
    ids = Ids(clock)
    database = _database(settings, urls, application_name)
    nudger = Nudger(database, gap_s=NUDGE_GAP_S)
    committer = _committer(settings, database, nudger, clock=clock, ids=ids)
    vault = Vault(secrets_key(settings))
    deps = IdentityDeps(clock=real_clock, ids=ids, database=database, committer=committer, vault=vault)
    feed = RevocationFeed(lambda: database.connect("auth"), clock=real_clock)
    return _Ground(clock, ids, database, nudger, committer, vault, deps, feed)


def assemble(
    settings: Settings,
    urls: DatabaseUrls,
    *,
    clock: Clock | None = None,
    registry: Registry | None = None,
    plugins: Plugins | None = None,
    application_name: str = "arsenal",
) -> Platform:
    """Everything put together and nothing opened. ValueError for scopes or limits of money that cannot be."""
    check_catalogue()
    ground = _ground(settings, urls, clock=clock, application_name=application_name)
    deps, feed, database, real_clock = ground.deps, ground.feed, ground.database, ground.deps.clock
    keys = SigningKeys(deps)
    directory = MerchantDirectory(database=database, feed=feed, clock=real_clock)
    contexts = VaultContexts(ground.vault)
    ledger = LedgerService(database, ids=ground.ids)
    limits = Limits(database=database, ledger=ledger, committer=ground.committer, clock=ground.clock, ids=ground.ids)
    grants = Grants(deps, limits=limits, policy=limit_policy(settings.money_limits))
    consent = Consent(deps, grants)
    cursors = Cursors(_key(settings, settings.cursor_key, "cursor.key"))
    proofs = proof_tools.assemble(
        deps, keys, feed, public_origin=settings.public_origin, allow_loopback_http=settings.is_webhook_loopback_allowed
    )
    access = _access(deps, keys, feed, settings=settings, proofs=proofs)
    refusals = Refusals(ground.committer, clock=real_clock)
    parties, apps = Parties(deps, is_sandbox=settings.is_sandbox), Apps(deps)
    parts = IdentityParts(directory=directory, grants=grants, apps=apps, parties=parties, cursors=cursors, keys=keys)
    host = make_plugin_host(deps, feed, parts, settings=settings, clock=ground.clock, registry=registry)
    providers = Providers(HostedProviders(host.dispatcher), contexts)
    plugins = plugins or HostedPlugins(host.dispatcher)
    tools = _tools(ground, directory, settings=settings, providers=providers, limits=limits, plugins=plugins)
    people = make_people(
        deps, parties, apps, proofs.keys, refusals=refusals, cursors=cursors, public_origin=settings.public_origin
    )
    payments = payments_assembly.assemble(
        tools,
        ledger,
        cursors,
        splits=SplitRepository(database),
        destinations=PayoutDestinations(deps),
        parties=PartyBranches(database).branches(),
    )
    host.gate.operations.offer(plugin_operations(payments))
    return Platform(
        settings=settings,
        clock=ground.clock,
        ids=ground.ids,
        database=database,
        committer=ground.committer,
        nudger=ground.nudger,
        vault=ground.vault,
        contexts=contexts,
        cursors=cursors,
        feed=feed,
        refusals=refusals,
        keys=keys,
        access=access,
        proof_tools=proofs,
        processes=ServerProcesses(deps, access.limits),
        operations=Operations(deps),
        request_log=RequestLog(lambda: database.connect("job"), clock=real_clock),
        oauth=_oauth(deps, keys, access, feed, consent=consent, proofs=proofs, refusals=refusals, settings=settings),
        consent=consent,
        devices=DeviceApprovals(deps, consent, issuer=settings.public_origin),
        parties=parties,
        people=people,
        apps=apps,
        grants=grants,
        directory=directory,
        ledger=ledger,
        payments=payments,
        payment_setup=_payment_setup(ground.committer, contexts, clock=ground.clock, ids=ground.ids),
        plugin_host=host,
    )


def _database(settings: Settings, urls: DatabaseUrls, application_name: str) -> Database:
    return Database(
        urls,
        application_name=application_name,
        pool_size=settings.database_pool_max,
        statement_timeout_ms=settings.database_statement_timeout_ms,
    )


def _oauth(
    deps: IdentityDeps,
    keys: SigningKeys,
    access: Access,
    feed: RevocationFeed,
    *,
    consent: Consent,
    proofs: ProofTools,
    refusals: Refusals,
    settings: Settings,
) -> AuthlibOAuthServer:
    def exchange(deps: IdentityDeps) -> TokenExchange:
        sessions = SessionTokens(deps, keys, issuer=settings.public_origin)
        return TokenExchange(deps, access, sessions, public_origin=settings.public_origin)

    return AuthlibOAuthServer(
        deps,
        keys,
        access,
        public_origin=settings.public_origin,
        refresh_grace=timedelta(seconds=settings.refresh_grace_s),
        consent=consent,
        read_details=read_details,
        detail_types=detail_type_names(),
        assertions=proofs.assertions,
        proofs=proofs.proofs,
        more_grants=(DeviceCode, exchange),
        refusals=refusals,
        feed=feed,
    )


def _access(
    deps: IdentityDeps, keys: SigningKeys, feed: RevocationFeed, *, settings: Settings, proofs: ProofTools
) -> Access:
    limits = RateLimits(
        deps.clock,
        own_app_per_s=settings.rate_own_app_per_s,
        address_per_s=settings.rate_address_per_s,
        open_paths=OPEN_PATHS,
    )
    return Access(
        database=deps.database,
        keys=keys,
        feed=feed,
        clock=deps.clock,
        public_origin=settings.public_origin,
        limits=limits,
        proofs=proofs.requests,
    )


def _tools(
    ground: _Ground,
    directory: MerchantDirectory,
    *,
    settings: Settings,
    providers: Providers,
    limits: Limits,
    plugins: Plugins | None,
) -> Tools:
    repository, clock = PaymentRepository(ground.database), ground.clock

    async def read_terms(merchant_id: str) -> MerchantTerms:
        return await repository.terms(merchant_id, clock.now())

    return Tools(
        committer=ground.committer,
        repository=repository,
        providers=providers,
        directory=directory,
        limits=limits,
        terms=FeedCache(read_terms, kind="terms", feed=ground.feed, clock=ground.deps.clock),
        clock=clock,
        ids=ground.ids,
        public_origin=settings.public_origin,
        plugins=plugins,
    )


def _committer(settings: Settings, database: Database, nudger: Nudger, *, clock: Clock, ids: Ids) -> Committer:
    return Committer(
        database.connect_writer,
        make_appliers(clock, audit_clock=SystemClock()),
        clock=clock,
        ids=ids,
        batch_plans_max=settings.commit_batch_plans_max,
        queue_plans_max=settings.commit_queue_plans_max,
        observe=_observer(nudger),
    )


def _payment_setup(committer: Committer, contexts: VaultContexts, *, clock: Clock, ids: Ids) -> PaymentSetup:
    def seal(merchant_id: str, name: str, key: bytes) -> Sequence[str]:
        return contexts.seal(merchant_id=merchant_id, name=name, key=key)

    return PaymentSetup(committer, clock, ids, seal)


def _observer(nudger: Nudger) -> Callable[[BatchReport], None]:
    """After each batch: metrics, and a nudge to the relays if anything was committed."""

    def observe(report: BatchReport) -> None:
        record(report)
        if report.plans > sum(report.refused.values()) + sum(report.failed.values()):
            nudger.nudge()

    return observe


def secrets_key(settings: Settings) -> bytes:
    """The key of this installation's vault; made under `home` at first use if none is set."""
    return _key(settings, settings.secrets_key, "secrets.key")


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _key(settings: Settings, given: SecretStr | None, name: str) -> bytes:
    """A key from the settings, or the one kept under `home`."""
    if given is not None:
        return sha256(given.get_secret_value().encode()).digest()
    return read_or_create_key(settings.home / name)

"""A platform's plugin life on a database of its own: a publisher, merchants, and releases made of a few words."""

from __future__ import annotations

import dataclasses
import itertools
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from platform_core.bootstrap.appliers import make_appliers
from platform_core.contracts import hooks
from platform_core.contracts.hooks import KINDS
from platform_core.contracts.manifest import Manifest
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.revocation import RevocationFeed
from platform_core.identity.schemas import MerchantCreate
from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.kernel.pagination import Cursors
from platform_core.plugin_host.allow_list import NOBODY
from platform_core.plugin_host.assembly import PluginLife, make_plugin_life
from platform_core.plugin_host.canary import Figures
from platform_core.plugin_host.host_deps import Finding, HostDeps, Unpacked
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.schemas import InstallationCreate, InstallationRead, ReleaseRead, ReviewWrite
from tests.plugin_host.stage import Stages
from tests.support.patience import first_poll

_hashes = itertools.count(1)
PUBLISHER = "isv_acme"
RISK = "example.acme.risk"
SCOPED = '[[scopes]]\nname = "payments:read"\npurpose = { zh = "判断风险", en = "To judge the risk" }\n'


def manifest_text(
    *, plugin_id: str = RISK, version: str = "1.0.0", hooks: str = "check_payment", more: str = SCOPED
) -> str:
    """A plugin.toml with these hooks, and whatever tables stand in `more`."""
    uses = "\n".join(f'[[hooks]]\nname = "{name}"' for name in hooks.split())
    return f"""manifest = 1
[plugin]
id = "{plugin_id}"
version = "{version}"
name = {{ zh = "安心风控", en = "Acme Risk" }}
summary = {{ zh = "付款前识别风险", en = "Spots risky payments" }}
publisher = "{PUBLISHER}"
license = "Apache-2.0"
support = "help@acme.example"
contract = ">=1.0,<2"
{uses}
{more}
"""


@dataclass
class Counted:
    """Health as a test says it is, by version."""

    by_version: dict[str, Figures] = field(default_factory=dict)

    async def figures(self, plugin_id: str, version: str, *, since: datetime) -> Figures:
        return self.by_version.get(version, Figures(calls=0, faults=0, p95_ms=None))


@dataclass
class Market:
    """What the tests of the plugins' life act on."""

    life: PluginLife
    deps: HostDeps
    clock: ManualClock
    feed: RevocationFeed
    health: Counted
    owner: asyncpg.Connection[Any]

    async def merchant(self, mode: str = "test") -> str:
        wanted = MerchantCreate.model_validate({"name": "Noodles", "mode": mode, "industry": "restaurant"})
        return (await self.deps.parties.create_merchant(wanted)).id

    async def submit(
        self, text: str | None = None, *, schema: bytes | None = None, findings: tuple[Finding, ...] = (), **of: Any
    ) -> ReleaseRead:
        unpacked = Unpacked(
            manifest=text or manifest_text(**of),
            config_schema=schema,
            tree_hash=f"{next(_hashes):064x}",
            bundle_hash="b" * 64,
            findings=findings,
        )
        wanted = Submission(unpacked=unpacked, isv_id=PUBLISHER, by="per_publisher", change_log="Better.")
        return await self.life.releases.submit(wanted)

    async def publish(self, text: str | None = None, **of: Any) -> ReleaseRead:
        """A release through all of its review."""
        made = await self.submit(text, **of)
        for number in range(made.reviews_needed):
            decision = ReviewWrite(decision="approve", note="Read it.")
            await self.life.releases.review(made.id, decision, reviewer=f"per_reviewer{number}")
        return await self.life.releases.publish(made.id, by="per_publisher", isv_id=PUBLISHER)

    def actor(self, merchant_id: str) -> Actor:
        return Actor(id="per_owner", merchant_id=merchant_id)

    async def install(self, merchant_id: str, plugin_id: str = RISK, **of: Any) -> InstallationRead:
        wanted = InstallationCreate(plugin_id=plugin_id, **of)
        return await self.life.installations.install(self.actor(merchant_id), wanted)

    async def enable(self, merchant_id: str, plugin_id: str = RISK, **of: Any) -> InstallationRead:
        """Installed and enabled."""
        made = await self.install(merchant_id, plugin_id, **of)
        return await self.life.installations.enable(self.actor(merchant_id), made.id)

    async def running(self, merchant_id: str) -> list[tuple[str, str]]:
        """Ids and versions that are asked, after news was heard."""
        await self.feed.poll()
        plugins = (await self.life.enablement.of(merchant_id)).plugins
        return [(enabled.release.plugin_id, enabled.release.version) for enabled in plugins]

    async def row(self, sql: str, *values: object) -> Any:
        return await self.owner.fetchrow(sql, *values)

    async def counts(self) -> dict[str, int]:
        """How many rows every table holds: a refusal leaves all of them as they were."""
        names = await self.owner.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        sql = " UNION ALL ".join(f"SELECT '{row[0]}', count(*) FROM {row[0]}" for row in names)
        return {row[0]: row[1] for row in await self.owner.fetch(sql)}

    async def audited(self, subject: str) -> list[str]:
        rows = await self.owner.fetch("SELECT kind FROM audit_row WHERE subject = $1 ORDER BY position", subject)
        return [row[0] for row in rows]

    async def events(self, object_id: str) -> list[tuple[str, int]]:
        rows = await self.owner.fetch(
            "SELECT type, sequence FROM outbox WHERE object_id = $1 ORDER BY position", object_id
        )
        return [(row[0], row[1]) for row in rows]


@pytest.fixture
async def market(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Market]:
    """A platform with one publisher."""
    clock = ManualClock(datetime.now(UTC))
    ids = Ids(clock)
    committer = Committer(database.connect_writer, make_appliers(clock), clock=clock, ids=ids)
    await committer.start()
    vault = Vault(b"k" * 32)
    identity = IdentityDeps(clock=clock, ids=ids, database=database, committer=committer, vault=vault)
    feed = RevocationFeed(lambda: database.connect("auth"), clock=clock)
    parties = Parties(identity)
    await parties.ensure_isv(PUBLISHER, name="Acme")
    deps = HostDeps(
        clock=clock,
        real_clock=clock,
        ids=ids,
        database=database,
        committer=committer,
        vault=vault,
        cursors=Cursors(b"c" * 32),
        grants=Grants(identity),
        apps=Apps(identity),
        parties=parties,
        allow_list=NOBODY,
    )
    health = Counted()
    life = make_plugin_life(deps, feed=feed, locale="en", health=health)
    await first_poll(feed)
    owner = await asyncpg.connect(database_url)
    yield Market(life, deps, clock, feed, health, owner)
    await owner.close()
    feed._drop()
    await committer.stop()


def manifest_from(text: str) -> Manifest:
    """A manifest as the platform reads it."""
    return Manifest.model_validate_json(msgspec.json.encode(tomllib.loads(text)))


@pytest.fixture
def stages() -> Iterator[Stages]:
    """Stages that are ended when their test is."""
    stages = Stages()
    yield stages
    stages.close()


@pytest.fixture
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that wait 20 s, for tests of something else than lateness; one that asks for `on_time` keeps the real."""
    if "on_time" not in request.fixturenames:
        waiting = {kind: dataclasses.replace(rule, each_ms=20_000, all_ms=20_000) for kind, rule in KINDS.items()}
        monkeypatch.setattr(hooks, "KINDS", waiting)


@pytest.fixture
def on_time() -> None:
    """The deadlines of the contract."""

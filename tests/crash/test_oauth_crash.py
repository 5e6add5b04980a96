"""kill -9 of a server in the middle of consent, exchange, refresh and device decision, under load.

Afterwards what is good once was good once, what was acknowledged works, and no grant stands without its history.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from platform_core.governance.audit.sealer import Sealer
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from tests.clients.conftest import Server
from tests.support.oauth_load import KINDS, OAuthLoad, check_all_work, check_none_wins_again, claims_of
from tests.support.processes import Tell, free_port, teller
from tests.support.processes_arsenal import environment, platform_of, run_command, server

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]
CLIENTS = 10
KILLS = 5
KILLS_MAX = 30
GAP_S = (0.2, 2.0)
INTO_THE_ACT_S = (0.0, 0.02)
AWAITED_S = 20.0
INTERRUPTED_EACH = 2

# Each query names what is half there; it answers no row.
HALF = {
    "a code that was used without its family, or a family whose code was not": """
        SELECT c.id FROM oauth_code AS c LEFT JOIN oauth_token_family AS f ON f.id = c.family_id
        WHERE (c.used_at IS NULL) <> (f.id IS NULL)
    """,
    "a device decision that was used without its family, or a family of an unused one": """
        SELECT d.id FROM oauth_device_decision AS d LEFT JOIN oauth_token_family AS f ON f.id = d.family_id
        WHERE (d.used_at IS NULL) <> (f.id IS NULL)
    """,
    "a family of nothing": """
        SELECT f.id FROM oauth_token_family AS f WHERE NOT EXISTS (SELECT FROM oauth_code AS c WHERE c.family_id = f.id)
        AND NOT EXISTS (SELECT FROM oauth_device_decision AS d WHERE d.family_id = f.id)
    """,
    "a code or a device decision without its grant": """
        SELECT id FROM (SELECT id, grant_id FROM oauth_code UNION ALL SELECT id, grant_id FROM oauth_device_decision)
        AS made WHERE NOT EXISTS (SELECT FROM access_grant AS g WHERE g.id = made.grant_id)
    """,
    "a merchant whose pushed requests were not used once for each code": """
        SELECT merchant_id FROM (SELECT merchant_id, 1 AS n FROM oauth_code
          UNION ALL SELECT merchant_id, -1 FROM oauth_used_once WHERE id LIKE 'par\\_%') AS both_
        GROUP BY merchant_id HAVING sum(n) <> 0
    """,
    "a code that no audit row tells of, or more than one": """
        SELECT c.id FROM oauth_code AS c LEFT JOIN audit_row AS a ON a.subject = c.id AND a.kind = 'authorization.given'
        GROUP BY c.id HAVING count(a.subject) <> 1
    """,
    "a used refresh token without its one successor, or a successor of an unused one": """
        SELECT r.id FROM oauth_refresh_token AS r LEFT JOIN oauth_refresh_token AS s ON s.id = r.successor_id
        WHERE (r.used_at IS NULL) <> (s.id IS NULL) OR (r.used_at IS NULL) <> (r.successor_id IS NULL)
    """,
    "a family whose refresh tokens are no chain": """
        SELECT family_id FROM oauth_refresh_token GROUP BY family_id HAVING count(*) FILTER (WHERE used_at IS NULL) <> 1
    """,
    "a family without any refresh token": """
        SELECT f.id FROM oauth_token_family AS f
        WHERE NOT EXISTS (SELECT FROM oauth_refresh_token AS r WHERE r.family_id = f.id)
    """,
    "a grant whose versions are not those of its history": """
        SELECT g.id FROM access_grant AS g LEFT JOIN grant_version AS v ON v.grant_id = g.id
        GROUP BY g.id HAVING count(v.id) <> g.version OR max(v.version) <> g.version OR min(v.version) <> 1
    """,
    "a grant whose versions are not those of its events": """
        SELECT g.id FROM access_grant AS g LEFT JOIN outbox AS o ON o.object_id = g.id
        GROUP BY g.id HAVING count(o.id) <> g.version OR max(o.sequence) <> g.version OR min(o.sequence) <> 1
    """,
    "a grant whose versions are not those of its audit rows": """
        SELECT g.id FROM access_grant AS g
        LEFT JOIN audit_row AS a ON a.subject = g.id AND a.kind IN ('grant.created', 'grant.changed')
        GROUP BY g.id HAVING count(a.subject) <> g.version OR count(DISTINCT a.facts::json ->> 'version') <> g.version
    """,
    "a history, an event or an audit row of a grant that does not exist": """
        SELECT subject FROM (SELECT subject FROM audit_row WHERE kind LIKE 'grant.%'
          UNION ALL SELECT object_id FROM outbox WHERE type LIKE 'grant.%'
          UNION ALL SELECT grant_id FROM grant_version) AS told
        WHERE NOT EXISTS (SELECT FROM access_grant AS g WHERE g.id = told.subject)
    """,
}
ISSUED = "SELECT subject, count(*) FROM audit_row WHERE kind = 'token.issued' GROUP BY subject"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Says a line although pytest keeps what tests write."""
    return teller(capsys)


@pytest.fixture
async def site(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[tuple[Server, dict[str, str]]]:
    """A server process that may be killed, on a database that stays, and what it was given."""
    postgres.create_database("oauth_crash", template="template_arsenal")
    url, port = postgres.url("oauth_crash"), free_port()
    origin = f"http://127.0.0.1:{port}"
    given = environment(tmp_path, database_url=url, public_origin=origin, refresh_grace_s=60)
    daemon = server("server", tmp_path, port=port, given=given)
    async with platform_of(given, DatabaseUrls(owner=url)) as platform:
        await daemon.start()
        yield Server(origin, daemon, platform), given
        await daemon.stop()
    postgres.sql("DROP DATABASE oauth_crash WITH (FORCE)")


async def test_what_is_good_once_survives_kills_once(site: tuple[Server, dict[str, str]], tell: Tell) -> None:
    served, given = site
    seed = int(os.environ.get("ARSENAL_TEST_SEED", random.randrange(1_000_000)))
    tell(f"oauth crash test: ARSENAL_TEST_SEED={seed}")
    load = OAuthLoad(served)
    async with asyncio.TaskGroup() as group:
        clients = group.create_task(load.run(CLIENTS))
        await _kill(served, random.Random(seed), load)
        load.stop()
        await clients
    tell(
        f"oauth crash test: {served.daemon.kills} kills; {len(load.held)} codes and device codes exchanged; never "
        f"answered at first: {dict(load.unanswered)}; had won unheard: {dict(load.too_late)}"
    )
    assert not load.bugs, load.bugs[:5]
    assert set(load.won.values()) == {1}
    async with httpx.AsyncClient(base_url=served.origin, trust_env=False, timeout=15) as http:
        assert await check_all_work(http, load.held) > KILLS
        await _check_tables(given["ARSENAL_DATABASE_URL"], load)
        await check_none_wins_again(http, load, origin=served.origin)
    await _check_audit(served, given)
    assert _is_thick(load), f"too few were interrupted to prove much: {load.unanswered}"


def _is_thick(load: OAuthLoad) -> bool:
    return not _wanted(load)


def _wanted(load: OAuthLoad) -> list[str]:
    """The kinds of acts that too few kills met."""
    return [kind for kind in KINDS if load.unanswered[kind] < INTERRUPTED_EACH]


async def _kill(served: Server, chance: random.Random, load: OAuthLoad) -> None:
    """At random moments; past the least number while kinds of acts were not met, at a moment when one is under way."""
    while served.daemon.kills < KILLS or (_wanted(load) and served.daemon.kills < KILLS_MAX):
        await asyncio.sleep(chance.uniform(*GAP_S))
        if served.daemon.kills >= KILLS:
            await _wait_for_act(load, chance)
        await served.daemon.kill()
        await served.daemon.start()


async def _wait_for_act(load: OAuthLoad, chance: random.Random) -> None:
    async with asyncio.timeout(AWAITED_S):
        while not any(load.under_way[kind] for kind in _wanted(load)):  # noqa: ASYNC110 - counts set no event
            await asyncio.sleep(0.001)
    await asyncio.sleep(chance.uniform(*INTO_THE_ACT_S))


async def _check_tables(url: str, load: OAuthLoad) -> None:
    connection = await asyncpg.connect(url)
    try:
        for what, query in HALF.items():
            assert await connection.fetch(query) == [], what
        issued = dict(await connection.fetch(ISSUED))
    finally:
        await connection.close()
    acknowledged = [claims_of(token)["jti"] for held in load.held for token in held.access]
    assert len(set(acknowledged)) == len(acknowledged)
    assert {issued.get(jti) for jti in acknowledged} == {1}, "every token that was handed out is accounted for, once"


async def _check_audit(served: Server, given: dict[str, str]) -> None:
    """`arsenal audit verify`, once all is sealed."""
    platform = served.platform
    sealer = Sealer(platform.database, platform.committer, clock=SystemClock(), ids=platform.ids)
    assert await sealer.seal() > 0
    report = await asyncio.to_thread(run_command, "audit", "verify", given=given)
    assert (report["is_clean"], report["unsealed"]) == (True, 0), report

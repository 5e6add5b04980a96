"""Every administrative act leaves its audit row, refusals are counted, and what was refused left nothing."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.refusals import KEYS_MAX, OTHERS, UNKNOWN, Refusals
from platform_core.identity.schemas import AppCreate, GrantCreate, IsvCreate, MerchantCreate, StoreCreate
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.commit.errors import COMMIT_BUSY
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.ids import Ids
from tests.identity.conftest import Process, Shop
from tests.support.world import ACQUIRER_KEY, World

pytestmark = pytest.mark.database
SETUP = frozenset({"fee_plan", "channel_account", "routing_rule"})
CLIENT = "app_test_01abcdefghjkmnpqrstvwxyz01"


async def audit_rows(database: Database, kind: str | None = None) -> list[dict[str, Any]]:
    """Rows in the order of writing, facts read."""
    async with database.read_all() as connection:
        found = await connection.exec_driver_sql("SELECT * FROM audit_row ORDER BY position")
        rows = [{**row, "facts": json.loads(row["facts"])} for row in found.mappings()]
    return [row for row in rows if kind is None or row["kind"] == kind]


async def told(database: Database) -> list[tuple[object, ...]]:
    """What matters of each row."""
    return [
        (row["kind"], row["actor"], row["subject"], row["merchant_id"], row["facts"])
        for row in await audit_rows(database)
    ]


async def test_every_act_on_parties_and_apps_leaves_its_row(deps: IdentityDeps, database: Database) -> None:
    parties, apps, grants = Parties(deps), Apps(deps), Grants(deps)
    merchant = await parties.create_merchant(
        MerchantCreate(name="Tea", mode="test", industry="retail.convenience"), by="per_1"
    )
    store = await parties.create_store(StoreCreate(merchant_id=merchant.id, name="Gate"), by="per_1")
    isv = await parties.create_isv(IsvCreate(name="Soft"), by="per_1")
    app = await apps.create_app(
        AppCreate(name="Till", mode="test", api_version="2026-11-22", merchant_id=merchant.id), by="per_2"
    )
    shown = await apps.rotate_secret(app.client.id, overlap=timedelta(days=1), by="per_2")
    grant = await grants.create(
        GrantCreate(
            app_id=app.id, merchant_id=merchant.id, mode="test", scopes=frozenset({"stores:read"}),
            stores=frozenset({store.id}), given_by="per_3",
        )
    )  # fmt: skip
    await grants.revoke(grant.id, merchant_id=merchant.id, by="per_4", why="no longer used")
    await parties.change_standing(merchant.id, "warned", by="per_5")
    await apps.disable_client(app.client.id, by="per_2")
    facts = {"app": app.id, "scopes": ["stores:read"], "stores": 1, "details": []}
    assert await told(database) == [
        ("merchant.created", "per_1", merchant.id, merchant.id, {"mode": "test", "verification": "unverified"}),
        ("store.created", "per_1", store.id, merchant.id, {}),
        ("isv.created", "per_1", isv.id, None, {"tier": isv.tier, "verification": isv.verification}),
        ("app.created", "per_2", app.id, merchant.id, {"client": app.client.id, "secret": app.secret.id}),
        ("app.secret_created", "per_2", app.client.id, merchant.id, {"secret": shown.id, "overlap_s": 86_400}),
        ("grant.created", "per_3", grant.id, merchant.id, {**facts, "version": 1}),
        ("grant.revoked", "per_4", grant.id, merchant.id, {**facts, "version": 2}),
        ("merchant.standing_changed", "per_5", merchant.id, merchant.id, {"from": "active", "to": "warned"}),
        ("app.client_disabled", "per_2", app.client.id, merchant.id, {}),
    ]
    (revoked,) = await audit_rows(database, "grant.revoked")
    (created,) = await audit_rows(database, "grant.created")
    assert revoked["reason"] == "no longer used"
    assert revoked["before_digest"] == created["after_digest"] != revoked["after_digest"]


async def test_how_a_merchant_takes_payments_is_decided_with_a_row(world: World) -> None:
    platform = world.platform
    till = await world.new_till()
    rule = await platform.payment_setup.add_routing_rule(
        till.merchant_id, position=1, channel_account_ids=[till.channel_account_id], by="per_1"
    )
    rows = await audit_rows(platform.database)
    told = [(row["kind"], row["actor"], row["merchant_id"]) for row in rows if row["merchant_id"] == till.merchant_id]
    assert [(kind, actor) for kind, actor, _ in told if kind.partition(".")[0] in SETUP] == [
        ("fee_plan.set", "platform"),
        ("channel_account.added", "platform"),
        ("channel_account.added", "platform"),
        ("routing_rule.added", "per_1"),
    ]
    assert rows[-1]["facts"] == {"position": 1, "channel_accounts": [till.channel_account_id]}
    assert rows[-1]["subject"] == rule
    assert ACQUIRER_KEY.decode("latin-1") not in repr(rows)


async def test_the_first_keys_are_told_once(process: Process, other_process: Process, database: Database) -> None:
    rows = await audit_rows(database, "signing_key.created")
    assert [row["actor"] for row in rows] == ["platform"]
    assert rows[0]["subject"] == process.keys.signing.keys[0].kid


async def test_no_secret_is_in_any_row(deps: IdentityDeps, shop: Shop, database: Database) -> None:
    shown = await Apps(deps).rotate_secret(shop.app.client.id)
    text = repr(await audit_rows(database))
    for secret in (shop.app.secret.secret, shown.secret):
        assert secret not in text
        assert secret[10:53] not in text


async def test_rotating_and_revoking_a_key_leaves_its_row(
    deps: IdentityDeps, process: Process, database: Database
) -> None:
    before = process.keys.signing.keys[0].kid
    rotated = await process.keys.rotate(by="per_1")
    signs_now = await process.keys.revoke(rotated, by="per_1")
    assert [row for row in await told(database) if row[0].startswith("signing_key")] == [  # type: ignore[attr-defined]
        ("signing_key.created", "platform", before, None, {}),
        ("signing_key.rotated", "per_1", rotated, None, {"retired": before}),
        ("signing_key.revoked", "per_1", rotated, None, {"signs_now": signs_now}),
    ]


async def test_a_refused_act_leaves_no_row(deps: IdentityDeps, shop: Shop, database: Database) -> None:
    before = len(await audit_rows(database))
    wanted = GrantCreate(
        app_id=shop.app.id,
        merchant_id=shop.merchant.id,
        mode="test",
        scopes=frozenset({"stores:read"}),
        given_by="per_1",
    )
    with pytest.raises(PlatformError):
        await Grants(deps).create(wanted)
    other_keys = SigningKeys(deps)
    with pytest.raises(KeyError):
        await other_keys.revoke("unknown")
    assert len(await audit_rows(database)) == before


async def test_refusals_are_one_row_for_each_client_reason_and_minute(
    committer: Committer, database: Database, clock: ManualClock
) -> None:
    refusals = Refusals(committer, clock=clock)
    for _ in range(3):
        refusals.count("oauth.token", client_id=CLIENT, reason="invalid_client")
    refusals.count("oauth.token", client_id="'; DROP TABLE x", reason="invalid_client")
    refusals.count("oauth.token", client_id=None, reason="invalid_client")
    refusals.count("api", client_id=CLIENT, reason="identity.scope_missing")
    assert await refusals.flush() == 0, "the minute is not over"
    clock.advance(timedelta(minutes=1))
    refusals.count("api", client_id=CLIENT, reason="identity.scope_missing")
    assert await refusals.flush() == 3
    minute = {"minute": "2026-11-22T12:00:00+00:00"}
    rows = [(r["actor"], r["subject"], r["reason"], r["facts"]) for r in await audit_rows(database, "access.refused")]
    assert rows == [
        (CLIENT, "oauth.token", "invalid_client", {"count": 3, **minute}),
        (UNKNOWN, "oauth.token", "invalid_client", {"count": 2, **minute}),
        (CLIENT, "api", "identity.scope_missing", {"count": 1, **minute}),
    ]
    await refusals.stop()
    assert len(await audit_rows(database, "access.refused")) == 4


async def test_a_thousand_clients_a_minute_are_told_apart_and_no_more(
    committer: Committer, database: Database, clock: ManualClock
) -> None:
    refusals = Refusals(committer, clock=clock)
    for n in range(KEYS_MAX + 50):
        refusals.count("oauth.token", client_id=f"app_test_{n:026d}", reason="invalid_client")
    await refusals.stop()
    rows = await audit_rows(database, "access.refused")
    assert len(rows) == KEYS_MAX + 1
    assert [row["facts"]["count"] for row in rows if row["actor"] == OTHERS] == [50]


async def test_refusals_that_cannot_be_written_are_kept(
    committer: Committer, database: Database, clock: ManualClock, ids: Ids
) -> None:
    away = Committer(database.connect_writer, [], clock=clock, ids=ids)
    await away.start()
    await away.stop()  # refuses with 503 from now on
    refusals = Refusals(away, clock=clock)
    refusals.count("api", client_id=CLIENT, reason="identity.scope_missing")
    clock.advance(timedelta(minutes=1))
    assert await refusals.flush() == 0
    refusals._committer = committer  # the database is back
    assert await refusals.flush() == 1
    assert [row["facts"]["count"] for row in await audit_rows(database, "access.refused")] == [1]


async def test_a_token_is_issued_with_its_row_and_refused_without(
    process: Process, shop: Shop, database: Database
) -> None:
    token = await process.token(shop.app, "stores:read")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    (row,) = await audit_rows(database, "token.issued")
    assert (row["actor"], row["subject"], row["merchant_id"]) == (shop.app.client.id, claims["jti"], shop.merchant.id)
    grant = {"grant": shop.grant.id, "grant_version": 1, "family": None}
    assert row["facts"] == {"kind": "client_credentials", "scope": "stores:read", "jkt": None, **grant}
    assert row["request_id"].startswith("req_")
    assert token.split(".")[2] not in repr(row)
    form = {"grant_type": "client_credentials", "scope": "refunds:write"}
    answer = await process.http.post("/oauth/token", data=form, auth=(shop.app.client.id, shop.app.secret.secret))
    assert answer.status_code == 400
    assert len(await audit_rows(database, "token.issued")) == 1


async def test_a_token_whose_row_cannot_be_written_is_not_given_out(
    process: Process, shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(plan: Plan) -> None:
        raise COMMIT_BUSY.error(retry_after_s=1)

    monkeypatch.setattr(process.deps.committer, "commit", full)
    answer = await process.http.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(shop.app.client.id, shop.app.secret.secret),
    )
    assert answer.status_code == 503
    assert "access_token" not in answer.text
    assert await audit_rows(database, "token.issued") == []


async def test_refusals_over_http_are_counted_by_who_claimed_to_ask(world: World) -> None:
    till = await world.new_till(scopes=("stores:read",))
    wrong = (CLIENT, "ask_test_wrong")
    for _ in range(2):
        await world.client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=wrong)
    form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "ask_test_wrong"}
    await world.client.post("/oauth/token", data=form)
    assert (await till.get("/payments")).status_code == 403
    assert (await world.client.get("/v1/stores", headers={"Authorization": "Bearer x"})).status_code == 401
    assert (await till.get("/payments/pay_unknown")).status_code in (403, 404, 422)
    await world.platform.refusals.flush(is_last=True)
    rows = await audit_rows(world.platform.database, "access.refused")
    counted = {(row["actor"], row["subject"], row["reason"]): row["facts"]["count"] for row in rows}
    client = json.loads(base64.urlsafe_b64decode(till.token.split(".")[1] + "=="))["client_id"]
    assert counted[CLIENT, "oauth.token", "invalid_client"] == 3
    assert counted[client, "payments.list", "identity.scope_missing"] == 1
    assert counted[UNKNOWN, "stores.list", "identity.token_invalid"] == 1

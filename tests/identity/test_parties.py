"""Services of parties, apps and grants: what they write, and what they refuse without writing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlmodel import SQLModel

from platform_core.identity import models
from platform_core.identity.apps import Apps
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.grants import Grants
from platform_core.identity.parties import Parties
from platform_core.identity.schemas import AppCreate, GrantCreate, IsvCreate, MerchantCreate, StoreCreate
from platform_core.kernel.errors import PlatformError
from tests.identity.conftest import Shop, open_shop

pytestmark = pytest.mark.database
TABLES = [
    models.Merchant,
    models.Store,
    models.Isv,
    models.App,
    models.AppClient,
    models.AppSecret,
    models.AccessGrant,
    models.SigningKey,
    models.Revocation,
]


async def _counts(deps: IdentityDeps) -> dict[str, int]:
    async with deps.database.read_auth() as connection:
        return {
            name: (await connection.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one()
            for name in ("merchant", "store", "app", "app_client", "app_secret", "access_grant", "revocation")
        }


async def _events(deps: IdentityDeps, object_id: str) -> list[tuple[str, int, dict[str, Any]]]:
    async with deps.database.read_all() as connection:
        query = text("SELECT type, sequence, body FROM outbox WHERE object_id = :id ORDER BY sequence")
        rows = (await connection.execute(query, {"id": object_id})).all()
    return [(row[0], row[1], json.loads(row[2])) for row in rows]


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
async def test_the_model_describes_the_table(deps: IdentityDeps, model: type[SQLModel]) -> None:
    table = SQLModel.metadata.tables[str(model.__tablename__)]
    query = text(
        "SELECT column_name, is_nullable = 'YES', is_identity = 'YES' FROM information_schema.columns "
        "WHERE table_name = :name"
    )
    async with deps.database.read_auth() as connection:
        rows = (await connection.execute(query, {"name": table.name})).all()
    in_database = {row[0]: row[1] for row in rows if not row[2]}
    assert in_database == {column.name: column.nullable for column in table.columns}


async def test_a_secret_is_kept_as_keyed_hash_only(deps: IdentityDeps, shop: Shop) -> None:
    secret = shop.app.secret.secret
    async with deps.database.read_auth() as connection:
        row = (await connection.execute(text("SELECT * FROM app_secret"))).one()
    assert row.digest == deps.vault.digest(row.id, secret)
    assert row.hint == secret[-4:]
    assert secret not in repr(shop.app)
    ((kind, sequence, body),) = await _events(deps, shop.app.client.id)
    assert (kind, sequence, body["id"]) == ("app.secret_created", 1, shop.app.client.id)
    assert secret not in json.dumps(body)


async def test_grants_tell_of_their_birth_and_end(deps: IdentityDeps, shop: Shop) -> None:
    ended = await Grants(deps).revoke(shop.grant.id, merchant_id=shop.merchant.id, by="per_owner", why="left")
    assert (ended.state, ended.version, ended.revoked_at) == ("revoked", 2, deps.clock.now())
    events = await _events(deps, shop.grant.id)
    assert [(kind, sequence, body["state"]) for kind, sequence, body in events] == [
        ("grant.created", 1, "active"),
        ("grant.revoked", 2, "revoked"),
    ]


async def test_one_active_grant_per_app_and_merchant(deps: IdentityDeps, shop: Shop) -> None:
    wanted = GrantCreate(
        app_id=shop.app.id, merchant_id=shop.merchant.id, mode="test", scopes={"stores:read"}, given_by="per_owner"
    )
    grants, before = Grants(deps), await _counts(deps)
    with pytest.raises(PlatformError) as refused:
        await grants.create(wanted)
    assert (refused.value.code, refused.value.values["grant_id"]) == ("identity.grant_exists", shop.grant.id)
    assert await _counts(deps) == before
    await grants.revoke(shop.grant.id, merchant_id=shop.merchant.id, by="per_owner", why="again")
    outcomes = await asyncio.gather(*(grants.create(wanted) for _ in range(10)), return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scopes": {"stores:reed"}}, "the scope stores:reed cannot be given to an app"),
        ({"scopes": {"grants:approve"}}, "the scope grants:approve cannot be given to an app"),
        ({"mode": "live"}, "there is no such merchant in live mode"),
        ({"app_id": "app_x"}, "there is no such active app"),
        ({"stores": {"sto_01jdx0000000000000000000ab"}}, "a store is not the merchant's or is closed"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused(
    deps: IdentityDeps, shop: Shop, changes: dict[str, Any], reason: str
) -> None:
    wanted = {
        "app_id": shop.app.id,
        "merchant_id": shop.merchant.id,
        "mode": "test",
        "scopes": {"stores:read"},
        "given_by": "per_owner",
    }
    before = await _counts(deps)
    with pytest.raises(PlatformError) as refused:
        await Grants(deps).create(GrantCreate.model_validate({**wanted, **changes}))
    assert (refused.value.code, refused.value.detail("en")) == ("identity.grant_refused", reason)
    assert await _counts(deps) == before


async def test_another_merchants_grant_cannot_be_revoked(deps: IdentityDeps, shop: Shop, other_shop: Shop) -> None:
    before = await _counts(deps)
    with pytest.raises(PlatformError) as refused:
        await Grants(deps).revoke(shop.grant.id, merchant_id=other_shop.merchant.id, by="per_thief", why="")
    assert refused.value.code == "identity.grant_not_found"
    assert await _counts(deps) == before


async def test_an_app_needs_exactly_one_owner_of_its_mode(deps: IdentityDeps, shop: Shop) -> None:
    isv = await Parties(deps).create_isv(IsvCreate(name="Till makers"))
    before = await _counts(deps)
    owners: list[dict[str, Any]] = [
        {},
        {"isv_id": isv.id, "merchant_id": shop.merchant.id},
        {"isv_id": "isv_none"},
        {"merchant_id": "mer_none"},
        {"merchant_id": shop.merchant.id, "mode": "live"},
    ]
    for owner in owners:
        with pytest.raises(PlatformError) as refused:
            await Apps(deps).create_app(
                AppCreate(**{"name": "x", "mode": "test", "api_version": "2026-11-22", **owner})
            )
        assert refused.value.code == "identity.owner_not_found"
    assert await _counts(deps) == before


async def test_of_parallel_secret_rotations_two_secrets_stay_live(deps: IdentityDeps) -> None:
    shop = await open_shop(deps, "Busy")
    apps = Apps(deps)
    outcomes = await asyncio.gather(*(apps.rotate_secret(shop.app.client.id) for _ in range(8)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
    assert {error.code for error in refused} <= {"identity.changed_meanwhile"}
    assert len(refused) < 8
    async with deps.database.read_auth() as connection:
        query = text("SELECT count(*) FROM app_secret WHERE expires_at IS NULL OR expires_at > :now")
        assert (await connection.execute(query, {"now": deps.clock.now()})).scalar_one() == 2


async def test_a_store_needs_its_merchant(deps: IdentityDeps) -> None:
    with pytest.raises(PlatformError) as refused:
        await Parties(deps).create_store(StoreCreate(merchant_id=deps.ids.mint("mer"), name="Nowhere"))
    assert refused.value.code == "identity.merchant_not_found"


@pytest.mark.parametrize(
    "wrong",
    [{"name": " "}, {"mode": "prod"}, {"industry": "Retail"}, {"time_zone": "Mars/Base"}, {"unknown": 1}],
)
async def test_a_merchant_that_is_not_valid_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MerchantCreate.model_validate({"name": "Shop", "mode": "test", "industry": "retail", **wrong})

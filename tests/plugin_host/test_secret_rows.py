"""The book of secrets over its rows: rotation, retirement, last use, and that another merchant's are not there."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from platform_core.identity.vault import Vault
from platform_core.kernel.clock import ManualClock
from platform_core.kernel.commit import Change, Committer, Insert, Plan, Remove
from platform_core.kernel.database.pools import Database
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import secrets
from platform_core.plugin_host.models import PLUGINS, SECRETS, secret_seal
from platform_core.plugin_host.secret_rows import SecretRows
from platform_core.plugin_host.secrets import PluginSecrets
from tests.plugin_host.gate_support import PLUGIN, WORDS, enabled, manifest

pytestmark = pytest.mark.database
VAULT = Vault(b"v" * 32)
ENABLED = enabled(manifest(secrets=[{"name": "mac", "kind": "mac_key", "label": WORDS}]))


def box(key: bytes) -> str:
    return b64encode(VAULT.seal(secret_seal("mer_a", PLUGIN, "mac"), key)).decode()


@pytest.fixture
async def book(database: Database, committer: Committer, clock: ManualClock) -> SecretRows:
    plugin = {"id": PLUGIN, "app_id": "app_1", "isv_id": "isv_1", "position": 1, "row_version": 1}
    await committer.commit(Plan(None, [Insert(PLUGINS, {**plugin, "created_at": clock.now()})]))
    row: dict[str, Any] = {
        "id": "pse_1",
        "merchant_id": "mer_a",
        "plugin_id": PLUGIN,
        "name": "mac",
        "kind": "mac_key",
        "boxes": json.dumps([box(b"n" * 32), box(b"o" * 32)]),
        "retires_at": clock.now() + timedelta(minutes=10),
        "used_at": None,
        "row_version": 1,
        "created_at": clock.now(),
        "rotated_at": clock.now(),
    }
    await committer.commit(Plan("mer_a", [Insert(SECRETS, row)]))
    return SecretRows(database=database, committer=committer, clock=clock)


async def keys(book: SecretRows, *, merchant_id: str = "mer_a") -> tuple[bytes, ...]:
    return (await PluginSecrets(VAULT, book).keys(ENABLED, merchant_id, "mac", at_hand={})).materials


async def used_at(database: Database) -> Any:
    async with database.read_all() as connection:
        return (await connection.execute(text("SELECT used_at FROM plugin_secret"))).scalar()


async def test_the_former_key_counts_until_it_retires(book: SecretRows, clock: ManualClock) -> None:
    assert await keys(book) == (b"n" * 32, b"o" * 32)
    clock.advance(timedelta(minutes=10))
    assert await keys(book) == (b"n" * 32,)
    await book.stop()


async def test_a_rotation_and_a_removal_count_with_the_next_use(book: SecretRows, committer: Committer) -> None:
    await keys(book)
    await book.stop()
    rotated = {"boxes": json.dumps([box(b"z" * 32)]), "retires_at": None}
    await committer.commit(Plan("mer_a", [Change(SECRETS, "pse_1", rotated, expected=1)]))
    assert await keys(book) == (b"z" * 32,)
    await committer.commit(Plan("mer_a", [Remove(SECRETS, "pse_1")]))
    with pytest.raises(PlatformError) as refused:
        await keys(book)
    assert refused.value.code == "plugin.secret_unknown"
    await book.stop()


async def test_the_last_use_is_noted_once_an_hour(book: SecretRows, database: Database, clock: ManualClock) -> None:
    first = clock.now()
    assert await used_at(database) is None
    await keys(book)
    await book.stop()
    assert await used_at(database) == first
    clock.advance(timedelta(minutes=59))
    await keys(book)
    await book.stop()
    assert await used_at(database) == first
    clock.advance(timedelta(minutes=1))
    await keys(book)
    await book.stop()
    assert await used_at(database) == first + timedelta(hours=1)


async def test_another_merchant_has_none_of_them(book: SecretRows, database: Database) -> None:
    with pytest.raises(PlatformError) as refused:
        await keys(book, merchant_id="mer_b")
    assert refused.value.code == "plugin.secret_unknown"
    assert await used_at(database) is None


async def test_a_signature_by_name_never_shows_the_key(book: SecretRows) -> None:
    plugin = PluginSecrets(VAULT, book)
    found = await plugin.keys(ENABLED, "mer_a", "mac", at_hand={})
    assert secrets.verify(found, b"m", secrets.mac(found, b"m"))
    await book.stop()

"""Bundles over REST: whole and announced they become releases, and of everything else nothing is left."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from platform_core.identity.staff import Party
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.plugin_host import bundle_uploads
from platform_core.plugin_host.bundle_uploads import PER_HOUR
from tests.support.people import AtConsole, at_console
from tests.support.plugin_bundles import bundle_of
from tests.support.world import World, open_world

pytestmark = [pytest.mark.api, pytest.mark.database]
_numbers = itertools.count(1)
MINE, OTHER = "isv_mine", "isv_other"


@dataclass
class Desk:
    """Two publishers and what is kept of what they send."""

    world: World
    owner: asyncpg.Connection[Any]
    home: Path
    mine: AtConsole
    other: AtConsole

    async def send(
        self, content: bytes, *, who: AtConsole | None = None, digest: str | None = None, media: str = "application/zip"
    ) -> httpx.Response:
        """In pieces, without a length, as a large body comes."""

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 60_000):
                yield content[start : start + 60_000]

        headers = {**(who or self.mine).headers(), "content-type": media}
        path = f"/v1/plugin-bundles/{digest or hashlib.sha256(content).hexdigest()}"
        query = {"change_log": "更快。", "test_account": "shop 7"}
        return await self.world.client.put(path, content=pieces(), headers=headers, params=query)

    async def kept(self) -> dict[str, Any]:
        """Rows and files."""
        tables = ("plugin", "plugin_release", "app", "outbox")
        rows = {name: await self.owner.fetchval(f"SELECT count(*) FROM {name}") for name in tables}
        folders = [self.home / "plugins", self.home / "uploads"]
        files = sorted(str(path) for folder in folders if folder.exists() for path in folder.rglob("*"))
        return {**rows, "files": [name for name in files if not name.endswith(".lock")]}


@pytest.fixture
async def desk(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Desk]:
    """A platform of its own."""
    postgres.create_database("bundle_uploads", template="template_arsenal")
    url, home = postgres.url("bundle_uploads"), tmp_path / "home"
    home.mkdir()
    owner = await asyncpg.connect(url)
    async with open_world(url, clock=SystemClock(), home=home, acquirer_url="http://a.invalid") as world:
        people = {}
        for isv_id in (MINE, OTHER):
            await world.platform.parties.ensure_isv(isv_id, name=isv_id)
            people[isv_id] = await at_console(
                world.platform.people, Party(kind="isv", id=isv_id), "developer",
                email=f"{isv_id}{next(_numbers)}@example.test", console="isv", clock=SystemClock(),
            )  # fmt: skip
        yield Desk(world, owner, home, people[MINE], people[OTHER])
    await owner.close()
    postgres.sql("DROP DATABASE bundle_uploads WITH (FORCE)")


def bundle(folder: Path, *, bytes_more: int = 0, **of: Any) -> bytes:
    """A bundle of `MINE`; `bytes_more` that no zip makes smaller."""
    more = {"ballast.bin": random.Random(bytes_more).randbytes(bytes_more)} if bytes_more else {}
    return bundle_of("risk_velocity", folder, **{"publisher": MINE, "more": more, **of}).read_bytes()


async def test_a_bundle_larger_than_any_other_body_becomes_a_release(desk: Desk, tmp_path: Path) -> None:
    content = bundle(tmp_path, bytes_more=3_000_000)
    made = await desk.send(content)
    assert made.status_code == 200, made.text
    release = made.json()
    assert (release["state"], release["tier"], release["change_log"]) == ("in_review", "confined", "更快。")
    assert release["bundle_hash"] == hashlib.sha256(content).hexdigest()
    kept = await desk.kept()
    assert [name for name in kept["files"] if "/uploads/" in name] == []
    assert any(name.endswith("ballast.bin") for name in kept["files"])
    again = await desk.send(content)
    assert again.json() == release
    assert await desk.kept() == kept


async def test_what_is_refused_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    content = bundle(tmp_path)
    before = await desk.kept()
    refusals = [
        (await desk.send(content, digest="0" * 64), 422, "plugins.upload_differs"),
        (await desk.send(content, media="application/json"), 415, "plugins.upload_media_type"),
        (await desk.send(content, who=desk.other), 403, "plugins.publisher_refused"),
        (await desk.send(b"no zip"), 422, "plugins.bundle_refused"),
        (await desk.send(bundle(tmp_path, more={"x.pth": b"import os"})), 422, "plugins.bundle_refused"),
    ]
    for answer, status, code in refusals:
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    till = await desk.world.new_till(scopes=("plugins:read",))
    headers = {"Authorization": f"Bearer {till.token}", "content-type": "application/zip"}
    path = f"/v1/plugin-bundles/{hashlib.sha256(content).hexdigest()}"
    bare = await desk.world.client.put(path, content=content, headers=headers)
    assert (bare.status_code, bare.json()["code"]) == (403, "identity.scope_missing")
    after = await desk.kept()
    assert after["files"] == [name for name in after["files"] if name.endswith(("/plugins", "/uploads"))]
    assert {**after, "files": None, "app": None, "outbox": None} == {
        **before, "files": None, "app": None, "outbox": None,
    }  # fmt: skip


async def test_another_bundle_of_a_version_is_refused_and_the_first_stays(desk: Desk, tmp_path: Path) -> None:
    assert (await desk.send(bundle(tmp_path))).status_code == 200
    before = await desk.kept()
    second = await desk.send(bundle(tmp_path, bytes_more=10))
    assert (second.status_code, second.json()["code"]) == (409, "plugins.release_exists")
    theirs = await desk.send(bundle(tmp_path, publisher=OTHER, version="9.0.0"), who=desk.other)
    assert (theirs.status_code, theirs.json()["code"]) == (403, "plugins.publisher_refused")
    assert await desk.kept() == before


async def test_after_changes_were_asked_for_the_version_takes_new_contents(desk: Desk, tmp_path: Path) -> None:
    first = (await desk.send(bundle(tmp_path))).json()
    await desk.owner.execute("UPDATE plugin_release SET state = 'changes_asked'")
    second = await desk.send(bundle(tmp_path, more={"better.txt": b"."}))
    assert second.status_code == 200, second.text
    assert (second.json()["id"], second.json()["round"], second.json()["state"]) == (first["id"], 2, "in_review")
    assert second.json()["tree_hash"] != first["tree_hash"]
    assert any(name.endswith("better.txt") for name in (await desk.kept())["files"])


async def test_what_cannot_be_submitted_is_taken_away_again(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is unpacked, and then the plan does not come through."""
    releases = desk.world.platform.plugin_life.releases

    async def failed(self: object, wanted: object, **_: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(type(releases), "submit", failed)
    answer = await desk.send(bundle(tmp_path))
    assert answer.status_code == 500
    files = (await desk.kept())["files"]
    assert not any("tree" in name or "/uploads/" in name for name in files), files


async def test_too_large_too_many_and_too_long_announced(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_uploads, "BYTES_MAX", 100_000)
    large = await desk.send(b"x" * 300_000)
    assert (large.status_code, large.json()["code"]) == (413, "plugins.bundle_too_large")
    headers = {**desk.mine.headers(), "content-type": "application/zip", "content-length": str(65 * 1024 * 1024)}
    path = f"/v1/plugin-bundles/{'0' * 64}"
    announced = await desk.world.client.put(path, content=b"", headers=headers)
    assert (announced.status_code, announced.json()["code"]) == (413, "kernel.body_too_large")
    answers = [await desk.send(b"no zip") for _ in range(PER_HOUR)]
    assert [answer.status_code for answer in answers] == [422] * (PER_HOUR - 1) + [429]
    assert answers[-1].json()["code"] == "plugins.uploads_exceeded"
    assert int(answers[-1].headers["retry-after"]) > 3_000
    assert (await desk.send(b"no zip", who=desk.other)).status_code == 422
    assert [name for name in (await desk.kept())["files"] if "/uploads/" in name] == []

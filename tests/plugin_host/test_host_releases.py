"""Plugins of the host's environment, and the list of those whose code is trusted to run in it."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from platform_core.contracts.hooks import ENTRY_POINT_GROUP
from platform_core.plugin_host.allow_list import AllowList, AllowListUnreadable, tree_hash_of
from platform_core.plugin_host.host_releases import NotFound, allow_list_of_host, own_points, read_found
from tests.plugin_host.conftest import RISK, Market, manifest_from, manifest_text

ENTRY = '[[plugins]]\nid = "{id}"\nversion = "1.0.0"\ntree_hash = "{hash}"\nreviewers = {reviewers}\n'
TWO = '["Li Na", "Wang Fang"]'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin's package in the environment, whose import would be noticed."""
    folder = tmp_path / "acme_risk"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('discovery imports nothing')\n", encoding="utf-8")
    (folder / "plugin.toml").write_text(manifest_text(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def point(module: str = "acme_risk") -> EntryPoint:
    return EntryPoint(name="acme", value=module, group=ENTRY_POINT_GROUP)


@pytest.mark.database
async def test_what_the_host_brings_is_published_once_and_follows_its_files(market: Market, package: Path) -> None:
    host = market.life.host_releases
    assert await host.register([point()]) == [RISK]
    before = await market.counts()
    assert await host.register([point()]) == [RISK]
    assert await market.counts() == before, "done again it changes nothing"
    row = await market.row("SELECT id, state, is_from_host, tree_hash FROM plugin_release")
    assert (row["state"], row["is_from_host"]) == ("published", True)
    assert row["tree_hash"] == tree_hash_of(package)
    assert await market.audited(row["id"]) == [
        "plugin_release.submitted",
        "plugin_release.admitted",
        "plugin_release.published",
    ]
    merchant = await market.merchant()
    await market.enable(merchant)
    (package / "more.py").write_text("x = 1\n", encoding="utf-8")
    await host.register([point()])
    assert await market.row("SELECT tree_hash FROM plugin_release") == (tree_hash_of(package),)
    assert (await market.audited(row["id"]))[-1] == "plugin_release.refreshed"
    assert await market.running(merchant) == [(RISK, "1.0.0")]
    assert (await market.life.enablement.of(merchant)).plugins[0].release.tree_hash == tree_hash_of(package)
    assert "acme_risk" not in sys.modules


@pytest.mark.database
async def test_one_that_cannot_be_read_loses_no_other(market: Market, package: Path) -> None:
    assert await market.life.host_releases.register([point("acme_missing"), point()]) == [RISK]
    (package / "plugin.toml").write_text("manifest = 2", encoding="utf-8")
    before = await market.counts()
    assert await market.life.host_releases.register([point()]) == []
    assert await market.counts() == before


def test_a_package_without_a_manifest_is_not_found(package: Path) -> None:
    (package / "plugin.toml").unlink()
    with pytest.raises(NotFound):
        read_found(point())


def test_our_own_plugins_are_trusted_as_they_are() -> None:
    points = own_points()
    assert {found.value for found in points} >= {"plugins.cash", "plugins.simulated_acquirer"}
    listed = allow_list_of_host(points)
    found = read_found(next(one for one in points if one.value == "plugins.cash"))
    assert listed.tier_of(found.manifest, found.unpacked.tree_hash) == "trusted"
    assert listed.tier_of(found.manifest, "0" * 64) == "confined"


def test_the_list_admits_by_id_version_and_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "plugins.allow.toml"
    path.write_text(ENTRY.format(id=RISK, hash="a" * 64, reviewers=TWO), encoding="utf-8")
    listed = AllowList.read(path)
    manifest = manifest_from(manifest_text())
    assert listed.tier_of(manifest, "a" * 64) == "trusted"
    assert listed.tier_of(manifest, "b" * 64) == "confined"
    assert listed.tier_of(manifest_from(manifest_text(version="1.0.1")), "a" * 64) == "confined"
    native = manifest_text().replace('contract = ">=1.0,<2"', 'contract = ">=1.0,<2"\nhas_native_code = true')
    assert listed.tier_of(manifest_from(native), "a" * 64) == "confined"
    assert listed.names(RISK, "1.0.0")
    assert not listed.names(RISK, "1.0.1")


@pytest.mark.parametrize(
    "text",
    [
        ENTRY.format(id=RISK, hash="a" * 64, reviewers='["Li Na"]'),
        ENTRY.format(id=RISK, hash="a" * 64, reviewers='["Li Na", " li na "]'),
        ENTRY.format(id=RISK, hash="short", reviewers=TWO),
        ENTRY.format(id=RISK, hash="a" * 64, reviewers=TWO) + ENTRY.format(id=RISK, hash="b" * 64, reviewers=TWO),
        ENTRY.format(id=RISK, hash="a" * 64, reviewers=TWO) + "unknown = 1\n",
        "[[plugins",
    ],
)
def test_a_list_that_cannot_be_meant_stops_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plugins.allow.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AllowListUnreadable):
        AllowList.read(path)


def test_a_list_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(AllowListUnreadable):
        AllowList.read(tmp_path / "none.toml")


def test_a_tree_hash_sees_every_byte_and_name_and_no_byte_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    first = tree_hash_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert tree_hash_of(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n", encoding="utf-8")
    assert tree_hash_of(tmp_path) != first
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    assert tree_hash_of(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert tree_hash_of(tmp_path) != first
    (tmp_path / "link.py").symlink_to(tmp_path / "b.py")
    with pytest.raises(ValueError, match="is a link"):
        tree_hash_of(tmp_path)

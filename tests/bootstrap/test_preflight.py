"""Bundles tried in confined workers before anybody relies on them: ours pass, what is wrong with others is named."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from platform_core.bootstrap.bundles import InstalledBundles
from platform_core.bootstrap.commands.plugin_author_new import scaffold, write
from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import Project, find_project
from platform_core.bootstrap.preflight import Preflight, preflight
from platform_core.plugin_host.host_deps import BundleRefused
from sandbox.runtime.levels import Level
from sandbox.runtime.wheels import BundleRefused as Refused
from tests.support.confined import TEST_LEVEL

ROOT = Path(__file__).resolve().parents[2]
CALLED = {
    "risk_velocity": True,
    "full_reduction": True,
    "smart_routing": True,
    "receipt_classic": True,
    "meal_card": False,  # hands over an object: it is loaded, and its methods are not called
    "sms": False,
    "crm_sync": True,
}


def wheel_as_installed(name: str, folder: Path) -> None:
    """A wheel of a pure distribution of this environment, for bundles that need it."""
    found = distribution(name)
    told = found.metadata
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for file in found.files or ():
            if file.parts[0] not in ("..", "bin") and "__pycache__" not in file.parts and file.name != "INSTALLER":
                archive.writestr(file.as_posix(), Path(str(file.locate())).read_bytes())
    folder.mkdir(exist_ok=True)
    (folder / f"{told['Name']}-{found.version}-py3-none-any.whl").write_bytes(made.getvalue())


def packed(project: Project, folder: Path) -> Path:
    path = folder / "plugin.arsenal"
    path.write_bytes(pack(project, wheels=folder / "wheels").content)
    return path


def broken_one(folder: Path, body: str) -> Path:
    """The bundle of a new plugin whose hook has this body."""
    write(scaffold("acme-risk", hook="check_payment", plugin_id=None, publisher="isv_1"), folder / "acme-risk")
    project = find_project(folder / "acme-risk")
    module = project.package / "plugin.py"
    text = module.read_text(encoding="utf-8")
    head, mark, _ = text.partition('    """Ask a person')
    assert mark
    module.write_text(head + "".join(f"    {line}\n" for line in body.splitlines()), encoding="utf-8")
    return packed(project, folder)


@pytest.mark.parametrize("name", sorted(CALLED))
async def test_each_plugin_of_ours_runs_confined_from_its_bundle_on_every_fixture(name: str, tmp_path: Path) -> None:
    for needed in ("segno", "tzdata") if name == "receipt_classic" else ():
        wheel_as_installed(needed, tmp_path / "wheels")
    tried = await preflight(packed(find_project(ROOT / "plugins" / name), tmp_path), required=Level.L2)
    assert (tried.broken, tried.level, tried.is_run) == ((), TEST_LEVEL, True), tried.words
    assert (tried.calls > 10) == CALLED[name]


BROKEN = {
    "raises": ("raise LookupError('4711')", "KIT-01", "exception: LookupError"),
    "answers garbage": ("return 'allow'", "KIT-01", "bad_result"),
    "forbidden": (
        "import ctypes\nctypes.CDLL(None).syscall(101, 16, 1, 0, 0)\nreturn Verdict.allow()",
        "KIT-01",
        "forbidden_call",
    ),
    "remembers": (
        "global _seen\n_seen = globals().get('_seen', 0) + 1\nreturn Verdict(decision='allow', score=min(_seen, 100))",
        "KIT-02",
        "instead of",
    ),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
async def test_what_a_plugin_does_wrong_in_a_worker_is_named_and_nothing_is_installed(
    kind: str, tmp_path: Path
) -> None:
    body, rule, said = BROKEN[kind]
    bundle, plugins = broken_one(tmp_path, body), tmp_path / "plugins"
    tried = await preflight(bundle, required=Level.L2)
    assert any(each.startswith(rule) and said in each for each in tried.broken), tried.broken
    with pytest.raises(BundleRefused, match="REV-015: In a worker at "):
        await InstalledBundles(plugins, required=Level.L2).unpack(bundle)
    assert not plugins.exists()


async def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    write(scaffold("acme-risk", hook="check_payment", plugin_id=None, publisher="isv_1"), tmp_path / "acme-risk")
    project = find_project(tmp_path / "acme-risk")
    (project.package / "__init__.py").write_text("raise ImportError('no')\n", encoding="utf-8")
    tried = await preflight(packed(project, tmp_path), required=Level.L2)
    assert (tried.calls, len(tried.broken)) == (0, 1)
    assert tried.broken[0].startswith("It does not load: load: ")


async def test_a_bundle_that_passes_is_installed_with_both_findings(tmp_path: Path) -> None:
    bundle = broken_one(tmp_path, "return Verdict.allow()")
    unpacked = await InstalledBundles(tmp_path / "plugins", required=Level.L2).unpack(bundle)
    assert [(each.rule, each.outcome) for each in unpacked.findings] == [("REV-001", "pass"), ("REV-015", "pass")]
    assert unpacked.bundle_hash == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert (await InstalledBundles(tmp_path / "plugins", required=Level.L2).unpack(bundle)) == unpacked


async def test_a_machine_that_attains_too_little_leaves_it_to_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(bundle: Path, *, required: Level) -> Preflight:
        return Preflight(level=Level.L1, required=required)

    monkeypatch.setattr("platform_core.bootstrap.bundles.preflight", none)
    bundle = broken_one(tmp_path, "return Verdict.allow()")
    unpacked = await InstalledBundles(tmp_path / "plugins", required=Level.L2).unpack(bundle)
    [finding] = [each for each in unpacked.findings if each.rule == "REV-015"]
    assert (finding.outcome, finding.message) == (
        "needs_human",
        "Not run: this machine attains L1, and L2 is required.",
    )


async def test_a_bundle_that_the_installer_refuses_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "plugin.arsenal"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hashes.json", json.dumps({"bundle": 1, "plugin": "a-1-py3-none-any.whl", "files": {}}))
    with pytest.raises(Refused):
        await preflight(path, required=Level.L2)

"""`arsenal plugin new | check | test | pack | hooks`: from nothing to a bundle, and what is refused on the way."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_core.bootstrap.cli import app
from platform_core.bootstrap.commands.plugin_author_check import RULES, Checked, check
from platform_core.bootstrap.commands.plugin_author_new import FILES_MAX, scaffold, write
from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import Project, find_project
from platform_core.bootstrap.terminal import CliFailure
from platform_core.contracts import catalogue

HOOKS = sorted(catalogue.hooks())


def made(folder: Path, hook: str = "check_payment") -> Project:
    """A new plugin in a folder of its own."""
    write(scaffold("acme-risk", hook=hook, plugin_id=None, publisher="isv_1"), folder / "acme-risk")
    return find_project(folder / "acme-risk")


def only(project: Project, rule: str) -> list[Checked]:
    return check(project, rules={rule})


@pytest.mark.parametrize("hook", HOOKS)
def test_a_new_plugin_is_green_at_once(hook: str, tmp_path: Path) -> None:
    project = made(tmp_path, hook)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(before) <= FILES_MAX
    outcomes = {each.rule: each.outcome for each in check(project)}
    assert outcomes == dict.fromkeys(RULES, "pass") | {"REV-015": "not_run"}
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_nothing_is_written_over(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.manifest.write_text("mine", encoding="utf-8")
    with pytest.raises(CliFailure, match="is there already"):
        made(tmp_path)
    assert project.manifest.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["Acme", "a b", "../a", "1a", "a--b", "a" * 37, ""])
def test_a_name_that_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(CliFailure, match="is no name of a plugin"):
        scaffold(name, hook="check_payment", plugin_id=None, publisher="isv_1")


@pytest.mark.parametrize("name", ["class", "json", "platform-core", "pydantic", "tests"])
def test_a_name_that_the_installer_would_refuse_is_refused_at_once(name: str) -> None:
    with pytest.raises(CliFailure, match="is taken by Python, by us"):
        scaffold(name, hook="check_payment", plugin_id=None, publisher="isv_1")


PLANTED: list[tuple[str, str, str, str, str]] = [
    ("REV-001", "acme_risk/plugin.toml", 'publisher = "isv_1"\n', "", "MAN-002 `publisher` is missing"),
    ("REV-002", "acme_risk/plugin.toml", ',<2"', '"', "beyond one major"),
    ("REV-006", "acme_risk/plugin.toml", '"payments:read"', '"refunds:read"', "which covers amount"),
    ("REV-009", "acme_risk/plugin.toml", ', en = "Acme risk"', "", "The English text is missing"),
    (
        "REV-009",
        "acme_risk/config.schema.json",
        ', "en": "Ask a person above',
        ', "e": "Ask a person above',
        "no title",
    ),
]


@pytest.mark.parametrize(("rule", "file", "old", "new", "said"), PLANTED)
def test_what_is_changed_in_a_plugin_is_found(
    rule: str, file: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    project = made(tmp_path)
    path = project.folder / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    [found] = only(project, rule)
    assert (found.outcome, said in found.found) == ("fail", True), found
    assert found.next_step


ADDED: list[tuple[str, str, str, str]] = [
    (
        "REV-003",
        "acme_risk/extra.py",
        "from platform_core.kernel import money",
        "extra.py:1 imports platform_core.kernel",
    ),
    ("REV-003", "acme_risk/extra.py", "def f():\n    import sandbox.runtime", "extra.py:2 imports sandbox.runtime"),
    ("REV-003", "acme_risk/extra.py", "from platform_core import ledger", "imports platform_core.ledger"),
    (
        "REV-003",
        "acme_risk/extra.py",
        "import platform_core.contracts.testing",
        "imports platform_core.contracts.testing",
    ),
    ("REV-003", "acme_risk/extra.py", "def (:", "is no Python"),
    ("REV-004", "acme_risk/run.pth", "import os", "run.pth may not come"),
    ("REV-004", "acme_risk/sitecustomize.py", "", "sitecustomize.py may not come"),
    ("REV-004", "acme_risk/fast.so", "x", "fast.so is compiled"),
    ("REV-008", "acme_risk/keys.py", "-----BEGIN RSA PRIVATE KEY-----", "keys.py:1 holds a private key"),
    ("REV-008", "acme_risk/keys.py", f'TOKEN = "{"a1B2" * 8}"', "reads like a secret"),
]


@pytest.mark.parametrize(("rule", "file", "text", "said"), ADDED)
def test_what_is_put_into_a_plugin_is_found(rule: str, file: str, text: str, said: str, tmp_path: Path) -> None:
    project = made(tmp_path)
    (project.folder / file).write_text(text, encoding="utf-8")
    [found] = only(project, rule)
    assert (found.outcome, said in found.found) == ("fail", True), found


def test_a_link_out_of_the_package_is_found(tmp_path: Path) -> None:
    project = made(tmp_path)
    (project.package / "passwd").symlink_to("/etc/passwd")
    assert [(each.outcome, each.found) for each in only(project, "REV-004")] == [
        ("fail", "acme_risk/passwd is a link or has setuid bits.")
    ]


def test_versions_that_differ_and_a_missing_entry_point_are_found(tmp_path: Path) -> None:
    project = made(tmp_path)
    path = project.folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('dynamic = ["version"]', 'version = "0.2.0"').replace('= "acme_risk"\n', '= "other"\n', 1)
    )
    assert [each.found.partition(" in our")[0] for each in only(project, "REV-005")] == [
        "pyproject.toml says 0.2.0, plugin.toml 0.1.0.",
        "pyproject.toml names {'acme_risk': 'other'}",
    ]


def test_hosts_that_stand_nowhere_in_the_code_are_found(tmp_path: Path) -> None:
    project = made(tmp_path, "register_channel")
    assert [each.outcome for each in only(project, "REV-007")] == ["pass"]
    path = project.package / "provider.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace("api.pager.example", "api.other.example"), encoding="utf-8"
    )
    [found] = only(project, "REV-007")
    assert found.found == "egress[0]: api.pager.example stands nowhere in the code."


def test_failing_tests_and_a_kit_that_did_not_run_are_found(tmp_path: Path) -> None:
    project = made(tmp_path)
    (project.tests / "test_contract.py").unlink()
    (project.tests / "test_plugin.py").write_text("def test_sum() -> None:\n    assert 1 + 1 == 3\n", encoding="utf-8")
    found = only(project, "REV-011")
    assert {(each.rule, each.outcome) for each in found} == {("REV-011", "fail"), ("REV-012", "fail")}
    assert found[0].found.startswith("tests.test_plugin::test_sum: assert (1 + 1) == 3")


def test_a_slow_hook_is_found(tmp_path: Path) -> None:
    project = made(tmp_path)
    path = project.package / "plugin.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("    most =", "    import time; time.sleep(0.08)\n    most =", 1), encoding="utf-8")
    [found] = only(project, "REV-013")
    assert (found.outcome, "its deadline is 150 ms" in found.found) == ("fail", True)


def members(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    project = made(tmp_path)
    packed = pack(project)
    found = members(packed.content)
    index = json.loads(found.pop("hashes.json"))
    assert packed.file_name == "com.example.acme-risk-0.1.0.arsenal"
    assert index == {
        "bundle": 1,
        "plugin": "acme_risk-0.1.0-py3-none-any.whl",
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in found.items()},
    }
    assert sorted(found) == ["sbom.json", "wheels/acme_risk-0.1.0-py3-none-any.whl"]
    [component] = json.loads(found["sbom.json"])["components"]
    assert (component["purl"], component["licenses"]) == (
        "pkg:pypi/acme-risk@0.1.0",
        [{"license": {"name": "Apache-2.0"}}],
    )


def test_a_wheel_holds_the_package_alone_and_its_record_is_right(tmp_path: Path) -> None:
    project = made(tmp_path)
    (project.package / "__pycache__").mkdir()
    (project.package / "__pycache__" / "plugin.cpython-311.pyc").write_bytes(b"x")
    [wheel] = pack(project).wheels.values()
    found = members(wheel)
    info = "acme_risk-0.1.0.dist-info"
    assert sorted(found) == [
        *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")),
        *(f"acme_risk/{name}" for name in ("__init__.py", "config.schema.json", "plugin.py", "plugin.toml")),
    ]
    rows = [row.split(",") for row in found[f"{info}/RECORD"].decode().splitlines()]
    assert sorted(row[0] for row in rows) == sorted(found)
    for name, digest, size in rows:
        if digest:
            made_hash = base64.urlsafe_b64encode(hashlib.sha256(found[name]).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={made_hash}", str(len(found[name])))
    assert found[f"{info}/entry_points.txt"] == b"[arsenal.plugins]\nacme_risk = acme_risk\n"


def dependency(folder: Path, name: str, version: str, *, requires: str = "") -> None:
    """A wheel of somebody else's."""
    folder.mkdir(exist_ok=True)
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n{needs}"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", text)


def test_a_bundle_brings_every_wheel_or_is_not_made(tmp_path: Path) -> None:
    project = made(tmp_path)
    path = project.folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("dependencies = []", 'dependencies = ["left>=2", "pydantic>=2"]'), encoding="utf-8")
    wheels = project.folder / "wheels"
    dependency(wheels, "left", "1.9")
    with pytest.raises(CliFailure, match=r"'left>=2' is needed.*pip download --only-binary :all:"):
        pack(project)
    (wheels / "left-1.9-py3-none-any.whl").unlink()
    dependency(wheels, "left", "2.1", requires="right<3")
    with pytest.raises(CliFailure, match="'right<3' is needed"):
        pack(project)
    dependency(wheels, "right", "2.0")
    dependency(wheels, "stray", "1.0")
    names = [name for name in members(pack(project).content) if name.endswith(".whl")]
    assert names == [
        "wheels/acme_risk-0.1.0-py3-none-any.whl",
        "wheels/left-2.1-py3-none-any.whl",
        "wheels/right-2.0-py3-none-any.whl",
    ]


def test_a_refused_manifest_is_not_packed(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.manifest.write_text("manifest = 2\n", encoding="utf-8")
    told = CliRunner().invoke(app, ["plugin", "pack", str(project.folder), "--json"])
    assert (told.exit_code, json.loads(told.stdout)["error"]["next_step"]) == (1, "Run: arsenal plugin check")
    assert not (project.folder / "dist").exists()


def test_the_commands_speak_json(tmp_path: Path) -> None:
    runner, folder = CliRunner(), tmp_path / "acme"
    told = runner.invoke(
        app, ["plugin", "new", "acme-risk", "--hook", "check_payment", "--into", str(folder), "--json"]
    )
    assert json.loads(told.stdout)["next_step"] == f"cd {folder} && arsenal plugin test"
    packed = json.loads(runner.invoke(app, ["plugin", "pack", str(folder), "--json"]).stdout)
    assert hashlib.sha256(Path(packed["bundle"]).read_bytes()).hexdigest() == packed["sha256"]
    hooks = json.loads(runner.invoke(app, ["plugin", "hooks", "--json"]).stdout)["hooks"]
    assert sorted(hook["name"] for hook in hooks) == HOOKS
    rules = json.loads(runner.invoke(app, ["plugin", "check", "--explain", "man-071", "--json"]).stdout)["rules"]
    assert rules == {"MAN-071": "The hosts of a token are declared in `[[egress]]`."}
    unknown = runner.invoke(app, ["plugin", "new", "a", "--hook", "check_weather", "--json"])
    assert (unknown.exit_code, json.loads(unknown.stdout)["error"]["next_step"]) == (2, "Run: arsenal plugin hooks")
    nothing = runner.invoke(app, ["plugin", "check", str(tmp_path), "--json"])
    assert (nothing.exit_code, "holds 1 plugins" in nothing.stdout or "holds 0 plugins" in nothing.stdout) == (2, True)

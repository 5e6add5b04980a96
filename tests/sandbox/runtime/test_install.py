"""Installing bundles: what comes in, what is refused, and that nothing is left of what was refused."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.plugin_bundle import PLUGIN_ID, VERSION, bundle, manifest_text, plugin_bundle, wheel
from platform_core.contracts.tree_hash import tree_hash
from sandbox.runtime import install as installing
from sandbox.runtime import wheels
from sandbox.runtime.install import install
from sandbox.runtime.installed import NotInstalled, read_installed, remove
from sandbox.runtime.wheels import BundleRefused

pytestmark = pytest.mark.unit
WHEEL = f"acme_probe-{VERSION}-py3-none-any.whl"
FILES: Mapping[str, str | bytes] = {"acme_probe/__init__.py": "x = 1\n", "acme_probe/plugin.toml": manifest_text()}
INFO = f"acme_probe-{VERSION}.dist-info"


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    return tmp_path / "plugins"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "probe.arsenal"
    path.write_bytes(content)
    return path


def test_a_bundle_becomes_a_folder_of_its_own(tmp_path: Path, plugins: Path) -> None:
    library = wheel({"acme_lib/__init__.py": "y = 2\n"}, name="acme_lib", version="3", entry_point=None)
    path = written(
        tmp_path,
        bundle({WHEEL: wheel(FILES), "acme_lib-3-py3-none-any.whl": library}, plugin=WHEEL, files={"sbom.json": b"{}"}),
    )
    made = install(path, plugins=plugins)
    tree = plugins / PLUGIN_ID / VERSION / "tree"
    assert made == read_installed(plugins, plugin_id=PLUGIN_ID, version=VERSION)
    assert (made.release.folder, made.release.module, made.release.memory_mb) == (tree, "acme_probe", 256)
    assert (made.hooks, made.providers, made.workers_max, made.is_per_call) == (("check_payment",), (), 2, False)
    assert made.manifest_path == tree / "acme_probe" / "plugin.toml"
    assert made.release.tree_hash == tree_hash(tree)
    assert (tree / "acme_lib" / "__init__.py").read_text(encoding="utf-8") == "y = 2\n"
    assert sorted(each.name for each in plugins.iterdir()) == [".lock", PLUGIN_ID]


def test_nothing_is_writable_and_nothing_was_compiled(tmp_path: Path, plugins: Path) -> None:
    install(plugin_bundle(tmp_path, "x = 1\n"), plugins=plugins)
    for path in (plugins / PLUGIN_ID / VERSION).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o555 if path.is_dir() else 0o444), path
        assert path.name != "__pycache__"
    assert stat.S_IMODE((plugins / PLUGIN_ID / VERSION).stat().st_mode) == 0o555


def test_the_same_bundle_again_changes_nothing_and_another_is_refused(tmp_path: Path, plugins: Path) -> None:
    path = plugin_bundle(tmp_path, "x = 1\n")
    made = install(path, plugins=plugins)
    before = {each: each.stat().st_mtime_ns for each in plugins.rglob("*") if each.name != ".lock"}
    assert install(path, plugins=plugins) == made
    with pytest.raises(BundleRefused, match="is installed from another bundle") as caught:
        install(plugin_bundle(tmp_path, "x = 2\n"), plugins=plugins)
    assert caught.value.rule == "version-taken"
    assert {each: each.stat().st_mtime_ns for each in plugins.rglob("*") if each.name != ".lock"} == before
    other = install(plugin_bundle(tmp_path, "x = 2\n", version="1.0.1"), plugins=plugins)
    assert other.release.tree_hash != made.release.tree_hash


def test_removing_leaves_no_trace(tmp_path: Path, plugins: Path) -> None:
    install(plugin_bundle(tmp_path, "x = 1\n"), plugins=plugins)
    install(plugin_bundle(tmp_path, "x = 1\n", version="1.1.0"), plugins=plugins)
    assert remove(plugins, plugin_id=PLUGIN_ID, version=VERSION)
    assert not remove(plugins, plugin_id=PLUGIN_ID, version=VERSION)
    with pytest.raises(NotInstalled):
        read_installed(plugins, plugin_id=PLUGIN_ID, version=VERSION)
    assert read_installed(plugins, plugin_id=PLUGIN_ID, version="1.1.0")
    assert remove(plugins, plugin_id=PLUGIN_ID, version="1.1.0")
    assert [each.name for each in plugins.iterdir()] == [".lock"]


def member(name: str, body: str | bytes = "x", **options: object) -> Callable[[], bytes]:
    return lambda: bundle({WHEEL: wheel({**FILES, name: body}, **options)}, plugin=WHEEL)  # type: ignore[arg-type]


def with_manifest(**options: object) -> Callable[[], bytes]:
    text = manifest_text(**options)  # type: ignore[arg-type]
    return lambda: bundle({WHEEL: wheel({**FILES, "acme_probe/plugin.toml": text})}, plugin=WHEEL)


def index(**changes: object) -> Callable[[], bytes]:
    made = wheel(FILES)
    told = {"bundle": 1, "plugin": WHEEL, "files": {f"wheels/{WHEEL}": hashlib.sha256(made).hexdigest()}}
    return lambda: bundle({WHEEL: made}, plugin=WHEEL, index=told | changes)


def two_wheels(first: Mapping[str, str | bytes], second: Mapping[str, str | bytes]) -> Callable[[], bytes]:
    both = {
        WHEEL: wheel({**FILES, **first}),
        "b-1-py3-none-any.whl": wheel(second, name="b", version="1", entry_point=None),
    }
    return lambda: bundle(both, plugin=WHEEL)


def two_entry_points() -> bytes:
    other = wheel({"b.py": ""}, name="b", version="1", entry_point="b")
    return bundle({WHEEL: wheel(FILES), "b-1-py3-none-any.whl": other}, plugin=WHEEL)


def lying_zip() -> bytes:
    """A member that says it has 10 bytes and unpacks to 80 MiB."""
    made = wheel({**FILES, "acme_probe/bomb.txt": b"\0" * (80 * 1024 * 1024)})
    size = struct.pack("<I", 80 * 1024 * 1024)
    assert made.count(size) == 2
    return bundle({WHEEL: made.replace(size, struct.pack("<I", 10))}, plugin=WHEEL)


REFUSED: list[tuple[str, Callable[[], bytes]]] = [
    ("not-a-bundle", lambda: b"PK not a zip"),
    ("not-a-bundle", lambda: bundle({WHEEL: wheel(FILES)}, plugin=WHEEL, files={"setup.py": b""})),
    ("not-a-bundle", lambda: bundle({WHEEL: wheel(FILES)}, plugin=WHEEL, files={"wheels/../x.whl": b""})),
    ("not-a-bundle", lambda: bundle({WHEEL: wheel(FILES)}, plugin=WHEEL, files={"wheels/a.tar.gz": b""})),
    ("not-a-bundle", index(bundle=2)),
    ("not-a-bundle", index(more=1)),
    ("hashes", index(files={})),
    ("hashes", index(files={f"wheels/{WHEEL}": "0" * 64})),
    ("hashes", index(files={f"wheels/{WHEEL}": "0" * 64, "wheels/other.whl": "0" * 64})),
    ("hashes", index(plugin="other.whl")),
    ("hashes", member("acme_probe/more.py", unlisted=["acme_probe/more.py"])),
    ("hashes", lambda: bundle({WHEEL: wheel(FILES).replace(b"RECORD", b"RECORX")}, plugin=WHEEL)),
    ("not-a-wheel", lambda: bundle({WHEEL: b"PK nothing"}, plugin=WHEEL)),
    ("not-a-wheel", member("other-1.dist-info/METADATA")),
    ("path", member("../evil.py")),
    ("path", member("/etc/evil.py")),
    ("path", member("acme_probe/../../evil.py")),
    ("path", member("acme_probe\\evil.py")),
    ("path", member("C:/evil.py")),
    ("path", member("./acme_probe/evil.py")),
    ("path", member("acme_probe//evil.py")),
    ("path", member("acme_probe/\u202eevil.py")),
    ("path", member("acme_probe/" + "x" * 300 + ".py")),
    ("mode", member("acme_probe/link", "/etc/passwd", modes={"acme_probe/link": stat.S_IFLNK | 0o777})),
    ("mode", member("acme_probe/tool", modes={"acme_probe/tool": stat.S_IFREG | stat.S_ISUID | 0o755})),
    ("mode", member("acme_probe/tool", modes={"acme_probe/tool": stat.S_IFREG | stat.S_ISGID | 0o755})),
    ("mode", member("acme_probe/fifo", modes={"acme_probe/fifo": stat.S_IFIFO | 0o644})),
    ("refused-file", member("evil.pth")),
    ("refused-file", member("acme_probe/evil.PTH")),
    ("refused-file", member("evil.egg-link")),
    ("refused-file", member("sitecustomize.py")),
    ("refused-file", member("usercustomize/__init__.py")),
    ("refused-file", member("acme_probe/sitecustomize.py")),
    ("refused-file", member("acme_probe/__pycache__/x.cpython-311.pyc")),
    ("scripts", member(f"acme_probe-{VERSION}.data/scripts/tool")),
    ("scripts", member(f"acme_probe-{VERSION}.data/data/etc/x")),
    ("name-taken", member("json/__init__.py")),
    ("name-taken", member("asyncio.py")),
    ("name-taken", member("_struct.cpython-311-x86_64-linux-gnu.so")),
    ("name-taken", member("platform_core/contracts/evil.py")),
    ("name-taken", member("sandbox/evil.py")),
    ("name-taken", member("pydantic/__init__.py")),
    ("name-taken", member("pluggy.py")),
    ("native-code", member("acme_probe/fast.so")),
    ("native-code", member("acme_probe/fast.so.1.2")),
    ("native-code", member("acme_probe/data.bin", b"\x7fELF and more")),
    ("file-twice", two_wheels({"shared/a.py": "1"}, {"shared/a.py": "1"})),
    ("file-twice", two_wheels({"shared/a.py": "1"}, {"Shared/A.py": "1"})),
    ("file-twice", two_wheels({"shared": "1"}, {"shared/a.py": "1"})),
    ("entry-point", lambda: bundle({WHEEL: wheel(FILES, entry_point=None)}, plugin=WHEEL)),
    ("entry-point", two_entry_points),
    ("manifest", lambda: bundle({WHEEL: wheel({"acme_probe/__init__.py": ""})}, plugin=WHEEL)),
    (
        "manifest",
        lambda: bundle({WHEEL: wheel({**FILES, "acme_probe/plugin.toml": "not = toml = at all"})}, plugin=WHEEL),
    ),
    ("manifest", lambda: bundle({WHEEL: wheel({**FILES, "acme_probe/plugin.toml": b"\xff"})}, plugin=WHEEL)),
    ("manifest", with_manifest(hooks=())),
    ("manifest", with_manifest(about={"runtime": "remote"})),
    ("manifest", with_manifest(resources={"memory_mb": 5000})),
    ("manifest", with_manifest(plugin_id="../../etc")),
    ("version", with_manifest(version="1.0.1")),
    ("not-a-wheel", lying_zip),
    ("size", member("acme_probe/big.txt", b"\0" * (65 * 1024 * 1024))),
]


@pytest.mark.parametrize(("rule", "make"), REFUSED, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(REFUSED)])
def test_what_is_refused_leaves_nothing(tmp_path: Path, plugins: Path, rule: str, make: Callable[[], bytes]) -> None:
    path = written(tmp_path, make())
    with pytest.raises(BundleRefused) as caught:
        install(path, plugins=plugins)
    assert (caught.value.rule, len(str(caught.value)) < 500) == (rule, True), caught.value
    assert [each.name for each in plugins.iterdir()] == [".lock"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plugins", "probe.arsenal"]


def test_too_many_files_are_refused(tmp_path: Path, plugins: Path) -> None:
    many = {f"acme_probe/f{n}.txt": "" for n in range(wheels.FILES_MAX)}
    path = written(tmp_path, bundle({WHEEL: wheel({**FILES, **many})}, plugin=WHEEL))
    with pytest.raises(BundleRefused, match="more than 5000 files"):
        install(path, plugins=plugins)
    assert [each.name for each in plugins.iterdir()] == [".lock"]


def test_native_code_that_the_manifest_names_may_come(tmp_path: Path, plugins: Path) -> None:
    text = manifest_text(about={"has_native_code": True})
    files = {**FILES, "acme_probe/plugin.toml": text, "acme_probe/fast.so": b"\x7fELF"}
    made = install(written(tmp_path, bundle({WHEEL: wheel(files)}, plugin=WHEEL)), plugins=plugins)
    assert (made.release.folder / "acme_probe" / "fast.so").read_bytes() == b"\x7fELF"


def test_nothing_of_a_bundle_is_run_or_imported(tmp_path: Path, plugins: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    install(plugin_bundle(tmp_path, code), plugins=plugins)
    assert not ran.exists()
    assert "acme_probe" not in sys.modules


def test_a_prerelease_is_one_version_in_both_spellings(tmp_path: Path, plugins: Path) -> None:
    file = "acme_probe-1.0.0rc1-py3-none-any.whl"
    made = wheel({**FILES, "acme_probe/plugin.toml": manifest_text(version="1.0.0-rc.1")}, version="1.0.0rc1")
    installed = install(written(tmp_path, bundle({file: made}, plugin=file)), plugins=plugins)
    assert installed.release.version == "1.0.0-rc.1"


KILLED = """
import os, sys
from pathlib import Path
from sandbox.runtime import install
real = Path.rename
def rename(self, target):
    if sys.argv[3] == "after":
        real(self, target)
    os._exit(9)
Path.rename = rename
install.install(Path(sys.argv[1]), plugins=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_leaves_a_whole_release_or_none(tmp_path: Path, plugins: Path, when: str) -> None:
    path = plugin_bundle(tmp_path, "x = 1\n")
    root = Path(installing.__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, path, plugins, when], cwd=root, check=False, timeout=60)
    assert done.returncode == 9
    assert (plugins / PLUGIN_ID / VERSION).exists() is (when == "after")
    made = install(path, plugins=plugins)
    assert tree_hash(made.release.folder) == made.release.tree_hash
    assert sorted(each.name for each in plugins.iterdir()) == [".lock", PLUGIN_ID]


@pytest.mark.parametrize("change", ["content", "name", "more", "less", "link", "swap", "empty"])
def test_every_change_of_a_tree_changes_its_hash(tmp_path: Path, change: str) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "one").write_text("1", encoding="utf-8")
    (tree / "a" / "two").write_text("2", encoding="utf-8")
    before = tree_hash(tree)
    assert tree_hash(tree) == before
    if change == "content":
        (tree / "a" / "one").write_text("3", encoding="utf-8")
    elif change == "name":
        (tree / "a" / "one").rename(tree / "a" / "three")
    elif change == "more":
        (tree / "b").write_text("", encoding="utf-8")
    elif change == "less":
        (tree / "a" / "one").unlink()
    elif change == "link":
        (tree / "a" / "one").rename(tmp_path / "one")
        (tree / "a" / "one").symlink_to(tmp_path / "one")
    elif change == "swap":
        (tree / "a" / "one").write_text("2", encoding="utf-8")
        (tree / "a" / "two").write_text("1", encoding="utf-8")
    else:
        (tree / "a" / "one").write_text("", encoding="utf-8")
    assert tree_hash(tree) != before


def test_a_tree_hash_is_that_of_the_documented_lines(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "b.txt").write_bytes(b"2")
    lines = f"{hashlib.sha256(b'2').hexdigest()}  b.txt\n{hashlib.sha256(b'1').hexdigest()}  b/x\n"
    assert tree_hash(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_the_test_bundles_are_zip_files_with_the_members_they_name(tmp_path: Path) -> None:
    path = plugin_bundle(tmp_path, "")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["hashes.json", f"wheels/{WHEEL}"]
    assert os.path.getsize(path) < 10_000

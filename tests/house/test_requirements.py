"""The locks are hashed and agree; the installer says what a machine lacks and does nothing twice."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ROOT / "requirements"
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[[^]]*])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
WITHOUT_ENSUREPIP = "import sys; sys.modules['ensurepip'] = None"
ON_AN_OLD_PYTHON = "import sys; sys.version_info = type('V', (tuple,), {'major': 3, 'minor': 9})((3, 9))"


@pytest.mark.parametrize("lock", ["bootstrap.txt", "runtime.txt", "dev.txt"])
def test_every_locked_requirement_is_pinned_and_hashed(lock: str) -> None:
    text = (LOCKS / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert [line for line in requirements if not PIN.match(line) or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("lock", ["bootstrap.txt", "runtime.txt", "dev.txt"])
def test_no_lock_names_a_host(lock: str) -> None:
    assert "://" not in (LOCKS / lock).read_text(encoding="utf-8")


def test_the_demo_runs_the_versions_that_the_tests_tested() -> None:
    runtime, dev = _pins("runtime.txt"), _pins("dev.txt")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_every_direct_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {_name(line) for line in project["dependencies"]}
    wanted_for_tests = wanted | {_name(line) for line in project["optional-dependencies"]["dev"]}
    assert wanted - _pins("runtime.txt").keys() == set()
    assert wanted_for_tests - _pins("dev.txt").keys() == set()


def test_the_build_backend_is_the_locked_one() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert build["requires"] == [f"setuptools=={_pins('bootstrap.txt')['setuptools']}"]


def test_a_python_without_ensurepip_is_told_which_package_it_lacks() -> None:
    done = _install("dev", before=WITHOUT_ENSUREPIP)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 2
    assert f"apt-get install python{version}-venv" in done.stderr


def test_an_old_python_is_refused_in_words() -> None:
    done = _install("dev", before=ON_AN_OLD_PYTHON)
    assert done.returncode == 2
    assert done.stderr == "Python 3.11 or newer is needed; this is 3.9. Name another one: make PYTHON=python3.11 ...\n"


def test_an_unknown_profile_is_refused() -> None:
    done = _install("everything")
    assert (done.returncode, done.stderr) == (2, "Say which profile to install: runtime or dev.\n")


def _install(profile: str, *, before: str = "pass") -> subprocess.CompletedProcess[str]:
    script = str(LOCKS / "install.py")
    start = f"sys.argv = [{script!r}, {profile!r}]; runpy.run_path({script!r}, run_name='__main__')"
    code = f"{before}\nimport runpy, sys\n{start}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def _pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((LOCKS / lock).read_text(encoding="utf-8")))


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found.group().lower().replace("_", "-")

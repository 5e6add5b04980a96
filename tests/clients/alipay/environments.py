"""Virtual environments of the outside Alipay clients, each by a lock of its own: both install a package `alipay`.

They are kept under `.venv-clients/` by the hash of their lock, so that a second run builds nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KEPT = ROOT / ".venv-clients"
CLIENTS = ("pas", "asp")


def python_of(client: str) -> Path:
    """The interpreter of a client's environment, built if need be. Skips loudly, or fails, where it cannot be had."""
    lock = HERE / client / "requirements.txt"
    mark = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = KEPT / f"alipay-{client}-{mark}"
    if not (folder / "bin" / "python").exists():
        making = KEPT / f"making-{client}-{os.getpid()}"
        try:
            _build(making, lock)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(making, ignore_errors=True)
            missing(f"the outside client {client} could not be installed: {error}")
        if not folder.exists():
            making.rename(folder)
        shutil.rmtree(making, ignore_errors=True)
    return folder / "bin" / "python"


def _build(folder: Path, lock: Path) -> None:
    """By uv, which takes two seconds; by pip where there is none."""
    uv = _uv()
    if uv is None:
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run(sys.executable, "-m", "venv", folder)
        _run(*pip, "--require-hashes", "-r", lock)
    else:
        _run(uv, "--no-config", "venv", "--quiet", "--python", sys.executable, folder)
        install = [uv, "--no-config", "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
        _run(*install, "--require-hashes", "-r", lock)


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def missing(what: str) -> None:
    """Skip and say so; under ARSENAL_REQUIRE_ALL=1 fail."""
    if os.environ.get("ARSENAL_REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(f"NOT CHECKED: {what}")

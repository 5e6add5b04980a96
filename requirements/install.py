#!/usr/bin/env python3
"""Make `.venv` from the locked requirements: `python3 requirements/install.py runtime|dev`.

Needs Python 3.11 with `venv` and nothing else. All that is downloaded is checked against the hashes in this folder.
A stamp in `.venv` holds the hash of all inputs, so a second call returns at once; an interrupted call leaves no stamp.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PROFILES = ("runtime", "dev")
EXIT_REFUSED = 2


def main(arguments: list[str]) -> int:
    """Install one profile; exit 2 says what the machine lacks, any other failure is the installer's own status."""
    if len(arguments) != 1 or arguments[0] not in PROFILES:
        return refuse(f"Say which profile to install: {' or '.join(PROFILES)}.")
    profile = arguments[0]
    lacking = what_is_lacking()
    if lacking:
        return refuse(lacking)
    if is_current(profile):
        return 0
    started = time.monotonic()
    try:
        install(profile)
    except subprocess.CalledProcessError as error:
        command = " ".join(str(part) for part in error.cmd)
        say(f"Failed with status {error.returncode}: {command}\nSee the message above, then run the same target again.")
        return error.returncode or 1
    say(f"{profile} requirements installed in {time.monotonic() - started:.1f} s.")
    return 0


def what_is_lacking() -> str | None:
    """Name what this Python lacks and the next step, or None."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info < (3, 11):
        return f"Python 3.11 or newer is needed; this is {version}. Name another one: make PYTHON=python3.11 ..."
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"Python {version} came without {' and '.join(missing)}, so it cannot make a virtual environment.\n"
            f"Debian and Ubuntu: apt-get install python{version}-venv. "
            "Or name a complete Python: make PYTHON=/path/to/python3 ..."
        )
    return None


def is_current(profile: str) -> bool:
    """Whether the profile, or one that contains it, stands in .venv as locked."""
    containing = PROFILES[PROFILES.index(profile) :]
    return PYTHON.exists() and any(read(stamp(name)) == fingerprint(name) for name in containing)


def install(profile: str) -> None:
    """Bring .venv to the locked state and stamp it."""
    for name in PROFILES:
        stamp(name).unlink(missing_ok=True)
    make_venv()
    say(f"Installing {profile} requirements into .venv ...")
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "--no-deps", "-r", LOCKS / "bootstrap.txt")
    uv: list[str | Path] = [VENV / "bin" / "uv", "--no-config", "pip"]
    locks = [LOCKS / "bootstrap.txt", LOCKS / f"{profile}.txt"]
    run(*uv, "sync", "--quiet", "--python", PYTHON, "--require-hashes", *locks)
    run(*uv, "install", "--quiet", "--python", PYTHON, "--no-deps", "--no-build-isolation", "--editable", ROOT)
    stamp(profile).write_text(fingerprint(profile), encoding="ascii")


def make_venv() -> None:
    """Make .venv with this Python; one made by another Python or a broken one is replaced."""
    current = PYTHON.exists() and interpreter_of(PYTHON) == interpreter_of(Path(sys.executable))
    if current and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return
    run(sys.executable, "-m", "venv", *([] if current else ["--clear"]), VENV)


def interpreter_of(python: Path) -> str:
    """Version and home of a Python, or an empty string when it does not start."""
    question = "import sys; print(sys.version, sys.base_prefix)"
    try:
        answer = subprocess.run([python, "-c", question], capture_output=True, check=False, text=True)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def fingerprint(profile: str) -> str:
    """Hash of all that decides what stands in .venv: locks, project, this script, the Python."""
    inputs = [LOCKS / "bootstrap.txt", LOCKS / f"{profile}.txt", ROOT / "pyproject.toml", Path(__file__)]
    digest = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}\0{ROOT}".encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp(profile: str) -> Path:
    """Where the fingerprint of an installed profile is kept."""
    return VENV / f".arsenal-{profile}"


def read(path: Path) -> str:
    """A stamp's text; empty when there is none."""
    return path.read_text(encoding="ascii") if path.exists() else ""


def run(*command: str | Path) -> None:
    """Run a step and raise CalledProcessError when it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=environment)


def say(text: str) -> None:
    """Progress goes to the error stream: the output belongs to the command that was asked for."""
    sys.stderr.write(f"{text}\n")


def refuse(text: str) -> int:
    """Say what is lacking and give the exit status for it."""
    say(text)
    return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

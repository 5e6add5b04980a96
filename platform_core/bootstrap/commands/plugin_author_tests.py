"""Running a plugin's own tests, and measuring its hooks, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platform_core.bootstrap.commands.plugin_author_project import Project
from platform_core.bootstrap.terminal import UNREACHABLE, CliFailure
from platform_core.contracts.testing import PluginSuite

WITHIN_S: Final = 600
KIT_TESTS: Final = frozenset(name for name in dir(PluginSuite) if name.startswith("test_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of a plugin's tests."""

    passed: int
    failed: tuple[str, ...]
    """Names, with the first line of what went wrong."""
    kit: frozenset[str]
    """Tests of the contract kit that ran and passed."""
    output: str

    @property
    def is_own_tested(self) -> bool:
        """Whether a test besides the kit's ran."""
        return self.passed + len(self.failed) > len(self.kit)

    @property
    def kit_missing(self) -> frozenset[str]:
        """Tests of the kit that did not run, or failed."""
        return KIT_TESTS - self.kit


def run_tests(project: Project) -> Ran:
    """Run everything in the project's `tests`. CliFailure when pytest is not there or does not end."""
    with tempfile.TemporaryDirectory(prefix="arsenal-plugin-") as scratch:
        report = Path(scratch) / "report.xml"
        command = ["-m", "pytest", str(project.tests), "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        ran = _python(project, command)
        if not report.is_file():
            said = (ran.stdout + ran.stderr).strip().splitlines()[-1:] or ["it said nothing"]
            raise CliFailure(
                f"pytest could not run: {said[0]}",
                "Run: make dev (in Arsenal's checkout), or: pip install pytest pytest-asyncio",
                status=UNREACHABLE,
            )
        return _read(report, output=ran.stdout + ran.stderr)


def measured_p95_ms(project: Project, package: str) -> dict[str, float]:
    """By deciding hook, milliseconds. CliFailure when the plugin cannot be called."""
    ran = _python(project, ["-m", "platform_core.contracts.testing.measure", package])
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise CliFailure(f"The plugin cannot be called: {said[0]}", "Run: arsenal plugin test")
    told: dict[str, float] = json.loads(ran.stdout)
    return told


def import_name(project: Project) -> str:
    """The name under which the package is imported where it stands: below another package, with that one's name."""
    parts, at = [project.name], project.package.parent
    while project.package == project.folder and (at / "__init__.py").is_file():
        parts, at = [at.name, *parts], at.parent
    return ".".join(parts)


def _root(project: Project) -> Path:
    """What goes on the path, so that `import_name` is found."""
    return project.package.parents[import_name(project).count(".")]


def _python(project: Project, command: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(_root(project)), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter, on the author's own folder
            [sys.executable, *command],
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CliFailure(f"It did not end within {WITHIN_S} s.", "Look for a loop or a wait in the tests.") from error


def _read(report: Path, *, output: str) -> Ran:
    passed, failed, kit = 0, [], set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        wrong: Any = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        name = str(case.get("name"))
        if wrong is not None:
            first = (str(wrong.get("message")) or "").splitlines()[:1]
            failed.append(f"{case.get('classname')}::{name}: {first[0] if first else ''}"[:300])
        elif case.find("skipped") is None:
            passed += 1
            if name in KIT_TESTS:
                kit.add(name)
    return Ran(passed=passed, failed=tuple(failed), kit=frozenset(kit), output=output)

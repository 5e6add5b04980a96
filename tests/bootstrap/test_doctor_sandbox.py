"""`arsenal doctor` about confinement, with real zygotes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from platform_core.bootstrap import doctor_sandbox
from sandbox.runtime.levels import Level, Machine, look_at_machine
from sandbox.runtime.requests import ZygoteSettings
from tests.bootstrap.conftest import CommandLine
from tests.support.confined import TEST_LEVEL

ACCEPT = "Li Wei: laptop without Landlock, own plugins only"
PARTS = ("sandbox", "kernel", "landlock", "seccomp", "user namespaces", "uid per worker", "cgroups")


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    return CommandLine({"ARSENAL_HOME": str(tmp_path / "home")})


def findings(line: CommandLine, status: int, **changed: str) -> dict[str, dict[str, str]]:
    result = line.run("doctor", "--json", **changed)
    assert result.exit_code == status, result.output
    said = json.loads(result.stdout)
    return {each["name"]: each for each in said.get("error", said)["findings"]}


@pytest.fixture
def at_most_l1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zygote that attains no more than L1."""
    monkeypatch.setattr(doctor_sandbox, "ZygoteSettings", partial(ZygoteSettings, level_max=Level.L1))


def test_the_proven_level_is_told(line: CommandLine) -> None:
    found = findings(line, 0)
    assert set(PARTS) <= set(found)
    assert found["sandbox"]["words"].startswith(f"attained {TEST_LEVEL.name}, required L2")
    assert {found[name]["state"] for name in PARTS} == {"ok"}
    assert found["landlock"]["words"] == f"ABI {look_at_machine().landlock_abi}"


@pytest.mark.usefixtures("at_most_l1")
def test_below_the_requirement_the_exit_code_is_1(line: CommandLine) -> None:
    found = findings(line, 1)["sandbox"]
    assert found["state"] == "failed"
    assert found["words"] == "attained L1, required L2; plugins that are not trusted are not loaded"
    assert found["next_step"]


@pytest.mark.usefixtures("at_most_l1")
def test_what_somebody_accepted_is_a_warning_with_the_name(line: CommandLine) -> None:
    found = findings(line, 0, ARSENAL_SANDBOX_REQUIRE="L1", ARSENAL_SANDBOX_ACCEPT=ACCEPT)["sandbox"]
    assert found["state"] == "warning"
    assert found["words"] == f"attained L1, required L1; less than isolation, accepted by {ACCEPT}"


def test_less_than_isolation_without_a_name_is_refused(line: CommandLine) -> None:
    result = line.run("doctor", "--json", ARSENAL_SANDBOX_REQUIRE="L1")
    assert result.exit_code == 2
    assert "say who answers for it" in json.loads(result.stdout)["error"]["message"]


def test_a_gap_names_the_line_that_repairs_it(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Machine(
        system="Linux",
        kernel="5.10.0",
        architecture="x86_64",
        uid=1000,
        landlock_abi=0,
        has_seccomp=True,
        user_namespace_bar="user.max_user_namespaces",
        group=Path("/sys/fs/cgroup/arsenal.service"),
    )
    monkeypatch.setattr(doctor_sandbox, "look_at_machine", lambda: bare)
    found = findings(line, 1)
    assert found["landlock"]["state"] == "failed"
    assert "lsm=" in found["landlock"]["next_step"]
    namespaces = found["user namespaces"]
    assert (namespaces["state"], namespaces["next_step"]) == ("ok", "Run: sysctl -w user.max_user_namespaces=15000")
    assert found["cgroups"]["words"] == "one for each plugin, below /sys/fs/cgroup/arsenal.service"
    assert findings(line, 1, ARSENAL_SANDBOX_REQUIRE="L3")["user namespaces"]["state"] == "failed"


def test_a_zygote_that_does_not_start_is_a_failure(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = partial(doctor_sandbox.Spawner, python=Path("/nowhere/python"))
    monkeypatch.setattr(doctor_sandbox, "Spawner", nowhere)
    found = findings(line, 1)["sandbox"]
    assert found["words"] == "no worker can be started: zygote: No such file or directory (/nowhere/python)"

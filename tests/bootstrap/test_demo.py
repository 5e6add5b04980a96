"""The demo as a newcomer meets it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from platform_core.bootstrap.demo_plan import MIX, ORDERS
from sandbox.testbed.trigger_scenarios import SCENARIOS
from tests.bootstrap.conftest import ARSENAL, CommandLine, Start, one_document

pytestmark = [pytest.mark.api, pytest.mark.timeout(240)]


def processes_of(home: Path) -> list[int]:
    """Processes whose environment or arguments name this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in told:
                found.append(int(entry.name))
    return found


def test_the_demo_holds_all_its_checks_and_leaves_nothing_running(tmp_path: Path) -> None:
    line = CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_LISTEN_PORT": "0"})
    done = subprocess.run(
        [*ARSENAL, "demo", "--once", "--json"],
        env=line.process_env(),
        capture_output=True,
        check=False,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = one_document(done.stdout)
    assert said["orders"] == ORDERS
    assert said["scenarios"] == dict(sorted(MIX.items()))
    assert [check["held"] for check in said["checks"]] == [True] * 7
    assert said["were_unknown"] == sum(count for name, count in MIX.items() if SCENARIOS[name].is_doubted)
    for merchant in said["merchants"]:
        net_minor = merchant["gross_minor"] - merchant["fees_minor"] - merchant["refunds_minor"]
        assert net_minor == merchant["balance_minor"] > 0
    plugin = said["plugin"]
    assert sum(merchant["orders"] for merchant in said["merchants"]) == ORDERS + plugin["hurried"]["payments"]
    assert (plugin["is_installed"], plugin["is_new"], plugin["version"]) == (True, True, "1.0.0")
    assert plugin["attained"] in ("L2", "L3", "L4")
    assert {(ran["version"], ran["level"]) for ran in plugin["calls"]} == {("1.0.0", plugin["attained"])}
    assert sum(ran["calls"] for ran in plugin["calls"]) >= plugin["asked"] - plugin["late"] >= 4
    assert plugin["hurried"]["states"] == ["captured", "captured", "in_review", "refused"]
    assert plugin["hurried"]["reasons"] == ["4 payments of this payer in 10 minutes; 2 are usual."]
    assert processes_of(tmp_path / "home") == []


def test_scenarios_play_beside_a_demo_that_leaves_nothing_running_when_stopped(start: Start, tmp_path: Path) -> None:
    line = CommandLine({"ARSENAL_HOME": str(tmp_path / "home"), "ARSENAL_LISTEN_PORT": "0"})
    demo = start(line, "demo")
    assert demo.stdout is not None
    for said in demo.stdout:
        if "demo.env" in said:
            break
    else:
        pytest.fail("the demo ended before it served")
    env = (tmp_path / "home" / "demo.env").read_text()
    assert [text.partition("=")[0] for text in env.splitlines()][:3] == [
        "ARSENAL_URL", "ARSENAL_CLIENT_ID", "ARSENAL_CLIENT_SECRET",
    ]  # fmt: skip
    played = line.run("trigger", "success", "decline", "refund", "partial-capture", "qr", "--json")
    assert played.exit_code == 0, played.output
    orders = {order["scenario"]: order for order in one_document(played.stdout)["orders"]}
    assert {name: order["state"] for name, order in orders.items()} == {
        "success": "captured",
        "decline": "created",
        "refund": "captured",
        "partial-capture": "captured",
        "qr": "captured",
    }
    assert orders["partial-capture"]["amounts"]["captured_minor"] == 4_920
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert processes_of(tmp_path / "home") == []

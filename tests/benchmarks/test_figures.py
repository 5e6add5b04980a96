"""What `python -m benchmarks` says, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.figures import Figure, Goal, Rounds
from benchmarks.registry import Benchmark

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"benchmark", "figure", "value", "unit", "goal", "holds", "min", "max", "rounds"}


@pytest.mark.unit
def test_ratios_are_taken_round_by_round_against_the_best() -> None:
    rounds = Rounds()
    rounds.add({"ours": 30.0, "one": 10.0, "four": 15.0})
    rounds.add({"ours": 20.0, "one": 40.0, "four": 5.0})
    assert rounds.ratios("ours", ["one", "four"]) == [2.0, 0.5]
    assert rounds.ratios("ours", "four") == [2.0, 4.0]


@pytest.mark.unit
def test_line_holds_median_bounds_and_verdict() -> None:
    figure = Figure("paid_order", "against_pgbench", [0.5, 1.25, 3.0], "x", Goal(">=", 1.0, 2.0))
    assert json.loads(figure.line()) == {
        "benchmark": "paid_order",
        "figure": "against_pgbench",
        "value": 1.25,
        "unit": "x",
        "goal": ">= 1",
        "holds": True,
        "min": 0.5,
        "max": 3.0,
        "rounds": 3,
    }


@pytest.mark.unit
@pytest.mark.parametrize(("value", "status"), [(100.0, 0), (100.1, 1)])
def test_a_first_goal_missed_is_exit_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: float, status: int
) -> None:
    made = [Figure("any", "p99", [value], "ms", Goal("<=", 100, 30)), Figure("any", "free", [1.0], "x")]
    monkeypatch.setattr(command, "BENCHMARKS", {"any": Benchmark("any", lambda options: made)})
    assert command.main(["any"]) == status
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["holds"] for line in lines] == [status == 0, None]


@pytest.mark.database
def test_a_real_benchmark_prints_one_json_line_a_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "ledger_transfers", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["figure"] for line in lines] == ["against_copy", "transfers_per_s", "copied_per_s", "client_us"]
    assert all(line.keys() == KEYS and line["benchmark"] == "ledger_transfers" for line in lines)
    assert done.returncode == (0 if lines[0]["holds"] else 1)

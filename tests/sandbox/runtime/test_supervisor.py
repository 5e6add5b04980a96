"""What is checked before a worker may run, what ends a version, and who hears of it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from platform_core.contracts.runtime import Answered, Fault, FaultKind, Hosted
from sandbox.runtime.installed import remove
from sandbox.runtime.levels import Level
from sandbox.runtime.limits import PoolLimits
from sandbox.runtime.spawner import Spawner
from sandbox.runtime.supervisor import lines_of
from tests.sandbox.runtime.stage import PATIENT_S, Stage, open_stage, started_spawner, until

PATIENT = PoolLimits(boot_s=PATIENT_S)
FINE = "@hookimpl\ndef check_payment(ctx, payment):\n    return Verdict.allow()\n"


async def test_warming_says_what_a_plugin_offers_and_leaves_a_spare(stage: Stage) -> None:
    plugin = stage.plugin(FINE)
    hosted = await stage.supervisor.warm(plugin, "1.0.0")
    assert isinstance(hosted, Hosted)
    assert (hosted.hooks, hosted.providers) == (("check_payment",), ())
    assert len(stage.supervisor.pids(plugin)) == 1
    assert await stage.supervisor.warm(plugin, "1.0.0") == hosted
    assert len(stage.supervisor.pids(plugin)) == 1


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("raise ValueError('no')", "ValueError: importing acme_probe: no (acme_probe/__init__.py:12 in <module>)"),
        ("def broken(:\n", "SyntaxError: importing acme_probe: "),
        ("import no_such_module", "ModuleNotFoundError: importing acme_probe: No module named 'no_such_module'"),
        ("import platform_core.ledger", "ModuleNotFoundError: importing acme_probe: No module named"),
        ("sys.exit(4)", "SystemExit: importing acme_probe: 4"),
        ("os._exit(4)", "the worker ended while it loaded: exit status 4"),
        ("", "offers nothing; its manifest says otherwise"),
        (FINE + FINE.replace("payment", "refund"), "offers check_payment, check_refund; its manifest says otherwise"),
        ("@hookimpl\nasync def check_payment(ctx, payment):\n    return 1", "coroutine: check_payment is a coroutine"),
        ("@hookimpl\ndef check_payment(ctx, payment):\n    yield 1", "coroutine: check_payment is a coroutine"),
        ("@hookimpl(tryfirst=True)\ndef check_payment(ctx, payment):\n    return 1", "hook_option: check_payment is"),
        ("@hookimpl\ndef check_payment(ctx, money):\n    return 1", "arguments: check_payment takes money"),
        ("@hookimpl\ndef check_nothing():\n    return 1", "unknown_hook: There is no hook check_nothing"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_is_named_with_the_reason(stage: Stage, code: str, detail: str) -> None:
    plugin = stage.plugin(code)
    fault = await stage.fault(plugin)
    assert fault.kind is FaultKind.LOAD
    assert fault.detail.startswith(detail)
    assert stage.listener.faults == [(plugin, fault)]
    assert stage.supervisor.pids(plugin) == ()


async def test_failed_loads_are_tried_again_later_and_later(spawner: Spawner, plugins: Path) -> None:
    limits = replace(PATIENT, backoff_s=0.1, backoff_s_max=1.0)
    async with open_stage(spawner, plugins, limits=limits) as stage:
        plugin = stage.plugin("raise ValueError('no')")
        first = await stage.fault(plugin)
        assert [await stage.fault(plugin) for _ in range(50)].count(first) == 50
        while len(stage.listener.times) < 6:
            assert await stage.fault(plugin) == first
            await asyncio.sleep(0.005)
        waits = [later - earlier for earlier, later in itertools.pairwise(stage.listener.times)]
        for waited, least in zip(waits, (0.1, 0.2, 0.4, 0.8, 1.0), strict=True):
            assert waited >= least, waits
        assert stage.supervisor.pids(plugin) == ()


async def test_a_plugin_that_does_not_come_up_is_ended(spawner: Spawner, plugins: Path) -> None:
    async with open_stage(spawner, plugins, limits=replace(PATIENT, boot_s=0.3)) as stage:
        plugin = stage.plugin("time.sleep(60)")
        assert (await stage.fault(plugin)).kind is FaultKind.BOOT_TIMEOUT
        await until(lambda: stage.supervisor.pids(plugin) == ())


async def test_below_the_required_level_nothing_of_a_plugin_runs(plugins: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    spawner = await started_spawner(plugins, level_max=Level.L1)
    try:
        assert spawner.level is Level.L1
        async with open_stage(spawner, plugins, required=Level.L2, limits=PATIENT) as stage:
            assert stage.supervisor.level == "L1"
            plugin = stage.plugin(f"open({str(ran)!r}, 'w').close()\n{FINE}")
            fault = await stage.fault(plugin)
            assert fault.kind is FaultKind.NOT_CONFINED
            assert fault.detail.startswith("attained L1, required L2; holes: ")
            assert stage.listener.faults == [(plugin, fault)]
            await until(lambda: stage.supervisor.pids(plugin) == ())
            assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a folder of this test
    finally:
        await spawner.close()


async def test_a_version_in_quarantine_is_not_run_until_it_is_lifted(stage: Stage) -> None:
    plugin = stage.plugin(FINE)
    assert isinstance(await stage.ask(plugin), Answered)
    stage.supervisor.quarantine(plugin, "1.0.0", detail="by an operator")
    assert await stage.fault(plugin) == Fault(FaultKind.QUARANTINED, "by an operator")
    assert await stage.fault(plugin, merchant_id="mer_2") == Fault(FaultKind.QUARANTINED, "by an operator")
    assert await stage.supervisor.warm(plugin, "1.0.0") == Fault(FaultKind.QUARANTINED, "by an operator")
    await until(lambda: stage.supervisor.pids(plugin) == ())
    stage.supervisor.lift(plugin, "1.0.0")
    assert isinstance(await stage.ask(plugin), Answered)
    assert stage.listener.faults == []


async def test_a_version_that_was_quarantined_before_its_first_call_never_starts(stage: Stage) -> None:
    plugin = stage.plugin(FINE)
    stage.supervisor.quarantine(plugin, "1.0.0")
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED
    assert stage.supervisor.pids(plugin) == ()


async def test_what_is_not_installed_is_unavailable(stage: Stage) -> None:
    fault = await stage.fault("example.acme.nowhere")
    assert fault.kind is FaultKind.UNAVAILABLE
    assert fault.detail.startswith("example.acme.nowhere 1.0.0 is not installed")


def tamper(plugins: Path, plugin: str) -> None:
    package = plugins / plugin / "1.0.0" / "tree" / "acme_probe"
    package.chmod(0o755)
    (package / "more.py").write_text("", encoding="utf-8")


async def test_files_that_changed_are_noticed_before_the_first_worker(stage: Stage) -> None:
    plugin = stage.plugin(FINE)
    tamper(stage.plugins, plugin)
    fault = await stage.fault(plugin)
    assert fault.kind is FaultKind.QUARANTINED
    assert fault.detail == "tampered: its files are not those that were installed"
    assert [heard.kind for _, heard in stage.listener.faults] == [FaultKind.TAMPERED]
    assert stage.supervisor.pids(plugin) == ()


@pytest.mark.parametrize("how", ["changed", "removed"])
async def test_files_that_change_later_are_noticed_by_the_clock(spawner: Spawner, plugins: Path, how: str) -> None:
    async with open_stage(spawner, plugins, limits=replace(PATIENT, tree_check_s=0.1)) as stage:
        plugin, other = stage.plugin(FINE), stage.plugin(FINE)
        assert isinstance(await stage.ask(plugin), Answered)
        assert isinstance(await stage.ask(other), Answered)
        await until(lambda: len(stage.supervisor.pids(plugin)) == 2)  # with the spare, which comes a moment later
        if how == "changed":
            tamper(plugins, plugin)
        else:
            assert remove(plugins, plugin_id=plugin, version="1.0.0")
        await until(lambda: stage.supervisor.pids(plugin) == ())
        assert [(name, heard.kind) for name, heard in stage.listener.faults] == [(plugin, FaultKind.TAMPERED)]
        assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED
        assert isinstance(await stage.ask(other), Answered)


def test_a_call_may_write_so_many_bytes_and_so_many_lines() -> None:
    assert list(lines_of(b"one\n\ntwo\n")) == ["one", "two"]
    assert list(lines_of(b"a\n" * 5, lines_max=3)) == ["a", "a", "a", "... and 2 lines more"]
    assert list(lines_of(b"a\n" * 3, lines_max=3)) == ["a", "a", "a"]
    assert list(lines_of(b"a\nb\nc", lines_max=2)) == ["a", "b", "... and 1 lines more"]
    assert list(lines_of(b"x" * 12, bytes_max=10)) == ["x" * 10, "... and 2 bytes more"]

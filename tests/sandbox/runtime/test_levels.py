"""Real zygotes and workers at every level that this machine must attain, seen from outside and from within."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.runtime.levels import Level, Machine, best_promised, gaps, look_at_machine
from sandbox.runtime.spawner import SpawnFailed
from tests.support.confined import (
    CONFINED,
    LEVELS,
    NOBODY,
    PLAIN,
    TEST_LEVEL,
    VERSION,
    install,
    name_of,
    ordinary_python,
    plugins_folder,
    spawning,
    working,
)

ROOTLESS_HOLES = {
    Level.L2: ("stat_passwd", "host_uid"),
    Level.L3: ("host_uid",),
    Level.L4: (),
}
AUTHORS_MODULES = {
    "cryptography",
    "packaging",
    "platform_core.contracts.testing",
    "platform_core.contracts.manifest_rules",
}
"""What serves to write plugins. A plugin that bundles such a library must get its own."""
HOST_MODULES = {
    "asyncpg",
    "sqlalchemy",
    "sqlmodel",
    "psycopg",
    "alembic",
    "fastapi",
    "starlette",
    "uvicorn",
    "httpx",
    "celery",
    "kombu",
    "redis",
    "authlib",
    "platform_core.ledger",
    "platform_core.kernel.commit",
    "platform_core.kernel.database",
    "platform_core.kernel.settings",
}


@pytest.fixture
def plugins() -> Iterator[Path]:
    with plugins_folder() as folder:
        install(folder)
        yield folder


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_the_level_asked_for_is_attained_and_proven(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level) as spawner, working(spawner, slot=7) as worker:
        assert spawner.level == level, spawner.unproven
        assert spawner.unproven == ()
        facts = worker.spawned.facts
        assert facts.level == level
        assert await worker.run("result = facts.model_dump(mode='json')") == facts.model_dump(mode="json")
        assert facts.has_seccomp == (level >= Level.L2)
        assert (facts.landlock_abi > 0) == (level >= Level.L2)
        if level >= Level.L2:
            assert facts.holes == ROOTLESS_HOLES[level]
        else:
            assert {"read_passwd", "write_file", "internet_socket", "fork", "signal_parent"} <= set(facts.holes)
        assert {"ipc", "mnt", "net", "pid", "uts"} <= set(facts.namespaces) or level < Level.L3


def test_this_machine_promises_what_is_required_of_it() -> None:
    machine = look_at_machine()
    assert best_promised(machine) >= TEST_LEVEL, gaps(machine)


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_the_kernel_confirms_what_a_worker_gave_up(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level) as spawner, working(spawner, slot=3) as worker:
        status = worker.status()
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[capabilities], 16) == 0, capabilities
        if os.geteuid() == 0 or level >= Level.L3:
            assert int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert status["Umask"] == "0077"
        assert status["Threads"] == "1"
        if level >= Level.L4:
            own = str(1_900_000_000 + 3)
            assert status["Uid"].split() == [own] * 4
            assert status["Gid"].split() == [own] * 4
            assert status["Groups"] == ""
            assert worker.spawned.facts.uid == int(own)


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_the_kernel_confirms_the_limits(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        text = worker.said_by_kernel("limits")
    found = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()[1:]}
    mib = 1024 * 1024
    expected = {
        "Max address space": 256 * mib,
        "Max cpu time": 60,
        "Max open files": 32,
        "Max stack size": 8 * mib,
        "Max file size": 0,
        "Max core file size": 0,
        "Max locked memory": 0,
        "Max msgqueue size": 0,
    }
    alone = level >= Level.L2 if os.geteuid() == 0 else level >= Level.L3
    expected["Max processes"] = 64 if alone else 4096
    assert {name: found[name] for name in expected} == {name: [str(value)] * 2 for name, value in expected.items()}


BOMB = """
import threading
threading.stack_size(64 * 1024)
never = threading.Event()
result = 0
try:
    while result < 2000:
        threading.Thread(target=never.wait, daemon=True).start()
        result += 1
except RuntimeError:
    pass
"""


@pytest.mark.parametrize("level", [level for level in CONFINED if os.geteuid() == 0 or level >= Level.L3], ids=name_of)
async def test_a_worker_s_threads_are_bounded(plugins: Path, level: Level) -> None:
    """The machine has one table of processes: 2,000 threads fit into this worker's memory, but not into its share."""
    install(plugins, plugin_id="com.example.bomb", memory_mb=1024)
    async with spawning(plugins, level=level) as spawner, working(spawner, plugin_id="com.example.bomb") as worker:
        started = await worker.run(BOMB)
        assert 32 <= started < 64
        assert worker.status()["Threads"] == str(started + 1)
        async with working(spawner, slot=1) as another:
            assert await another.run(BOMB) == started


async def test_an_ordinary_user_s_threads_are_bounded_in_a_namespace(plugins: Path) -> None:
    install(plugins, plugin_id="com.example.bomb", memory_mb=1024)
    level = min(TEST_LEVEL, Level.L3)
    python = ordinary_python(plugins)
    bomb = "com.example.bomb"
    async with spawning(plugins, level=level, python=python) as spawner, working(spawner, plugin_id=bomb) as worker:
        if level >= Level.L3:
            assert 32 <= await worker.run(BOMB) < 64
        else:
            lines = worker.said_by_kernel("limits").splitlines()
            assert [line.split()[2:4] for line in lines if "processes" in line] == [["4096", "4096"]]


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_nothing_of_the_host_leaks_into_a_worker(
    plugins: Path, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistake 11: `site`, the environment and the host's name leaked into workers."""
    monkeypatch.setenv("ARSENAL_CANARY", "canary")
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        assert await worker.run("import os; result = dict(os.environ)") == {
            "PATH": "/nonexistent",
            "LANG": "C.UTF-8",
            "MALLOC_ARENA_MAX": "2",
        }
        assert "canary" not in worker.said_by_kernel("environ")
        flags = await worker.run(
            "import sys; f = sys.flags; result = [f.isolated, f.no_site, f.utf8_mode, f.ignore_environment]"
        )
        assert flags == [1, 1, 1, 1]
        folder, *rest = await worker.run("import sys; result = sys.path")
        assert folder == str(plugins / PLAIN / VERSION / "site")
        stdlib = await worker.run("import os; result = os.path.dirname(os.__file__)")
        assert [each for each in rest if not each.startswith(stdlib) and not each.endswith(".zip")] == []
        assert [each for each in rest if "site-packages" in each] == []
        assert await worker.run("result = [sys.argv, sys.orig_argv]") == [["worker"], []]
        assert await worker.run("result = os.getcwd()") == "/"
        loaded = set(await worker.run("result = list(sys.modules)"))
        assert "site" not in loaded
        assert loaded & HOST_MODULES == set()
        assert loaded & AUTHORS_MODULES == set()
        name = await worker.run("result = os.uname().nodename")
        assert (name == "worker") == (level >= Level.L2)


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
@pytest.mark.parametrize(
    "module", ["platform_core.ledger", "platform_core.kernel.settings", "sandbox.simulators", "httpx"]
)
async def test_only_contracts_and_their_needs_can_be_imported(plugins: Path, level: Level, module: str) -> None:
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        assert (await worker.run(f"import {module}")).startswith("ModuleNotFoundError")
        reached = "import platform_core.contracts.payments, pydantic.networks, plain; result = plain.VALUE"
        assert await worker.run(reached) == 1


@pytest.mark.parametrize("level", LEVELS, ids=name_of)
async def test_a_worker_holds_no_other_descriptor(plugins: Path, level: Level) -> None:
    leaked = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
            await worker.run("import fcntl")
            code = """
result = []
for each in range(32):
    try:
        fcntl.fcntl(each, fcntl.F_GETFD)
        result.append(each)
    except OSError:
        pass
"""
            assert await worker.run(code) == [0, 1, 2, 3]
            target = os.readlink(f"/proc/{worker.spawned.pid}/fd/0")
            assert target in ("/dev/null", "/null")
    finally:
        os.close(leaked)


@pytest.mark.parametrize("level", [level for level in CONFINED if level >= Level.L3], ids=name_of)
async def test_a_private_root_is_read_only_and_holds_nothing_else(plugins: Path, level: Level) -> None:
    install(plugins, plugin_id="com.example.other")
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        root = Path(f"/proc/{worker.spawned.pid}/root")
        tops = set(os.listdir(root))
        assert tops.isdisjoint({"proc", "dev", "sys", "home", "var", "run", "boot"})
        assert os.listdir(root / "etc") == ["ld.so.cache"]
        assert os.listdir(root / plugins.relative_to("/")) == [PLAIN]
        for line in worker.said_by_kernel("mountinfo").splitlines():
            assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(",")), line


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_a_worker_reads_its_own_folder_and_no_other(plugins: Path, level: Level) -> None:
    install(plugins, plugin_id="com.example.other", secret="TOKEN = 'canary'\n")
    secret = plugins / "com.example.other" / VERSION / "site" / "secret.py"
    own = plugins / PLAIN / VERSION / "site" / "plain.py"
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        assert await worker.run(f"result = open({str(own)!r}).read()") == "VALUE = 1\n"
        refused = await worker.run(f"result = open({str(secret)!r}).read()")
        assert refused.split()[0] in ("PermissionError", "FileNotFoundError")
        assert (await worker.run(f"result = open({str(own)!r}, 'w')")).startswith("OSError 30")
        assert (await worker.run(f"import os; os.chmod({str(own)!r}, 0o777)")).startswith("PermissionError")
        assert (await worker.run(f"os.truncate({str(own)!r}, 0)")).startswith("PermissionError")
        assert (await worker.run(f"os.unlink({str(own)!r})")).startswith("PermissionError")
        assert (await worker.run(f"result = os.listdir({str(plugins)!r})")).startswith("PermissionError")
        assert (await worker.run("result = os.listdir('/proc')")).split()[0] in ("PermissionError", "FileNotFoundError")
    assert own.read_text(encoding="utf-8") == "VALUE = 1\n"


async def test_an_ordinary_user_attains_namespaces_of_its_own(plugins: Path) -> None:
    """L3 without root: in a user namespace, with the uid that the zygote has."""
    top = min(TEST_LEVEL, Level.L3)
    async with spawning(plugins, level=top, python=ordinary_python(plugins)) as spawner:
        assert spawner.level == top, spawner.unproven
        async with working(spawner) as worker:
            status = worker.status()
            own = str(NOBODY if os.geteuid() == 0 else os.geteuid())
            assert status["Uid"].split() == [own] * 4
            if top >= Level.L3:
                assert set(worker.spawned.facts.namespaces) == {"ipc", "mnt", "net", "pid", "user", "uts"}
                assert int(status["CapBnd"], 16) == 0
            assert int(status["CapEff"], 16) == 0


async def test_an_ordinary_user_attains_confinement_without_namespaces(plugins: Path) -> None:
    """L2 needs neither root nor a user namespace."""
    async with spawning(plugins, level=Level.L2, python=ordinary_python(plugins)) as spawner:
        assert (spawner.level, spawner.unproven) == (Level.L2, ())
        async with working(spawner) as worker:
            assert worker.spawned.facts.namespaces == ()
            assert worker.spawned.facts.holes == ROOTLESS_HOLES[Level.L2]
            assert (await worker.run("result = open('/etc/passwd').read()")).startswith("PermissionError")


async def test_below_the_required_level_no_worker_is_started(plugins: Path) -> None:
    others = zygotes()
    async with spawning(plugins, level=Level.L1, required=Level.L2) as spawner:
        assert spawner.level == Level.L1
        with pytest.raises(SpawnFailed) as refused:
            await spawner.spawn(PLAIN, VERSION, 0)
        assert (refused.value.step, refused.value.words) == ("level", "attained L1, required L2")
        assert children_of_zygote(others) == []


def zygotes() -> set[int]:
    """Those of this process; other tests may keep some of their own."""
    own = os.getpid()
    return {pid for pid in _pids() if _parent(pid) == own and _is_zygote(pid)}


def children_of_zygote(others: set[int]) -> list[str]:
    """Processes of this test's zygote, by parenthood."""
    (own,) = zygotes() - others
    return [str(pid) for pid in _pids() if _parent(pid) == own]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _is_zygote(pid: int) -> bool:
    return b"sandbox.runtime.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()


def a_machine(**changed: object) -> Machine:
    told: dict[str, object] = {
        "system": "Linux",
        "kernel": "6.8.0",
        "architecture": "x86_64",
        "uid": 1000,
        "landlock_abi": 4,
        "has_seccomp": True,
        "user_namespace_bar": "",
        "group": None,
    }
    return Machine(**{**told, **changed})  # type: ignore[arg-type]  # values by name


@pytest.mark.parametrize(
    ("changed", "promised", "repair"),
    [
        ({}, Level.L3, "Run the worker host as root"),
        ({"uid": 0}, Level.L4, None),
        ({"landlock_abi": 0, "uid": 0}, Level.L1, "Use Linux 5.13 or newer"),
        ({"has_seccomp": False, "uid": 0}, Level.L1, "CONFIG_SECCOMP_FILTER=y"),
        ({"user_namespace_bar": "user.max_user_namespaces"}, Level.L2, "sysctl -w user.max_user_namespaces=15000"),
        ({"user_namespace_bar": "kernel.unprivileged_userns_clone"}, Level.L2, "kernel.unprivileged_userns_clone=1"),
        ({"user_namespace_bar": "kernel.apparmor_restrict_unprivileged_userns"}, Level.L2, "AppArmor profile"),
        ({"architecture": "riscv64", "uid": 0}, Level.L1, "x86_64 or aarch64"),
        ({"system": "Darwin"}, Level.L1, "Linux container"),
    ],
)
def test_each_gap_names_its_repair(changed: dict[str, object], promised: Level, repair: str | None) -> None:
    machine = a_machine(**changed)
    assert best_promised(machine) == promised
    repairs = [gap.repair for gap in gaps(machine)]
    assert repairs == [] if repair is None else repair in repairs[0]


def test_the_command_says_what_the_machine_proves() -> None:
    done = subprocess.run([sys.executable, "-m", "sandbox.runtime"], capture_output=True, text=True, check=True)
    assert Level[done.stdout.strip()] >= TEST_LEVEL

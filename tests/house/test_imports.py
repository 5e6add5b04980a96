"""The import contracts hold, and each of them breaks when it should: violations are planted in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ROOT_PACKAGES = ("platform_core", "plugins", "capability_packs", "sandbox")
CAPABILITIES = "platform_core.capabilities"
BROKEN = re.compile(r"^(?P<name>.+?)\s+BROKEN\b", re.MULTILINE)

LAYERS = "The core imports downwards only"
INSIDE = "Inside a capability: router, tasks > service > repository > models > schemas, errors"
DIRECTION = "Capabilities use each other in one direction only; the way back is an event or a hook"
BOTTOM = "Payments builds on no other capability"
CONTRACTS = "Plugins and packs import platform_core.contracts and nothing else of ours"
STRANGERS = "No plugin or pack imports another"
RUNTIME = "The confined runtime imports platform_core.contracts and nothing else of ours"
SANDBOX = (
    "The sandbox uses the core's services and schemas, as consoles do: no bootstrap, no capability's queries or tables"
)
ALONE = "The core imports no plugin, no pack and no sandbox; bootstrap alone wires the sandbox"

# A capability and a plugin that .importlinter has never heard of: wildcards must cover them.
NEW = {
    "platform_core/capabilities/loyalty/__init__.py": "",
    "platform_core/capabilities/loyalty/service.py": "",
    "platform_core/capabilities/loyalty/repository.py": "",
    "platform_core/capabilities/loyalty/models.py": "",
    "platform_core/capabilities/loyalty/router.py": "",
    "platform_core/capabilities/loyalty/tasks.py": "",
    "platform_core/capabilities/gifts/__init__.py": "",
    "platform_core/capabilities/gifts/service.py": "",
    "plugins/stranger/__init__.py": "",
    "plugins/newcomer/__init__.py": "",
    "capability_packs/bakery/__init__.py": "",
    "sandbox/planted.py": "",
}
LOYALTY = "platform_core/capabilities/loyalty"
VIOLATIONS = {
    "kernel imports contracts": ({"platform_core/kernel/planted.py": "import platform_core.contracts"}, {LAYERS}),
    "ledger imports a capability": (
        {"platform_core/ledger/planted.py": "from platform_core.capabilities.loyalty import service"},
        {LAYERS},
    ),
    "ledger imports identity": ({"platform_core/ledger/planted.py": "import platform_core.identity"}, {LAYERS}),
    "delivery imports consoles": ({"platform_core/delivery/planted.py": "import platform_core.consoles"}, {LAYERS}),
    "governance imports a capability": (
        {"platform_core/governance/planted.py": "import platform_core.capabilities.loyalty"},
        {LAYERS},
    ),
    "a capability imports bootstrap": ({f"{LOYALTY}/service.py": "import platform_core.bootstrap"}, {LAYERS}),
    "a package without a layer": ({"platform_core/annex/__init__.py": ""}, {LAYERS}),
    "an import inside a function": (
        {"platform_core/kernel/planted.py": "def late() -> None:\n    import platform_core.ledger"},
        {LAYERS},
    ),
    "repository imports service": (
        {f"{LOYALTY}/repository.py": "from platform_core.capabilities.loyalty import service"},
        {INSIDE},
    ),
    "service imports router": (
        {f"{LOYALTY}/service.py": "from platform_core.capabilities.loyalty import router"},
        {INSIDE},
    ),
    "router imports tasks": (
        {f"{LOYALTY}/router.py": "from platform_core.capabilities.loyalty import tasks"},
        {INSIDE},
    ),
    "models reach service through a third file": (
        {
            f"{LOYALTY}/models.py": "from platform_core.capabilities.loyalty import detour",
            f"{LOYALTY}/detour.py": "from platform_core.capabilities.loyalty import service",
        },
        {INSIDE},
    ),
    "two capabilities use each other": (
        {
            f"{LOYALTY}/service.py": "from platform_core.capabilities.gifts import service",
            "platform_core/capabilities/gifts/service.py": "from platform_core.capabilities.loyalty import models",
        },
        {DIRECTION},
    ),
    "payments uses a capability": (
        {"platform_core/capabilities/payments/planted.py": "from platform_core.capabilities.loyalty import service"},
        {BOTTOM},
    ),
    "a plugin imports the core": ({"plugins/stranger/__init__.py": "import platform_core.kernel"}, {CONTRACTS}),
    "a plugin imports a service": (
        {"plugins/stranger/hooks.py": "from platform_core.capabilities.loyalty import service"},
        {CONTRACTS},
    ),
    "a plugin imports the sandbox": ({"plugins/stranger/hooks.py": "import sandbox.planted"}, {CONTRACTS}),
    "a pack imports the core": ({"capability_packs/bakery/code.py": "import platform_core.ledger"}, {CONTRACTS}),
    "a plugin imports a plugin": ({"plugins/stranger/hooks.py": "import plugins.newcomer"}, {STRANGERS}),
    "a plugin imports a pack": ({"plugins/stranger/hooks.py": "import capability_packs.bakery"}, {STRANGERS}),
    "the core imports a plugin": ({"platform_core/plugin_host/planted.py": "import plugins.stranger"}, {ALONE}),
    "bootstrap imports a plugin": ({"platform_core/bootstrap/planted.py": "import plugins.stranger"}, {ALONE}),
    "the core imports a pack": ({"platform_core/packages/planted.py": "import capability_packs.bakery"}, {ALONE}),
    "the core imports the sandbox": ({"platform_core/plugin_host/planted.py": "import sandbox.planted"}, {ALONE}),
    "the runtime imports the core": (
        {"sandbox/runtime/planted.py": "from platform_core.kernel import settings"},
        {RUNTIME},
    ),
    "the testbed imports a capability's queries": (
        {"sandbox/testbed/planted.py": "from platform_core.capabilities.loyalty import repository"},
        {SANDBOX},
    ),
    "a simulator imports a capability's tables": (
        {"sandbox/simulators/planted.py": "from platform_core.capabilities.loyalty import models"},
        {SANDBOX},
    ),
    "a simulator imports bootstrap": (
        {"sandbox/simulators/planted.py": "import platform_core.bootstrap"},
        {SANDBOX},
    ),
    "a console imports the testbed": ({"platform_core/consoles/planted.py": "import sandbox.testbed"}, {ALONE}),
    "delivery imports a simulator": ({"platform_core/delivery/planted.py": "import sandbox.simulators"}, {ALONE}),
    "the runtime imports the testbed": ({"sandbox/runtime/planted.py": "import sandbox.testbed"}, {RUNTIME}),
}
ALLOWED = {
    "sandbox/runtime/planted.py": "import platform_core.contracts.hooks, sandbox.runtime.levels",
    "sandbox/testbed/planted.py": "from platform_core.capabilities.loyalty import service\nimport platform_core.kernel",
    "sandbox/simulators/planted.py": "from platform_core.capabilities.loyalty import service",
    "platform_core/bootstrap/planted.py": "import sandbox.planted, platform_core.consoles, platform_core.kernel",
    f"{LOYALTY}/router.py": "from platform_core.capabilities.loyalty import service, models",
    f"{LOYALTY}/service.py": "from platform_core.capabilities.gifts import service",
    "platform_core/capabilities/payments/planted.py": "import platform_core.ledger, platform_core.contracts",
    "plugins/stranger/hooks.py": "import platform_core.contracts",
    "plugins/stranger/tests/__init__.py": "",
    "plugins/stranger/tests/test_hooks.py": "import sandbox.planted",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The four packages with some newcomers, and the contracts."""
    for package in ROOT_PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    plant(tmp_path, NEW)
    return tmp_path


def test_the_tree_keeps_every_contract() -> None:
    status, broken, output = lint(ROOT)
    assert (status, broken) == (0, set()), output


def test_what_the_design_allows_is_kept(copy: Path) -> None:
    plant(copy, ALLOWED)
    status, broken, output = lint(copy)
    assert (status, broken) == (0, set()), output


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(copy: Path, name: str) -> None:
    files, expected = VIOLATIONS[name]
    plant(copy, files)
    status, broken, output = lint(copy)
    assert (status, broken) == (1, expected), output


def test_a_capability_enters_another_by_its_service_only() -> None:
    graph = grimp.build_graph(*ROOT_PACKAGES, cache_dir=None)
    assert list(side_doors(graph)) == []


def test_a_side_door_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (
        ("gifts.service", "payments.service"),
        ("gifts.service", "payments.service.refunds"),
        ("gifts.service", "gifts.repository"),
        ("gifts.router", "payments.repository"),
    ):
        graph.add_import(importer=f"{CAPABILITIES}.{importer}", imported=f"{CAPABILITIES}.{imported}")
    assert list(side_doors(graph)) == [f"{CAPABILITIES}.gifts.router -> {CAPABILITIES}.payments.repository"]


def side_doors(graph: grimp.ImportGraph) -> Iterator[str]:
    """Imports from one capability into another that do not name its service."""
    depth = CAPABILITIES.count(".") + 1
    inside = [module for module in sorted(graph.modules) if module.startswith(f"{CAPABILITIES}.")]
    for importer in inside:
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            theirs = imported.split(".")[depth:]
            is_foreign = imported.startswith(f"{CAPABILITIES}.") and theirs[0] != importer.split(".")[depth]
            if is_foreign and theirs[1:2] != ["service"]:
                yield f"{importer} -> {imported}"


def plant(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into the copy."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")


def lint(folder: Path) -> tuple[int, set[str], str]:
    """Run import-linter as `make check` does: its status, the names of the broken contracts, its output."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, set(BROKEN.findall(done.stdout)), done.stdout + done.stderr

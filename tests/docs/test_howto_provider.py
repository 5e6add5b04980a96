"""docs/how-to/add-a-payment-provider.md: its folder passes the contract suite, is found, and takes a payment."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.kernel.clock import SystemClock
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.registry import Registry, build
from plugins import cash
from tests.docs.markdown import ROOT
from tests.docs.served import files, run, serving

pytestmark = [pytest.mark.docs]

PAGE = "docs/how-to/add-a-payment-provider.md"
TEST = "tests/docs/test_howto_provider.py"
SUITE_TESTS = 6  # the tests of `ProviderSuite`
LOAD = """
import json
from platform_core.plugin_host.registry import load_installed
registry = load_installed()
print(json.dumps([sorted(registry.payment_providers()), [problem.message for problem in registry.problems]]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's files where the page puts them."""
    found = files(PAGE, test=TEST)
    assert sorted(found) == [
        "meal_vouchers/__init__.py",
        "meal_vouchers/plugin.toml",
        "meal_vouchers/provider.py",
        "pyproject.toml",
        "tests/test_contract.py",
    ]
    for name, text in found.items():
        path = tmp_path / "meal-vouchers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "meal-vouchers"


@pytest.fixture
def registry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A generation of plugins with the page's among them."""
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("meal_vouchers")
    yield build([Plugin("cash", cash), Plugin("meal_vouchers", module)])
    for name in ("meal_vouchers.provider", "meal_vouchers"):
        del sys.modules[name]


def paths(folder: Path) -> dict[str, str]:
    """What an editable installation does for the importer."""
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


async def test_the_example_passes_the_contract_suite(folder: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    said = await run(command, folder=folder, extra=paths(folder))
    assert f"{SUITE_TESTS} passed" in said


async def test_the_entry_point_of_the_page_is_found_and_loaded(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (installed / "METADATA").write_text(metadata, encoding="utf-8")
    [(group, points)] = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    providers, problems = json.loads(await run((sys.executable, "-c", LOAD), folder=folder.parent, extra=paths(folder)))
    assert providers == ["cash", "meal_vouchers", "simulated_acquirer"]
    assert problems == []


def test_the_manifest_has_the_shape_of_our_own(folder: Path) -> None:
    shown = tomllib.loads((folder / "meal_vouchers" / "plugin.toml").read_text(encoding="utf-8"))
    ours = tomllib.loads((ROOT / "plugins" / "cash" / "plugin.toml").read_text(encoding="utf-8"))
    assert {key: type(value) for key, value in shown.items()} == {key: type(value) for key, value in ours.items()}
    assert shown["plugin"].keys() == ours["plugin"].keys()
    assert shown["providers"][0]["methods"] == ours["providers"][0]["methods"]


@pytest.mark.database
async def test_new_provider_edits_no_core_file(
    registry: Registry, database_url: str, acquirer: str, tmp_path: Path
) -> None:
    """juspay/hyperswitch-prism issue 1380: it takes a payment and refunds it, and no file of the platform knows it."""
    core = [path for path in (ROOT / "platform_core").rglob("*.py") if "meal_vouchers" in path.read_text("utf-8")]
    assert core == []
    home = tmp_path / "home"
    async with serving(database_url, clock=SystemClock(), home=home, acquirer_url=acquirer, registry=registry) as world:
        till = await world.new_till()
        await world.platform.payment_setup.add_channel_account(
            till.merchant_id, provider_id="meal_vouchers", name="Vouchers", settings={}, secrets={}
        )
        paid = (await till.pay(channel="meal_vouchers", order_minor=1_200)).json()
        assert (paid["state"], paid["amounts"]["captured_minor"]) == ("captured", 1_200)
        shown = (await till.get(f"/payments/{paid['id']}?expand=attempts")).json()
        assert [attempt["provider_id"] for attempt in shown["attempts"]] == ["meal_vouchers"]
        path = f"/payments/{paid['id']}/refunds"
        part = await till.post(path, {"out_request_no": "r1", "amount_minor": 500})
        assert (part.status_code, part.json()["code"]) == (409, "payments.state_conflict")
        whole = await till.post(path, {"out_request_no": "r2", "is_full": True})
        assert (whole.status_code, whole.json()["state"]) == (201, "succeeded")

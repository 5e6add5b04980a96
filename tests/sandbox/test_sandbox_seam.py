"""A sandbox's database is a sandbox's: its tables, its refusal of live merchants, and who else may open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_core.bootstrap.platform import open_platform
from platform_core.bootstrap.sandbox import all_sandbox_folders
from platform_core.identity.schemas import MerchantCreate
from platform_core.kernel.database import migrations, migrations_check
from platform_core.kernel.database.embedded import EmbeddedPostgres
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.settings import Settings
from tests.bootstrap.conftest import CommandLine, one_document

pytestmark = pytest.mark.database
ROOT = Path(__file__).resolve().parents[2]


def merchant(mode: str) -> MerchantCreate:
    return MerchantCreate(name="Hutong Coffee", mode=mode, industry="restaurant")  # type: ignore[arg-type]  # either


async def test_a_sandbox_creates_no_live_merchant(sandbox_database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, is_sandbox=True)
    async with open_platform(settings, DatabaseUrls(owner=sandbox_database_url), is_asking_plugins=False) as platform:
        with pytest.raises(PlatformError) as refused:
            await platform.parties.create_merchant(merchant("live"))
        assert refused.value.code == "identity.merchant_live_in_sandbox"
        assert await platform.parties.find_live() is None
        assert (await platform.parties.create_merchant(merchant("test"))).mode == "test"


async def test_a_sandbox_does_not_open_over_a_live_merchant(sandbox_database_url: str, tmp_path: Path) -> None:
    urls = DatabaseUrls(owner=sandbox_database_url)
    async with open_platform(Settings(home=tmp_path), urls, is_asking_plugins=False) as platform:
        made = await platform.parties.create_merchant(merchant("live"))
    with pytest.raises(PlatformError, match=made.id):
        async with open_platform(Settings(home=tmp_path, is_sandbox=True), urls, is_asking_plugins=False):
            raise AssertionError("opened")


def test_only_a_sandbox_gets_its_tables_and_opens_its_database(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    postgres.create_database("sandboxes_own")
    line = CommandLine({"ARSENAL_HOME": str(tmp_path), "ARSENAL_DATABASE_URL": postgres.url("sandboxes_own")})
    of_sandbox = sorted(migrations.heads_expected(all_sandbox_folders()) - migrations.heads_expected())
    assert "sandbox_0001" in migrations.revisions_known(all_sandbox_folders())
    plain = one_document(line.run("migrate", "--json").stdout)
    assert not set(of_sandbox) & set(plain["heads"])
    made = one_document(line.run("migrate", "--json", ARSENAL_IS_SANDBOX="true").stdout)
    assert made["applied"] == of_sandbox
    refused = line.run("migrate", "--json")
    assert (refused.exit_code, one_document(refused.stdout)["error"]["code"]) == (2, "cli.database_of_sandbox")
    assert line.run("migrate", "--check", ARSENAL_IS_SANDBOX="true").exit_code == 0
    postgres.sql("DROP DATABASE sandboxes_own WITH (FORCE)")


async def test_the_sandboxes_models_are_what_its_migrations_made(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("sandbox_drift")
    report = await migrations_check.check(postgres.url("sandbox_drift"), also=[ROOT / "sandbox"])
    postgres.sql("DROP DATABASE sandbox_drift WITH (FORCE)")
    assert "sandbox_clock" in report.described
    assert (report.drift, report.left_behind) == ((), ())

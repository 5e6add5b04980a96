"""Commands that look and answer: documents, exit statuses, the next command."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
import typer.main

from platform_core.bootstrap.cli import app
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database import migrations
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.bootstrap.conftest import CommandLine, one_document

pytestmark = pytest.mark.database
NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/none"


def found(line: CommandLine, status: int, **changed: str) -> dict[str, dict[str, str]]:
    """The doctor's findings by name, the worst of each name."""
    result = line.run("doctor", "--json", **changed)
    assert result.exit_code == status, result.output
    said = one_document(result.stdout)
    listed = said.get("error", said)["findings"]
    return {
        each["name"]: each for each in sorted(listed, key=lambda each: ["ok", "warning", "failed"].index(each["state"]))
    }


def test_every_command_offers_json() -> None:
    def leaves(command: object) -> list[object]:
        inner = getattr(command, "commands", {})
        return [leaf for each in inner.values() for leaf in leaves(each)] or [command]

    commands = leaves(typer.main.get_command(app))
    assert len(commands) == 83
    for command in commands:
        assert "--json" in [option for parameter in command.params for option in parameter.opts], command


def test_doctor_finds_an_installation_in_order(command_line: CommandLine) -> None:
    findings = found(command_line, 0)
    for name in ("python", "settings", "database", "durability", "clock", "migrations", "roles", "broker", "plugins"):
        assert findings[name]["state"] == "ok", findings[name]
    assert findings["plugins"]["words"] == "in use: cash, simulated_acquirer"


def test_doctor_finds_a_wrong_database_url(command_line: CommandLine) -> None:
    finding = found(command_line, 1, ARSENAL_DATABASE_URL=NOWHERE)["database"]
    assert finding["state"] == "failed"
    assert finding["next_step"] == "Check ARSENAL_DATABASE_URL and that the server runs"


def test_doctor_finds_an_unmigrated_database(unmigrated: CommandLine) -> None:
    finding = found(unmigrated, 1)["migrations"]
    assert finding["state"] == "failed"
    assert finding["next_step"] == "Run: arsenal migrate"


def test_doctor_finds_a_misspelt_setting(command_line: CommandLine) -> None:
    finding = found(command_line, 1, ARSENAL_LISTEN_PROT="8080")["settings"]
    assert finding["words"] == "ARSENAL_LISTEN_PROT is no setting; ARSENAL_LISTEN_PORT was probably meant"


def test_doctor_finds_a_broker_that_is_away(command_line: CommandLine) -> None:
    finding = found(command_line, 1, ARSENAL_BROKER_URL="redis://127.0.0.1:1/0")["broker"]
    assert (finding["state"], finding["words"].split(":")[0]) == ("failed", "redis")


def test_doctor_finds_a_database_that_forgets(command_line: CommandLine, database_url: str) -> None:
    async def weaken() -> None:
        connection = await asyncpg.connect(database_url)
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        await connection.close()

    asyncio.run(weaken())
    finding = found(command_line, 1)["durability"]
    assert finding["words"] == "synchronous_commit = off: an acknowledged payment could be lost"


def test_doctor_does_not_create_the_embedded_database(tmp_path: Path) -> None:
    findings = found(CommandLine({"ARSENAL_HOME": str(tmp_path / "home")}), 0)
    assert findings["database"]["state"] == "warning"
    assert not (tmp_path / "home" / "pg").exists()


def test_migrate_checks_then_migrates_then_has_nothing_to_do(unmigrated: CommandLine) -> None:
    heads = sorted(migrations.heads_expected())
    checked = unmigrated.run("migrate", "--check", "--json")
    assert checked.exit_code == 1
    assert one_document(checked.stdout)["error"]["missing"] == heads
    done = unmigrated.run("migrate", "--json")
    assert (done.exit_code, one_document(done.stdout)) == (0, {"heads": heads, "applied": heads})
    again = unmigrated.run("migrate", "--check", "--json")
    assert (again.exit_code, one_document(again.stdout)) == (0, {"heads": heads, "applied": []})


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("ledger", "verify"), ("outbox",)])
def test_a_command_refuses_an_unmigrated_database(unmigrated: CommandLine, command: tuple[str, ...]) -> None:
    result = unmigrated.run(*command)
    assert result.exit_code == 1
    assert "next: Run: arsenal migrate" in result.stderr


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("migrate",), ("ledger", "verify"), ("outbox",)])
def test_a_command_says_that_the_database_is_away(command_line: CommandLine, command: tuple[str, ...]) -> None:
    result = command_line.run(*command, "--json", ARSENAL_DATABASE_URL=NOWHERE)
    assert result.exit_code == 3
    assert one_document(result.stdout)["error"]["code"] == "cli.database_unreachable"


def test_a_setting_that_cannot_be_used_is_named(command_line: CommandLine) -> None:
    result = command_line.run("migrate", "--json", ARSENAL_LISTEN_PORT="many")
    assert result.exit_code == 2
    assert "ARSENAL_LISTEN_PORT" in one_document(result.stdout)["error"]["message"]


async def test_ledger_verify_names_what_is_damaged(
    command_line: CommandLine, database_url: str, committer: Committer
) -> None:
    merchant = "mer_1"
    money = [
        Account(merchant, "CNY", merchant, role, "", Guard.FREE) for role in ("channel_receivable", "platform_fee")
    ]
    await committer.commit(Plan(merchant, [Transfer("tra_1", *money, 100, "capture", "pay_1")]))
    sound = await asyncio.to_thread(command_line.run, "ledger", "verify", "--json")
    assert (sound.exit_code, one_document(sound.stdout)["transfers"]) == (0, 1)
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE ledger_account SET credits_posted = 90 WHERE role = 'platform_fee'")
    await owner.close()
    damaged = await asyncio.to_thread(command_line.run, "ledger", "verify", "--json")
    assert damaged.exit_code == 1
    rules = {offence["rule"] for offence in one_document(damaged.stdout)["error"]["report"]["offences"]}
    assert rules == {"unit_sum", "balance"}


def test_outbox_of_an_idle_platform_is_empty(command_line: CommandLine) -> None:
    result = command_line.run("outbox", "--json")
    said = one_document(result.stdout)
    assert (result.exit_code, said["unrelayed"], said["webhooks"]["dead"], said["dead"]) == (0, 0, 0, [])


def test_what_is_not_dead_is_not_sent_again(command_line: CommandLine) -> None:
    result = command_line.run("outbox", "resend", "whd_none", "--json")
    assert (result.exit_code, one_document(result.stdout)["error"]["left"]) == (1, ["whd_none"])
    assert command_line.run("outbox", "resend").exit_code == 2


def test_trigger_lists_and_refuses(command_line: CommandLine) -> None:
    listed = one_document(command_line.run("trigger", "--list", "--json").stdout)["scenarios"]
    wanted = {"success", "decline", "user-is-paying", "timeout-after-charge", "unknown", "slow", "duplicate-callback",
              "refund", "partial-capture"}  # fmt: skip
    assert wanted <= {each["name"] for each in listed}
    assert command_line.run("trigger", "no-such").exit_code == 2
    nowhere = command_line.run("trigger", "success", "--json")
    assert (nowhere.exit_code, one_document(nowhere.stdout)["error"]["code"]) == (2, "cli.no_target")

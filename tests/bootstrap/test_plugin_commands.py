"""`arsenal plugin`: the operator's side, and the examples of docs/how-to/operate-plugins.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from platform_core.plugin_host.allow_list import tree_hash_of
from tests.bootstrap.conftest import CommandLine, one_document
from tests.docs.markdown import examples
from tests.support.plugin_bundles import bundle_of

pytestmark = pytest.mark.database
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "operate-plugins.md"
CASH = "dev.arsenal.cash"
VELOCITY = "dev.arsenal.risk-velocity"


def merchant(command_line: CommandLine) -> str:
    made = command_line.run("merchant", "create", "--name", "Noodles", "--industry", "restaurant", "--json")
    return str(one_document(made.stdout)["id"])


def test_every_example_of_the_guide_works(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    id_, ran = merchant(command_line), 0
    for example in examples(PAGE):
        if example.language != "bash":
            continue
        for line in example.text.strip().splitlines():
            words = shlex.split(line.replace("$MERCHANT", id_))
            assert words[0] == "arsenal"
            done = command_line.run(*words[1:])
            assert done.exit_code == 0, (line, done.output)
            ran += 1
    assert ran == len(re.findall(r"^arsenal ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == 8


def test_a_plugin_is_installed_enabled_suspended_and_lifted_by_two(command_line: CommandLine) -> None:
    id_ = merchant(command_line)
    made = one_document(command_line.run("plugin", "install", CASH, "--merchant", id_, "--json").stdout)
    assert (made["plugin_id"], made["state"]) == (CASH, "consented")
    enabled = one_document(command_line.run("plugin", "enable", CASH, "--merchant", id_, "--json").stdout)
    assert enabled["state"] == "enabled"
    words = ("--rule", "PLG-007", "--reason", "Counts twice.", "--mode", "drain", "--json")
    pulled = one_document(command_line.run("plugin", "suspend", CASH, *words, LOGNAME="li").stdout)
    assert (pulled["state"], pulled["mode"], pulled["pulled_by"]) == ("pulled", "drain", "terminal:li")
    [shown] = one_document(command_line.run("plugin", "list", "--merchant", id_, "--json").stdout)["data"]
    assert shown["suspension"]["rule"] == "PLG-007"
    lift = ("plugin", "lift", pulled["id"], "--reason", "Repaired.", "--json")
    assert one_document(command_line.run(*lift, LOGNAME="li").stdout)["state"] == "pulled"
    alone = command_line.run(*lift, LOGNAME="li")
    assert (alone.exit_code, one_document(alone.stdout)["error"]["code"]) == (1, "plugins.second_person_needed")
    assert one_document(command_line.run(*lift, LOGNAME="wang").stdout)["state"] == "lifted"


def test_each_step_names_the_next_until_the_plugin_is_asked(command_line: CommandLine, tmp_path: Path) -> None:
    id_, bundle = merchant(command_line), bundle_of("risk_velocity", tmp_path)
    command_line.run("plugin", "list")  # enters the publisher of what comes with the platform

    def run(*words: str, by: str = "li") -> list[str]:
        done = command_line.run("plugin", *words, LOGNAME=by)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    review = f'arsenal plugin review {VELOCITY} --decision approve --note "..."'
    assert run("submit", str(bundle))[-1] == f"Next: {review}"
    approve = ("review", VELOCITY, "--decision", "approve", "--note", "Read.")
    assert run(*approve)[-1] == f"Next: {review}"  # it sees personal data: two people
    assert run(*approve, by="wang")[-1] == f"Next: arsenal plugin publish {VELOCITY}"
    assert run("publish", VELOCITY)[-1] == f"Next: arsenal plugin install {VELOCITY} --merchant mer_..."
    assert run("install", VELOCITY, "--merchant", id_)[-1] == f"Next: arsenal plugin enable {VELOCITY} --merchant {id_}"
    assert run("enable", VELOCITY, "--merchant", id_) == [f"{VELOCITY} 1.0.0 is enabled."]
    health = one_document("\n".join(run("health", VELOCITY, "--json")) + "\n")
    assert health["versions"] == [{"version": "1.0.0", "state": "published", "enabled_at": 1}]
    assert health["is_well"]


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("install", "example.acme.none", "--merchant", "{merchant}"), "plugins.not_found", 1),
        (("install", CASH, "--merchant", "mer_none"), "identity.merchant_not_found", 1),
        (("enable", CASH, "--merchant", "{merchant}"), "plugins.installation_not_found", 1),
        (("rollback", CASH, "--reason", "x"), "cli.wrong_use", 2),
        (("rollback", CASH, "--version", "9.9.9", "--reason", "x"), "plugins.release_not_found", 1),
        (("upgrade", CASH, "--version", "9.9.9"), "plugins.release_not_found", 1),
        (("suspend", CASH, "--rule", "no rule", "--reason", "x"), "cli.wrong_use", 2),
        (("lift", "psw_none", "--reason", "x"), "plugins.switch_not_found", 1),
        (("order", "example.acme.none"), "plugins.not_found", 1),
        (("publish", "prl_none"), "plugins.release_not_found", 1),
        (("review", "prl_none", "--decision", "approve", "--note", "x"), "plugins.release_not_found", 1),
        (("submit", str(PAGE)), "plugins.bundle_refused", 1),
        (("health", "example.acme.none"), "plugins.not_found", 1),
        (("review", CASH, "--decision", "approve", "--note", "x"), "plugins.release_not_found", 1),
        (("publish", CASH), "plugins.release_not_found", 1),
    ],
)
def test_what_cannot_be_done_says_so(command_line: CommandLine, words: tuple[str, ...], code: str, status: int) -> None:
    id_ = merchant(command_line)
    done = command_line.run("plugin", *(word.format(merchant=id_) for word in words), "--json")
    assert (done.exit_code, one_document(done.stdout)["error"]["code"]) == (status, code), done.output
    shown = one_document(command_line.run("plugin", "list", "--merchant", id_, "--json").stdout)
    assert shown == {"data": []}


def test_the_hash_is_that_of_the_allow_list(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    told = one_document(command_line.run("plugin", "hash", str(tmp_path), "--json").stdout)
    assert told["tree_hash"] == tree_hash_of(tmp_path)
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    refused = command_line.run("plugin", "hash", str(tmp_path), "--json")
    assert (refused.exit_code, one_document(refused.stdout)["error"]["code"]) == (1, "plugins.link_in_tree")


def test_a_list_that_cannot_be_meant_stops_the_start(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "plugins.allow.toml"
    path.write_text("[[plugins", encoding="utf-8")
    done = command_line.run("plugin", "list", ARSENAL_PLUGINS_ALLOW_FILE=str(path))
    assert done.exit_code != 0
    assert "plugins.allow.toml" in done.output + str(done.exception)

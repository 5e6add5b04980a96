"""`arsenal staff`, `merchant`, `isv`, `app`: an installation begins with these, and with nothing else."""

from __future__ import annotations

import json

import pytest

from tests.bootstrap.conftest import CommandLine, one_document

pytestmark = pytest.mark.database


def test_the_first_administrator_is_invited_by_link(command_line: CommandLine) -> None:
    made = command_line.run("staff", "create-admin", "--email", "admin@op.example", "--language", "zh", "--json")
    assert made.exit_code == 0, made.output
    told = one_document(made.stdout)
    assert (told["email"], told["roles"]) == ("admin@op.example", ["security_admin"])
    assert told["link"].startswith(f"http://127.0.0.1:8080/sign-in/invitation/{told['id']}.")
    again = command_line.run("staff", "create-admin", "--email", "Admin@op.example", "--json")
    assert (again.exit_code, one_document(again.stdout)["error"]["code"]) == (1, "identity.staff_exists")


def test_messages_are_shown_once(command_line: CommandLine) -> None:
    made = one_document(command_line.run("staff", "create-admin", "--email", "admin@op.example", "--json").stdout)
    first = one_document(command_line.run("staff", "messages", "--json").stdout)["messages"]
    assert [(each["kind"], each["to"], each["link"]) for each in first] == [
        ("invitation", "admin@op.example", made["link"])
    ]
    assert one_document(command_line.run("staff", "messages", "--json").stdout) == {"messages": []}


def test_merchant_isv_and_app_need_no_script(command_line: CommandLine) -> None:
    words = ("--name", "Hutong Coffee", "--industry", "restaurant", "--store", "Drum Tower", "--store", "Wudaokou")
    merchant = one_document(
        command_line.run("merchant", "create", *words, "--owner-email", "o@shop.example", "--json").stdout
    )
    assert (merchant["mode"], merchant["verification"], len(merchant["stores"])) == ("test", "unverified", 2)
    assert merchant["owner"]["roles"] == ["owner"]
    isv = one_document(command_line.run("isv", "create", "--name", "Lantern", "--json").stdout)
    assert (isv["tier"], isv["owner"]) == ("sandbox", None)
    app = one_document(
        command_line.run("app", "create", "--name", "Till", "--merchant", merchant["id"],
                         "--scope", "payments:write", "--scope", "stores:read", "--json").stdout
    )  # fmt: skip
    assert app["secret"]["secret"].startswith("ask_test_")
    hub = command_line.run("app", "create", "--name", "Hub", "--isv", isv["id"])
    assert hub.exit_code == 0
    assert "shown this once" in hub.stdout


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("staff", "create-admin", "--email", "nonsense"), "cli.wrong_use", 2),
        (("isv", "create", "--name", "X", "--owner-email", "nonsense"), "cli.wrong_use", 2),
        (("merchant", "create", "--name", "X", "--industry", "NOT ONE"), "cli.wrong_use", 2),
        (("app", "create", "--name", "X"), "identity.owner_not_found", 1),
        (("app", "create", "--name", "X", "--isv", "isv_x", "--scope", "a:b"), "cli.wrong_use", 2),
    ],
)
def test_wrong_words_write_nothing(command_line: CommandLine, words: tuple[str, ...], code: str, status: int) -> None:
    done = command_line.run(*words, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (status, code)
    assert one_document(command_line.run("staff", "messages", "--json").stdout) == {"messages": []}

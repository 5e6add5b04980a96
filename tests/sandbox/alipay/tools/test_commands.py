"""`arsenal sandbox alipay`: what a developer does before the first request, and after the first refusal."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sandbox.simulators.alipay_gateway.doctor import HYPOTHESES
from sandbox.simulators.alipay_gateway.signing import request_text, sign
from tests.bootstrap.conftest import CommandLine, one_document
from tests.docs.markdown import ROOT, examples
from tests.sandbox.alipay.keys import key, public_text

pytestmark = pytest.mark.database
ALIPAY = ("sandbox", "alipay")
GUIDE = ROOT / "docs/how-to/alipay-keys-and-signatures.md"


@pytest.fixture
def line(sandbox_database_url: str, tmp_path: Path) -> CommandLine:
    """The command line of a sandbox."""
    return CommandLine(
        {
            "ARSENAL_HOME": str(tmp_path / "home"),
            "ARSENAL_DATABASE_URL": sandbox_database_url,
            "ARSENAL_IS_SANDBOX": "true",
        }
    )


def test_from_a_new_key_to_the_cause_of_a_refusal(line: CommandLine, tmp_path: Path) -> None:
    isv = one_document(line.run("isv", "create", "--name", "Lantern", "--json").stdout)
    app = one_document(line.run("app", "create", "--name", "Hub", "--isv", isv["id"], "--json").stdout)
    folder = tmp_path / "keys"
    made = line.run(*ALIPAY, "keys", "generate", "--out", str(folder))
    assert made.exit_code == 0, made.output
    assert "Upload the public one" in made.stdout
    assert "PRIVATE KEY" not in made.stdout
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert line.run(*ALIPAY, "keys", "generate", "--out", str(folder)).exit_code == 2

    of = ("--app", app["client"]["id"])
    private = line.run(*ALIPAY, "keys", "upload", str(folder / "app_private_pkcs8.pem"), *of, "--json")
    assert (private.exit_code, one_document(private.stdout)["error"]["code"]) == (2, "cli.wrong_use")
    (tmp_path / "ours.pem").write_text(public_text(key("app")))
    assert line.run(*ALIPAY, "keys", "upload", str(tmp_path / "ours.pem"), *of).exit_code == 0
    told = one_document(line.run(*ALIPAY, "app", "--app", app["id"], "--json").stdout)
    assert told["inbox"] == f"http://127.0.0.1:8080/sandbox/inbox/{told['app_number']}"
    assert told["key_fingerprint"] is not None

    pairs = {"app_id": told["app_number"], "method": "alipay.trade.query", "sign_type": "RSA2"}
    text = request_text((name.encode(), value.encode()) for name, value in pairs.items())
    sent = tmp_path / "sent.txt"
    sent.write_text(urlencode({**pairs, "sign": sign(key("app"), text, sign_type="RSA")}))
    found = line.run(*ALIPAY, "doctor", "--app", told["app_number"], "--parameters", str(sent))
    assert found.exit_code == 1
    assert "Signed with the other hash than sign_type says." in found.stdout
    assert text.decode() in found.stdout.replace("\n", "")


def test_the_examples_of_the_guide_run(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/alipay-keys-and-signatures.md."""
    isv = one_document(line.run("isv", "create", "--name", "Lantern", "--json").stdout)
    app = one_document(line.run("app", "create", "--name", "Hub", "--isv", isv["id"], "--json").stdout)
    monkeypatch.chdir(tmp_path)
    [block] = [e for e in examples(GUIDE) if e.language == "bash"]
    for command in block.text.strip().splitlines():
        words = shlex.split(command.replace("$ARSENAL_CLIENT_ID", app["client"]["id"]))
        assert words[0] == "arsenal"
        done = line.run(*words[1:])
        assert done.exit_code == 0, done.output
    assert "/gateway.do" in done.stdout


def test_the_guide_names_every_cause() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert listed == [hypothesis.code for hypothesis in HYPOTHESES]


def test_outside_of_a_sandbox_there_are_no_such_tools(line: CommandLine) -> None:
    refused = line.run(*ALIPAY, "app", "--app", "app_x", "--json", ARSENAL_IS_SANDBOX="false")
    assert (refused.exit_code, one_document(refused.stdout)["error"]["code"]) == (2, "cli.no_sandbox")
    unknown = line.run(*ALIPAY, "app", "--app", "app_x", "--json")
    assert (unknown.exit_code, one_document(unknown.stdout)["error"]["code"]) == (2, "cli.no_app")

"""`arsenal plugin submit` for bundles and remote plugins, at the terminal and by REST."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from platform_core.identity.schemas import AppCreate, IsvCreate
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.database.embedded import EmbeddedPostgres
from tests.bootstrap.conftest import CommandLine, one_document
from tests.bootstrap.test_remote_plugins import listening, manifest
from tests.support.plugin_bundles import bundle_of
from tests.support.processes import free_port
from tests.support.world import open_world

pytestmark = pytest.mark.database
FAR = "example.acme.far"


def test_a_remote_plugin_is_submitted_signed_and_published_at_the_terminal(
    command_line: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "plugin.toml"
    file.write_text(manifest("isv_nobody", FAR), encoding="utf-8")
    unknown = command_line.run("plugin", "submit", str(file), "--json")
    assert one_document(unknown.stdout)["error"]["code"] == "plugins.publisher_unknown"
    isv = one_document(command_line.run("isv", "create", "--name", "Acme", "--json").stdout)
    file.write_text(manifest(isv["id"], FAR), encoding="utf-8")
    made = one_document(command_line.run("plugin", "submit", str(file), "--json").stdout)
    assert "error" not in made, made
    assert (made["plugin_id"], made["tier"], made["state"]) == (FAR, "remote", "in_review")
    review = ("plugin", "review", made["id"], "--decision", "approve", "--note", "Fine.", "--json")
    assert one_document(command_line.run(*review).stdout)["state"] == "approved"
    refused = command_line.run("plugin", "publish", made["id"], "--json")
    assert one_document(refused.stdout)["error"]["code"] == "plugins.signing_secret_needed"
    first = one_document(command_line.run("plugin", "secret", FAR, "--json").stdout)
    second = one_document(command_line.run("plugin", "secret", FAR, "--overlap-s", "60", "--json").stdout)
    assert first["secret"].startswith("whsec_")
    assert second["secret"] != first["secret"]
    assert (first["retires_at"], second["version"]) == (None, 2)
    assert second["retires_at"] is not None
    assert one_document(command_line.run("plugin", "publish", made["id"], "--json").stdout)["state"] == "published"


@pytest.mark.parametrize("words", [("--url", "http://127.0.0.1:1"), ("--token-file", "{file}")])
def test_where_and_as_whom_go_together(command_line: CommandLine, tmp_path: Path, words: tuple[str, str]) -> None:
    file = tmp_path / "plugin.toml"
    file.write_text(manifest("isv_acme", FAR), encoding="utf-8")
    done = command_line.run("plugin", "submit", str(file), words[0], words[1].format(file=file), "--json")
    assert (done.exit_code, one_document(done.stdout)["error"]["code"]) == (2, "cli.wrong_use")


def test_a_platform_that_is_not_there_and_a_file_that_is_no_token_are_named(
    command_line: CommandLine, tmp_path: Path
) -> None:
    file, token = tmp_path / "plugin.toml", tmp_path / "token"
    file.write_text(manifest("isv_acme", FAR), encoding="utf-8")
    token.write_text("ey.some.token\n")
    for held, status, code in ((token, 3, "cli.platform_unreachable"), (file, 2, "cli.no_token")):
        words = ("--url", f"http://127.0.0.1:{free_port()}", "--token-file", str(held), "--json")
        done = command_line.run("plugin", "submit", str(file), *words)
        assert (done.exit_code, one_document(done.stdout)["error"]["code"]) == (status, code)


async def test_a_publishers_app_submits_by_rest(
    command_line: CommandLine, postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    async with (
        open_world(
            database_url, clock=SystemClock(), home=tmp_path, acquirer_url="http://a.invalid", origin=origin
        ) as world,
        listening(world.app, port),
    ):
        isv = await world.platform.parties.create_isv(IsvCreate(name="Acme"))
        app = await world.platform.apps.create_app(
            AppCreate(name="CI", mode="live", isv_id=isv.id, api_version="2026-11-22")
        )
        asked = {"grant_type": "client_credentials", "scope": "plugins:submit"}
        token = await world.client.post("/oauth/token", data=asked, auth=(app.client.id, app.secret.secret))
        assert token.status_code == 200, token.text
        secret = tmp_path / "token"
        secret.write_text(token.json()["access_token"] + "\n")
        toml = tmp_path / "plugin.toml"
        toml.write_text(manifest(isv.id, FAR), encoding="utf-8")
        bundle = bundle_of("risk_velocity", tmp_path, publisher=isv.id)
        stranger = bundle_of("smart_routing", tmp_path)
        there = ("--url", origin, "--token-file", str(secret), "--json")

        def submit(file: Path) -> dict[str, object]:
            return one_document(
                command_line.run("plugin", "submit", str(file), *there, ARSENAL_DATABASE_URL="x").stdout
            )

        remote = await asyncio.to_thread(submit, toml)
        assert (remote["plugin_id"], remote["tier"]) == (FAR, "remote")
        packed = await asyncio.to_thread(submit, bundle)
        assert (packed["plugin_id"], packed["state"]) == ("dev.arsenal.risk-velocity", "in_review")
        assert await asyncio.to_thread(submit, bundle) == packed
        refused = await asyncio.to_thread(submit, stranger)
        assert refused["error"]["code"] == "plugins.publisher_refused"  # type: ignore[index]

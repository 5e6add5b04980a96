"""What `arsenal plugin submit` hands in, a bundle or the manifest of a remote plugin, and how it is sent by REST."""

from __future__ import annotations

import hashlib
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from platform_core.bootstrap.terminal import UNREACHABLE, WRONG_USE, CliFailure
from platform_core.plugin_host.router_bundles import MEDIA_TYPE, UPLOAD_PATH

MANIFEST_SUFFIX: Final = ".toml"
REMOTE_PATH: Final = "/v1/plugin-releases"
_PIECE_BYTES: Final = 256 * 1024
_TIMEOUT: Final = httpx.Timeout(60.0, read=600.0)
"""A bundle is judged before it is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A file as its publisher hands it in."""

    file: Path
    change_log: str
    test_account: str

    @property
    def is_remote(self) -> bool:
        """Whether it is the manifest of a plugin that runs on its publisher's server."""
        return self.file.suffix == MANIFEST_SUFFIX

    def manifest(self) -> tuple[str, str | None]:
        """The text of plugin.toml and of the schema that it names, beside it. Raises CliFailure."""
        try:
            text = self.file.read_text(encoding="utf-8")
            config = tomllib.loads(text).get("config")
            named = config.get("schema") if isinstance(config, dict) else None
            schema = (self.file.parent / named).read_text(encoding="utf-8") if isinstance(named, str) else None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CliFailure(
                f"{self.file} cannot be read: {error}.",
                "Run: arsenal plugin check",
                WRONG_USE,
                code="plugins.manifest_refused",
            ) from error
        return text, schema


def send(handed: Handed, *, url: str, token_file: Path) -> dict[str, Any]:  # Any: JSON
    """Hand it to the platform at `url` under an access token with plugins:submit; the release. Raises CliFailure."""
    headers = {"Authorization": f"Bearer {_token(token_file)}"}
    try:
        with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT, trust_env=False) as client:
            answer = _send_manifest(client, handed) if handed.is_remote else _send_bundle(client, handed)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CliFailure(
            f"The platform at {url} does not answer: {error or type(error).__name__}.",
            "Check --url, which is the scheme, host and port of the platform",
            UNREACHABLE,
            code="cli.platform_unreachable",
        ) from error
    return _release(answer)


def _token(file: Path) -> str:
    token = file.read_text(encoding="utf-8", errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CliFailure(
            f"{file} holds no access token.",
            "Write the access_token that POST /oauth/token answers into it, and nothing else.",
            WRONG_USE,
            code="cli.no_token",
        )
    return token


def _send_manifest(client: httpx.Client, handed: Handed) -> httpx.Response:
    manifest, schema = handed.manifest()
    body = {
        "manifest": manifest,
        "config_schema": schema,
        "change_log": handed.change_log,
        "test_account": handed.test_account,
    }
    return client.post(REMOTE_PATH, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})


def _send_bundle(client: httpx.Client, handed: Handed) -> httpx.Response:
    with handed.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(handed.file.stat().st_size)}
    query = {"change_log": handed.change_log, "test_account": handed.test_account}
    return client.put(f"{UPLOAD_PATH}{digest}", content=_pieces(handed.file), headers=headers, params=query)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            yield piece


def _release(answer: httpx.Response) -> dict[str, Any]:  # Any: JSON
    try:
        said = answer.json()
        if answer.is_success:
            return dict(said)
        told = f"{said['detail']}", said.get("hint") or "See the guide operate-plugins.", str(said["code"])
    except (ValueError, KeyError, TypeError):
        told = f"The platform answered {answer.status_code}.", "Check --url.", "cli.unexpected_answer"
    raise CliFailure(told[0], told[1], code=told[2])

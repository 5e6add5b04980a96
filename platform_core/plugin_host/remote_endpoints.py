"""Where the remote plugins of this process are asked, and with what: read with each generation, kept in memory."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from platform_core.identity.vault import SealBroken, Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host import repository
from platform_core.plugin_host.egress import on_this_machine
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.models import signing_seal
from platform_core.plugin_host.remote import Endpoint

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Of one plugin, the newest first; the second one signs until `retires_at`."""

    materials: tuple[bytes, ...]
    retires_at: datetime | None


class RemoteEndpoints:
    """`remote.Endpoints`. A rotated secret signs within a second: its plan carries the news that makes a generation."""

    def __init__(self, *, database: Database, vault: Vault, clock: Clock, simulators: Mapping[str, str]) -> None:
        """`clock` is the real one, by which secrets retire. `simulators`: as `Egress` takes them."""
        self._database = database
        self._vault = vault
        self._clock = clock
        self._simulators = simulators
        self._urls: dict[tuple[str, str], str] = {}
        self._secrets: dict[str, _Secrets] = {}

    async def read(self, releases: Sequence[Release]) -> None:
        """Learn of remote releases. What an older generation knew stays: calls in flight finish on it."""
        remote = {one.key: one.manifest.remote.endpoint for one in releases if one.manifest.remote is not None}
        if not remote:
            return
        async with self._database.read_auth() as connection:
            rows = await repository.read_signing_secrets(connection, {plugin_id for plugin_id, _ in remote})
        for row in rows:
            try:
                boxes = tuple(self._vault.open(signing_seal(row.id), b64decode(box)) for box in row.boxes)
            except SealBroken:  # sealed under another key: it is asked no more, which its callers see and record
                log.error("plugin.signing_secret_unreadable", plugin=row.id)
                self._secrets.pop(row.id, None)
                continue
            self._secrets[row.id] = _Secrets(boxes, row.retires_at)
        self._urls.update({key: on_this_machine(url, self._simulators) for key, url in remote.items()})

    def of(self, plugin_id: str, version: str, /) -> Endpoint | None:
        """From memory; None for a release or a secret that nobody told of."""
        url, secrets = self._urls.get((plugin_id, version)), self._secrets.get(plugin_id)
        if url is None or secrets is None:
            return None
        has_two = secrets.retires_at is not None and secrets.retires_at > self._clock.now()
        return Endpoint(url, secrets.materials if has_two else secrets.materials[:1])

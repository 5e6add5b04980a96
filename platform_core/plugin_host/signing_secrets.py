"""What requests to a remote plugin are signed with: made and rotated by its publisher, shown once, kept sealed.

One secret for each plugin, as Standard Webhooks has one for each endpoint (specification 1.0, read 2026-11-22).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, get_args

from platform_core.kernel.commit import Audit, Change, Insert, Plan
from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.http.webhook_signing import make_secret, secret_text
from platform_core.plugin_host import repository
from platform_core.plugin_host.errors import NOT_REMOTE, PLUGIN_NOT_FOUND
from platform_core.plugin_host.host_deps import EVERYBODY, Extra, HostDeps, encoded, manifest_of, nothing_else
from platform_core.plugin_host.models import SIGNING_SECRETS, ReleaseState, signing_seal
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import SigningSecretRead, SigningSecretRotate

_ALL_STATES: Final = get_args(ReleaseState)


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """The publisher's side."""

    deps: HostDeps
    entropy: Callable[[int], bytes] = process_entropy

    async def get(self, plugin_id: str, *, isv_id: str | None) -> SigningSecretRead:
        """When it was made, without it; version 0 before there is one. 404 `plugins.not_found`, 409
        `plugins.not_remote`.

        `isv_id`: the publisher who asks; None for the operator.
        """
        _, before = await self._find(plugin_id, isv_id)
        if before is None:
            return _read(plugin_id, {"row_version": 0, "rotated_at": None, "retires_at": None})
        return _read(plugin_id, before._mapping)

    async def rotate(
        self,
        plugin_id: str,
        wanted: SigningSecretRotate,
        *,
        isv_id: str | None,
        by: str,
        extra: Extra = nothing_else,
    ) -> SigningSecretRead:
        """The first secret, or a new one; the answer alone shows it. What is kept under an idempotency key is without.

        The one before signs too for the overlap; any older one ends now. 404 `plugins.not_found`; 409
        `plugins.not_remote`.
        """
        plugin, before = await self._find(plugin_id, isv_id)
        now, secret = self.deps.real_clock.now(), make_secret(self.entropy)
        box = b64encode(self.deps.vault.seal(signing_seal(plugin_id), secret)).decode()
        has_overlap = before is not None and wanted.overlap_s > 0
        boxes = [box, before.boxes[0]] if before is not None and has_overlap else [box]
        values: dict[str, Any] = {  # Any: columns of the table
            "boxes": encoded(boxes),
            "retires_at": now + timedelta(seconds=wanted.overlap_s) if has_overlap else None,
            "rotated_at": now,
        }
        if before is None:
            row = {"id": plugin_id, "app_id": plugin.app_id, "row_version": 1, "created_at": now, **values}
            part: object = Insert(SIGNING_SECRETS, row)
        else:
            row = {**before._mapping, **values, "row_version": before.row_version + 1}
            part = Change(SIGNING_SECRETS, plugin_id, values, expected=before.row_version)
        answer = _read(plugin_id, row)
        facts = {"overlap_s": wanted.overlap_s if has_overlap else 0}
        plan = Plan(None).add(
            part,
            Audit("plugin.signing_secret_rotated", by, plugin_id, None, facts),
            self.deps.news(EVERYBODY, merchant_id=None, kind="plugins"),
            *extra(answer, plugin_id),
        )
        await self.deps.commit(plan, subject=plugin_id)
        return answer.model_copy(update={"secret": secret_text(secret)})

    async def _find(self, plugin_id: str, isv_id: str | None) -> tuple[Record, Record | None]:
        async with self.deps.database.read_auth() as connection:
            plugin = await repository.read_plugin(connection, plugin_id)
            releases = await repository.read_releases_of(connection, plugin_id, states=_ALL_STATES)
            before = await repository.read_signing_secret(connection, plugin_id)
        if plugin is None or isv_id not in (None, plugin.isv_id):
            raise PLUGIN_NOT_FOUND.error({"plugin_id": plugin_id})
        if not any(manifest_of(release.manifest).remote is not None for release in releases):
            raise NOT_REMOTE.error({"plugin_id": plugin_id})
        return plugin, before


def _read(plugin_id: str, row: Any) -> SigningSecretRead:  # Any: a mapping of the table's columns
    return SigningSecretRead(
        plugin_id=plugin_id,
        secret=None,
        version=row["row_version"],
        rotated_at=row["rotated_at"],
        retires_at=row["retires_at"],
    )

"""A merchant's secrets for a plugin: written, rotated, destroyed, and never read back by anybody."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from platform_core.contracts.manifest import SecretUse
from platform_core.kernel.commit import Change, Insert, Plan, Remove
from platform_core.kernel.i18n import Text
from platform_core.plugin_host import keyrings, repository
from platform_core.plugin_host.errors import SECRET_REFUSED, SECRET_UNKNOWN
from platform_core.plugin_host.host_deps import Extra, HostDeps, encoded, manifest_of, nothing_else
from platform_core.plugin_host.installation_parts import changed
from platform_core.plugin_host.installations import Actor, Installations
from platform_core.plugin_host.models import SECRETS, secret_seal
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.schemas import SecretRead, SecretWrite

_FORMS: Final[Mapping[str, str]] = {
    "token": "须为可见 ASCII 字符",
    "mac_key": "至少 16 字节",
    "aead_key": "须为 32 字节",
    "signing_key": "须为未加密的私钥 PEM：2048 位以上的 RSA、P-256 或 Ed25519",
    "public_key": "须为公钥 PEM：2048 位以上的 RSA、P-256 或 Ed25519",
}
"""What a secret of a kind looks like, in Chinese; what is wrong with one `keyrings.check` says in English."""
_TOKEN: Final = re.compile(r"[!-~]{1,4096}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SecretAdmin:
    """Secrets by the names that the installed release declares."""

    deps: HostDeps
    installations: Installations

    async def list(self, merchant_id: str, installation_id: str) -> Sequence[SecretRead]:
        """What the plugin asks for and whether it is there. 404 `plugins.installation_not_found`."""
        row, release = await self.installations.find(installation_id, merchant_id)
        async with self.deps.database.read(merchant_id) as connection:
            rows = await repository.read_secrets(connection, row.plugin_id, merchant_id=merchant_id)
        return [_read(row.id, use, rows.get(use.name)) for use in manifest_of(release.manifest).secrets]

    async def set(
        self, actor: Actor, installation_id: str, name: str, *, wanted: SecretWrite, extra: Extra = nothing_else
    ) -> SecretRead:
        """Store or rotate a secret. The value before lives on for the overlap; any older one ends now.

        404 `plugins.installation_not_found`, `plugins.secret_unknown`; 422 `plugins.secret_refused`.
        """
        row, use, before = await self._find(actor, installation_id, name)
        plain = _checked(use, wanted)
        now = self.deps.clock.now()
        box = b64encode(self.deps.vault.seal(secret_seal(actor.merchant_id, row.plugin_id, name), plain)).decode()
        has_overlap = before is not None and wanted.overlap_s > 0
        boxes = [box, before.boxes[0]] if before is not None and has_overlap else [box]
        values: dict[str, Any] = {
            "kind": use.kind,
            "boxes": encoded(boxes),
            "retires_at": now + timedelta(seconds=wanted.overlap_s) if has_overlap else None,
            "rotated_at": now,
        }
        if before is None:
            part: object = Insert(SECRETS, self._new_row(actor, row, name) | values)
        else:
            part = Change(SECRETS, before.id, values, expected=before.row_version)
        answer = SecretRead(
            installation_id=row.id,
            name=name,
            kind=use.kind,
            is_set=True,
            is_required=use.is_required,
            rotated_at=now,
            retires_at=values["retires_at"],
            used_at=None if before is None else before.used_at,
        )
        facts = {"secret": name, "overlap_s": wanted.overlap_s if has_overlap else 0}
        told = changed(self.deps, row, {}, change="secret_set", by=actor.id, facts=facts)
        plan = Plan(actor.merchant_id, [part, *told.parts, *extra(answer, row.id)])
        await self.deps.commit(plan, subject=row.id)
        return answer

    async def remove(self, actor: Actor, installation_id: str, name: str) -> None:
        """Destroy a secret. 404 `plugins.installation_not_found`, `plugins.secret_unknown`."""
        row, use, before = await self._find(actor, installation_id, name)
        if before is None:
            raise SECRET_UNKNOWN.error({"plugin_id": row.plugin_id, "name": use.name})
        told = changed(self.deps, row, {}, change="changed", by=actor.id, facts={"secret_removed": name})
        plan = Plan(actor.merchant_id, [Remove(SECRETS, before.id, expected=before.row_version), *told.parts])
        await self.deps.commit(plan, subject=row.id)

    async def _find(self, actor: Actor, installation_id: str, name: str) -> tuple[Record, SecretUse, Record | None]:
        row, release = await self.installations.find(installation_id, actor.merchant_id)
        use = next((use for use in manifest_of(release.manifest).secrets if use.name == name), None)
        if use is None:
            raise SECRET_UNKNOWN.error({"plugin_id": row.plugin_id, "name": name})
        async with self.deps.database.read(actor.merchant_id) as connection:
            rows = await repository.read_secrets(connection, row.plugin_id, merchant_id=actor.merchant_id)
        return row, use, rows.get(name)

    def _new_row(self, actor: Actor, row: Record, name: str) -> dict[str, Any]:
        return {
            "id": self.deps.ids.mint("pse"),
            "merchant_id": actor.merchant_id,
            "plugin_id": row.plugin_id,
            "name": name,
            "used_at": None,
            "row_version": 1,
            "created_at": self.deps.clock.now(),
        }


def _read(installation_id: str, use: SecretUse, row: Record | None) -> SecretRead:
    return SecretRead(
        installation_id=installation_id,
        name=use.name,
        kind=use.kind,
        is_set=row is not None,
        is_required=use.is_required,
        rotated_at=None if row is None else row.rotated_at,
        retires_at=None if row is None else row.retires_at,
        used_at=None if row is None else row.used_at,
    )


def _checked(use: SecretUse, wanted: SecretWrite) -> bytes:
    """The secret's bytes, found fit for their use now and not when the first payment needs them."""
    try:
        plain = b64decode(wanted.value, validate=True) if wanted.encoding == "base64" else wanted.value.encode()
    except (Base64Error, ValueError) as error:
        raise _refused(use, "it is not base64", "不是有效的 base64") from error
    if use.kind == "token" and (wanted.encoding != "utf8" or _TOKEN.fullmatch(wanted.value) is None):
        raise _refused(use, "it is not 1 to 4,096 visible ASCII characters", "须为 1 至 4096 个可见 ASCII 字符")
    try:
        keyrings.check(use.kind, plain)
    except keyrings.KeyUnfit as error:
        raise _refused(use, str(error), _FORMS[use.kind]) from error
    return plain


def _refused(use: SecretUse, en: str, zh: str) -> Exception:
    return SECRET_REFUSED.error({"kind": use.kind, "reason": Text(en=en, zh=zh)})

"""The clients of a party's own apps, as its people set them up: addresses, grant types, keys, signing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from platform_core.identity.apps import Apps
from platform_core.identity.client_keys import ClientKeys
from platform_core.identity.errors import CLIENT_NOT_FOUND, CLIENT_REFUSED
from platform_core.identity.oauth.assertion import ALGORITHMS as ASSERTION_ALGORITHMS
from platform_core.identity.oauth.clients import METHODS, METHODS_OF
from platform_core.identity.oauth.public_keys import ALGORITHMS
from platform_core.identity.own_apps import Extra, OwnApps
from platform_core.identity.principal import Principal
from platform_core.identity.schemas import ClientConfigure, ClientRead
from platform_core.identity.schemas_clients import ClientUpdate, OwnClientRead, PublicKeyAdd, PublicKeyRead
from platform_core.identity.schemas_keys import ClientKeyRead, ClientKeysRead
from platform_core.kernel.http.preconditions import check_version
from platform_core.kernel.i18n import Text

SIGN_IN_KINDS: Final = frozenset(kind for kind, known in ALGORITHMS.items() if set(known) & set(ASSERTION_ALGORITHMS))
"""Kinds of keys whose signatures are client assertions."""


@dataclass(frozen=True, slots=True)
class OwnClients:
    """Clients of the caller's own apps. Every method: 404 `identity.app_not_found` for another party's app, and
    `identity.client_not_found` for another app's client, like what does not exist.

    `expected` is the client's version that a change was decided on, else 412 `kernel.precondition_failed`.
    """

    own: OwnApps
    apps: Apps
    client_keys: ClientKeys

    async def get(self, who: Principal, app_id: str, client_id: str) -> OwnClientRead:
        """The client, never newer than its version says."""
        await self._check(who, app_id, client_id)
        client = await self.apps.client(client_id)  # before the keys, whose changes raise its version
        return _read(client, await self.client_keys.list(client_id))

    async def update(
        self, who: Principal, app_id: str, client_id: str, wanted: ClientUpdate, *, expected: int
    ) -> OwnClientRead:
        """Change what is given. Emits `app.client_changed`. 422 `identity.client_refused`."""
        before = await self.get(who, app_id, client_id)
        check_version(before.version, expected, object_id=client_id)
        values = wanted.model_dump(exclude_none=True)
        if not values:
            return before
        if wanted.profile == "money":
            await self._check_key(before)
        kept = before.model_dump(include={"profile", "redirect_uris", "grant_types", "requires_par"})
        wish = ClientConfigure.model_validate({**kept, **values})
        after = await self.apps.configure_client(client_id, wish, by=who.client_id, expected=expected)
        return _read(after, await self.client_keys.list(client_id))

    async def set_jwks_uri(
        self, who: Principal, app_id: str, client_id: str, uri: str | None, *, expected: int
    ) -> OwnClientRead:
        """Let the keys at `uri` count, or none of any address. Emits `app.key_changed`.

        Raises as `ClientKeys.set_uri`.
        """
        before = await self.get(who, app_id, client_id)
        check_version(before.version, expected, object_id=client_id)
        if before.jwks_uri == uri:
            return before
        await self.client_keys.set_uri(client_id, uri, by=who.client_id, expected=expected)
        return before.model_copy(update={"jwks_uri": uri, "version": expected + 1})

    async def set_signing(
        self, who: Principal, app_id: str, client_id: str, *, is_required: bool, expected: int
    ) -> OwnClientRead:
        """Let the client's requests count signed alone, or end that, within a second. Emits `app.key_changed`.

        Raises as `ClientKeys.require_signatures`.
        """
        before = await self.get(who, app_id, client_id)
        check_version(before.version, expected, object_id=client_id)
        if before.must_sign == is_required:
            return before
        await self.client_keys.require_signatures(
            client_id, is_required=is_required, by=who.client_id, expected=expected
        )
        return before.model_copy(update={"must_sign": is_required, "version": expected + 1})

    async def keys(self, who: Principal, app_id: str, client_id: str) -> Sequence[PublicKeyRead]:
        """The uploaded keys, the oldest first; at most five."""
        await self._check(who, app_id, client_id)
        return [_key(key, app_id) for key in (await self.client_keys.list(client_id)).keys]

    async def add_key(
        self, who: Principal, app_id: str, client_id: str, wanted: PublicKeyAdd, *, extra: Extra
    ) -> PublicKeyRead:
        """Take a public key. Emits `app.key_changed`. Raises as `ClientKeys.add`."""
        await self._check(who, app_id, client_id)

        def also(made: ClientKeyRead) -> Any:  # Any: the parts are whatever `extra` makes
            return extra(_key(made, app_id), made.id)

        return _key(await self.client_keys.add(client_id, wanted.jwk, by=who.client_id, also=also), app_id)

    async def remove_key(self, who: Principal, app_id: str, client_id: str, key_id: str) -> None:
        """Refuse what the key signs within a second. Emits `app.key_changed`. Raises as `ClientKeys.remove`."""
        await self._check(who, app_id, client_id)
        await self.client_keys.remove(client_id, key_id, by=who.client_id)

    async def _check(self, who: Principal, app_id: str, client_id: str) -> None:
        """That the client is of the app and the app the caller's; whoever acts by token stays in the token's mode."""
        app = await self.own.get(who, app_id)
        client = next((client for client in app.clients if client.id == client_id), None)
        if client is None or (who.kind == "app" and client.mode != who.mode):
            raise CLIENT_NOT_FOUND.error({"client_id": client_id})

    async def _check_key(self, client: OwnClientRead) -> None:
        """A client that signs in with a key alone has one; otherwise it would be locked out by this very change."""
        held = await self.client_keys.list(client.id)
        if held.jwks_uri is None and all(key.kind not in SIGN_IN_KINDS for key in held.keys):
            reason = Text(
                en="it signs in with a P-256 or RSA key and has none yet",
                zh="该类客户端须以 P-256 或 RSA 密钥登录，请先添加",
            )
            raise CLIENT_REFUSED.error({"reason": reason})


def _read(client: ClientRead, keys: ClientKeysRead) -> OwnClientRead:
    methods = [method for method in METHODS if method in METHODS_OF[client.profile]]
    return OwnClientRead(
        **client.model_dump(exclude={"may_introspect_any"}),
        authentication_methods=methods,
        jwks_uri=keys.jwks_uri,
        must_sign=keys.must_sign,
    )


def _key(key: ClientKeyRead, app_id: str) -> PublicKeyRead:
    return PublicKeyRead(**key.model_dump(), app_id=app_id)

"""Public keys by which a client's assertions and request signatures are verified: uploaded, or published at a jwks_uri.

A private key is never ours to see: `import_public_jwk` refuses one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select, text

from platform_core.identity import repository
from platform_core.identity.apps import nothing_else
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors import CHANGED_MEANWHILE, CLIENT_NOT_FOUND
from platform_core.identity.errors_keys import (
    JWKS_URI_REFUSED,
    KEY_EXISTS,
    KEY_NEEDED,
    KEY_NOT_FOUND,
    KEY_REFUSED,
    KEYS_ELSEWHERE,
    KEYS_FULL,
)
from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.key_sets import KeySets
from platform_core.identity.models import APP_CLIENTS
from platform_core.identity.models_keys import CLIENT_KEY_SETS, CLIENT_KEYS, CLIENT_SIGNING
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, KeyRefused, PublicKey, import_public_jwk
from platform_core.identity.revocation import RevocationFeed, news
from platform_core.identity.schemas_keys import ClientKeyRead, ClientKeysRead
from platform_core.kernel.commit import Audit, Change, Duplicate, Event, Insert, Plan, PlanRefused, Remove, Replayed
from platform_core.kernel.http.guarded_client import OutboundFailed, check_url
from platform_core.kernel.http.preconditions import changed_meanwhile, check_version

KEYS_MAX: Final = 5
AlsoAdded = Callable[[ClientKeyRead], Iterable[object]]
SIGNING_KINDS: Final = frozenset({"P-256", "Ed25519"})
_TO_VERIFY: Final = text("""
SELECT k.public_jwk, s.uri
FROM app_client c
LEFT JOIN client_key k ON k.client_id = c.id
LEFT JOIN client_key_set s ON s.id = c.id
WHERE c.id = :client_id ORDER BY k.created_at, k.id
""")
_keys, _sets, _signing = CLIENT_KEYS.table, CLIENT_KEY_SETS.table, CLIENT_SIGNING.table


@dataclass(frozen=True, slots=True)
class _Held:
    """A client and its keys as they were read together."""

    client: Row[Any]
    keys: Sequence[Row[Any]]
    key_set: Row[Any] | None
    must_sign: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """How a client's signatures are verified: by the set at an address, or by these keys."""

    uri: str | None
    keys: tuple[PublicKey, ...]


class ClientKeys:
    """Keeps clients' keys. Every change raises the client's version, so two at once cannot exceed what one may do."""

    def __init__(
        self, deps: IdentityDeps, sets: KeySets, feed: RevocationFeed, *, allow_loopback_http: bool = False
    ) -> None:
        """`feed` runs by the clock of `deps`."""
        self._deps = deps
        self._known = FeedCache(self._read_known, kind="client", feed=feed, clock=deps.clock)
        self._sets = sets
        self._reads = single_reads(deps.database)
        self._allow_loopback_http = allow_loopback_http

    async def find(self, client_id: str, *, kid: str | None = None) -> tuple[PublicKey, ...]:
        """The keys that may have signed for the client, as they stood at most a second ago; none for an unknown client.

        `kid` is what the signature names: a published set that lacks it is fetched anew, at most once a minute.
        """
        known = await self._known.get(client_id)
        return known.keys if known.uri is None else await self._sets.keys(known.uri, kid=kid)

    async def _read_known(self, client_id: str) -> _Known:
        async with self._reads.connect() as connection:
            rows = (await connection.execute(_TO_VERIFY, {"client_id": client_id})).all()
        keys = tuple(_imported(row.public_jwk) for row in rows if row.public_jwk is not None)
        return _Known(rows[0].uri if rows else None, keys)

    async def list(self, client_id: str) -> ClientKeysRead:
        """All keys, the oldest first. 404 `identity.client_not_found`."""
        held = await self._read(client_id)
        return ClientKeysRead(
            client_id=client_id,
            jwks_uri=held.key_set.uri if held.key_set is not None else None,
            must_sign=held.must_sign,
            keys=[ClientKeyRead.model_validate(row) for row in held.keys],
        )

    async def add(
        self, client_id: str, jwk: Mapping[str, Any], *, by: str, also: AlsoAdded = nothing_else
    ) -> ClientKeyRead:
        """Take a public key, `also` in its plan. Emits `app.key_changed`.

        422 `identity.key_refused`, `identity.keys_full`; 409 `identity.key_exists`, `identity.keys_elsewhere`,
        `identity.changed_meanwhile`; 404 `identity.client_not_found`.
        """
        try:
            key = import_public_jwk(dict(jwk), kinds=CLIENT_KINDS)
        except KeyRefused as refused:
            raise KEY_REFUSED.error({"reason": str(refused)}) from refused
        held = await self._read(client_id)
        if held.key_set is not None:
            raise KEYS_ELSEWHERE.error()
        for other in held.keys:
            if other.thumbprint == key.thumbprint:
                raise KEY_EXISTS.error({"key_id": other.id})
        if len(held.keys) >= KEYS_MAX:
            raise KEYS_FULL.error({"limit": KEYS_MAX})
        made = ClientKeyRead(
            id=self._deps.ids.mint("key"),
            client_id=client_id,
            thumbprint=key.thumbprint,
            kid=key.kid,
            kind=key.kind,
            added_by=by,
            created_at=self._deps.clock.now(),
        )
        row = {**made.model_dump(), "merchant_id": held.client.merchant_id, "public_jwk": _stored(key)}
        facts = {"key": made.id, "thumbprint": made.thumbprint, "kind": made.kind}
        audit = self._audit(held, "app.key_added", by=by, facts=facts)
        await self._commit(held, Insert(CLIENT_KEYS, row), audit, *also(made))
        return made

    async def remove(self, client_id: str, key_id: str, *, by: str) -> None:
        """Refuse what the key signs: in this process at once, in all within a second. Emits `app.key_changed`.

        404 `identity.key_not_found`, `identity.client_not_found`; 409 `identity.changed_meanwhile`.
        """
        held = await self._read(client_id)
        gone = next((row for row in held.keys if row.id == key_id), None)
        if gone is None:
            raise KEY_NOT_FOUND.error({"key_id": key_id})
        facts = {"key": key_id, "thumbprint": gone.thumbprint}
        await self._commit(held, Remove(CLIENT_KEYS, key_id), self._audit(held, "app.key_removed", by=by, facts=facts))

    async def set_uri(self, client_id: str, uri: str | None, *, by: str, expected: int | None = None) -> None:
        """Let the set at `uri` count from now on; None ends that. Emits `app.key_changed`.

        `expected`: the client's version that the caller saw, else 412 `kernel.precondition_failed`. 422
        `identity.jwks_uri_refused`; 409 `identity.keys_elsewhere`, `identity.changed_meanwhile`; 404
        `identity.client_not_found`.
        """
        if uri is not None:
            try:
                check_url(uri, allow_loopback_http=self._allow_loopback_http)
            except OutboundFailed as failed:
                raise JWKS_URI_REFUSED.error({"reason": failed.detail}) from failed
        held = await self._read(client_id, expected=expected)
        if held.keys:
            raise KEYS_ELSEWHERE.error()
        before = held.key_set
        if before is not None:
            part: object = (
                Remove(CLIENT_KEY_SETS, client_id, expected=before.version)
                if uri is None
                else Change(CLIENT_KEY_SETS, client_id, {"uri": uri, "set_by": by}, expected=before.version)
            )
        elif uri is None:
            return
        else:
            row = {"id": client_id, "merchant_id": held.client.merchant_id, "uri": uri, "set_by": by, "version": 1}
            part = Insert(CLIENT_KEY_SETS, {**row, "created_at": self._deps.clock.now()})
        audit = self._audit(held, "app.jwks_uri_changed", by=by, facts={"uri": uri})
        await self._commit(held, part, audit, is_expected=expected is not None)

    async def require_signatures(
        self, client_id: str, *, is_required: bool, by: str, expected: int | None = None
    ) -> None:
        """Let the client's requests count signed alone within a second, or end that. Emits `app.key_changed`.

        `expected` as for `set_uri`. 422 `identity.key_needed`; 409 `identity.changed_meanwhile`; 404
        `identity.client_not_found`.
        """
        held = await self._read(client_id, expected=expected)
        if held.must_sign == is_required:
            return
        if is_required and held.key_set is None and all(row.kind not in SIGNING_KINDS for row in held.keys):
            raise KEY_NEEDED.error()
        row = {"id": client_id, "merchant_id": held.client.merchant_id, "set_by": by}
        made = Insert(CLIENT_SIGNING, {**row, "created_at": self._deps.clock.now()})
        audit = self._audit(held, "app.signing_changed", by=by, facts={"is_required": is_required})
        part = made if is_required else Remove(CLIENT_SIGNING, client_id)
        await self._commit(held, part, audit, is_expected=expected is not None)

    async def _read(self, client_id: str, *, expected: int | None = None) -> _Held:
        async with self._deps.database.read_auth() as connection:
            client = await repository.read_client(connection, client_id)
            if client is None:
                raise CLIENT_NOT_FOUND.error({"client_id": client_id})
            if expected is not None:
                check_version(client.version, expected, object_id=client_id)
            keys = select(_keys).where(_keys.c.client_id == client_id).order_by(_keys.c.created_at, _keys.c.id)
            rows = (await connection.execute(keys)).all()
            key_set = (await connection.execute(select(_sets).where(_sets.c.id == client_id))).one_or_none()
            must_sign = (await connection.execute(select(_signing).where(_signing.c.id == client_id))).one_or_none()
        return _Held(client, rows, key_set, must_sign is not None)

    def _audit(self, held: _Held, kind: str, *, by: str, facts: Mapping[str, object]) -> Audit:
        return Audit(kind, by, held.client.id, held.client.merchant_id, facts)

    async def _commit(self, held: _Held, *parts: object, is_expected: bool = False) -> None:
        """Write a change; whoever said what it was decided on is told by 412 that it moved on, others by 409."""
        client, now = held.client, self._deps.clock.now()
        plan = Plan(client.merchant_id).add(
            Change(APP_CLIENTS, client.id, {}, expected=client.version),
            *parts,
            news(self._deps.ids, kind="client", subject_id=client.id, merchant_id=client.merchant_id, now=now),
            self._event(client, now),
        )
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            if isinstance(refused.refusal, Replayed):
                raise
            if isinstance(refused.refusal, Duplicate) and refused.refusal.table == CLIENT_KEYS.name:
                raise KEY_EXISTS.error({"key_id": refused.refusal.existing_id}) from refused
            if is_expected:
                raise changed_meanwhile(client.id) from refused
            raise CHANGED_MEANWHILE.error({"id": client.id}) from refused
        self._known.forget(client.id)

    def _event(self, client: Row[Any], now: datetime) -> Event:
        body = {"client_id": client.id, "app_id": client.app_id, "mode": client.mode}
        return Event(
            id=self._deps.ids.mint("evt"),
            type="app.key_changed",
            object_id=client.id,
            sequence=client.version + 1,
            occurred_at=now,
            body=msgspec.json.encode(body).decode(),
        )


def _stored(key: PublicKey) -> str:
    marks = {name: value for name, value in (("kid", key.kid), ("alg", key.alg)) if value is not None}
    return msgspec.json.encode({**key.jwk, **marks}).decode()


@lru_cache(maxsize=4096)
def _imported(stored: str) -> PublicKey:
    """A key of the table; importing one costs most of what verifying with it does."""
    return import_public_jwk(msgspec.json.decode(stored), kinds=CLIENT_KINDS)

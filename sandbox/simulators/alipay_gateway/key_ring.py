"""The keys that the gateway signs and verifies with: kept as rows, the private ones sealed in the vault.

Of the platform's key there is one for all apps, so that even an answer to an unknown app verifies; an app can get one
of its own, to try a rotation. Apps upload public keys; their private ones never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from sqlalchemy import Row, or_, select

from platform_core.identity.vault import Vault
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Duplicate, Insert, Plan, PlanRefused
from platform_core.kernel.database.pools import Database
from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.ids import Ids
from sandbox.simulators.alipay_gateway import certificates, keys
from sandbox.simulators.alipay_gateway.certificates import Authority
from sandbox.simulators.alipay_gateway.evidence import KnownKey, Role
from sandbox.simulators.alipay_gateway.models_tools import KEYS
from sandbox.simulators.alipay_gateway.signing import KeyRefused, PlatformKey, read_public_key

OTHERS_MAX: Final = 200
"""How many keys of other apps the doctor tries, the newest first."""
TRIES_MAX: Final = 5
_keys = KEYS.table


@dataclass(frozen=True, slots=True)
class AppKey:
    """An app's public key, or its certificate."""

    id: str
    public_key: RSAPublicKey = field(repr=False)
    fingerprint: str
    certificate: x509.Certificate | None
    certificate_sn: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All that verifying one app's requests and answering them needs. `app_keys`: the newest first, which counts."""

    app_id: str
    platform: PlatformKey
    platform_before: Sequence[RSAPublicKey]
    app_keys: Sequence[AppKey]
    root_sn: str

    @property
    def app_key(self) -> AppKey | None:
        """The key that the app's requests must be signed with; None: it has given none."""
        return self.app_keys[0] if self.app_keys else None

    def known(self) -> list[KnownKey]:
        """The app's and the platform's keys, for the doctor."""
        found = [_known("platform", self.platform.public_key)]
        found += [_known("platform_before", key) for key in self.platform_before]
        found += [_known("app_before" if n else "app", key.public_key) for n, key in enumerate(self.app_keys)]
        return found


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """What an app in certificate mode configures, as PEM; the serials are what its requests name."""

    app: str
    app_sn: str
    platform: str
    platform_sn: str
    root: str
    root_sn: str


class KeyRings:
    """Reads and adds keys. Of two processes that make the platform's first key at once, both get the same."""

    def __init__(
        self,
        *,
        database: Database,
        committer: Committer,
        vault: Vault,
        clock: Clock,
        ids: Ids,
        make_key: Callable[[], RSAPrivateKey] = keys.generate,
        entropy: Callable[[int], bytes] = process_entropy,
    ) -> None:
        """`clock`: the sandbox's, by which certificates end. `make_key` runs in a thread."""
        self._database = database
        self._committer = committer
        self._vault = vault
        self._clock = clock
        self._ids = ids
        self._make_key = make_key
        self._entropy = entropy
        self._opened: dict[str, RSAPrivateKey] = {}

    async def of(self, app_id: str = "") -> KeyRing:
        """The ring of an app; blank: of nobody in particular, with the platform's key alone."""
        rows = await self._rows(app_id)
        if not any(row.role == "platform" for row in rows):
            await self._make_platform("")
            rows = await self._rows(app_id)
        platforms = [row for row in rows if row.role == "platform"]
        own = [row for row in platforms if row.app_id == app_id] or platforms
        authorities = {row.role: row for row in reversed(rows) if row.role in ("root", "issuer")}  # the newest
        return KeyRing(
            app_id=app_id,
            platform=self._platform_key(own[0]),
            platform_before=[read_public_key(row.public_key) for row in platforms if row.id != own[0].id],
            app_keys=[_app_key(row) for row in rows if row.role == "app"],
            root_sn=certificates.root_sn([_certificate(authorities[role]) for role in ("root", "issuer")]),
        )

    async def everybody_else(self, app_id: str) -> list[KnownKey]:
        """Keys of other apps, named by their apps: for the doctor, and for nobody to see."""
        query = select(_keys).where(_keys.c.app_id.not_in(["", app_id])).order_by(_keys.c.created_at.desc())
        async with self._database.read_auth() as connection:
            rows = (await connection.execute(query.limit(OTHERS_MAX))).all()
        return [
            KnownKey(
                "other_app" if row.role == "app" else "other_platform", row.app_id, read_public_key(row.public_key)
            )
            for row in rows
        ]

    async def upload(self, app_id: str, text: str) -> AppKey:
        """Take an app's public key, which counts from now on. The key that counts already is left as it is.

        KeyRefused for what is no public RSA key of 2048 bits or more, and for the platform's own.
        """
        public, ring = await self._own(app_id, text)
        present = ring.app_key
        if present is not None and present.public_key == public and present.certificate is None:
            return present
        return _app_key(await self._add("app", app_id, public))

    async def certify(self, app_id: str, text: str) -> CertificateFiles:
        """Give an app a certificate for its public key; it is in certificate mode from now on. KeyRefused as above."""
        public, _ = await self._own(app_id, text)
        rows = await self._rows(app_id)
        issuer = self._authority(next(row for row in rows if row.role == "issuer"))
        made = certificates.issue(public, issuer, common_name=app_id, serial=self._serial(), now=self._clock.now())
        await self._add("app", app_id, public, certificate=made)
        return await self.files(app_id)

    async def files(self, app_id: str) -> CertificateFiles:
        """The files of an app in certificate mode. LookupError for one that is not."""
        rows = await self._rows(app_id)
        mine = next((row for row in rows if row.role == "app"), None)
        if mine is None or mine.certificate is None:
            raise LookupError(app_id)
        platforms = [row for row in rows if row.role == "platform"]
        platform = next((row for row in platforms if row.app_id == app_id), platforms[0])
        chain = [_certificate(next(row for row in rows if row.role == role)) for role in ("root", "issuer")]
        return CertificateFiles(
            app=mine.certificate,
            app_sn=mine.certificate_sn,
            platform=platform.certificate,
            platform_sn=platform.certificate_sn,
            root=certificates.chain_text(chain),
            root_sn=certificates.root_sn(chain),
        )

    async def platform_certificate(self, app_id: str, certificate_sn: str) -> x509.Certificate | None:
        """The platform's certificate with this serial, present or past, as far as the app may know it."""
        rows = await self._rows(app_id)
        row = next((row for row in rows if row.role == "platform" and row.certificate_sn == certificate_sn), None)
        return None if row is None else _certificate(row)

    async def rotate_platform(self, app_id: str = "") -> PlatformKey:
        """A new platform key, for one app or (blank) for all that have none of their own. Counts at once."""
        await self.of()
        return await self._make_platform(app_id)

    async def _own(self, app_id: str, text: str) -> tuple[RSAPublicKey, KeyRing]:
        """A key that an app may have, and its ring before. Raises KeyRefused."""
        public, ring = read_public_key(text), await self.of(app_id)
        if public in (ring.platform.public_key, *ring.platform_before):
            message = "This is the platform's public key. Upload your own; the platform's belongs into your client."
            raise KeyRefused("public_key", message)
        return public, ring

    async def _rows(self, app_id: str) -> Sequence[Row[Any]]:
        """Everything of the app's and what all share; of each role the newest first."""
        query = select(_keys).where(or_(_keys.c.app_id == app_id, _keys.c.app_id == ""))
        async with self._database.read_auth() as connection:
            return (await connection.execute(query.order_by(_keys.c.role, _keys.c.generation.desc()))).all()

    async def _make_platform(self, app_id: str) -> PlatformKey:
        rows = await self._rows(app_id)
        found = {row.role: self._authority(row) for row in reversed(rows) if row.role in ("root", "issuer")}
        now, made = self._clock.now(), await asyncio.to_thread(self._make_key)
        if "issuer" not in found:
            root_key, issuer_key = await asyncio.to_thread(self._make_key), await asyncio.to_thread(self._make_key)
            root = certificates.make_root(root_key, serial=self._serial(), now=now)
            found["issuer"] = certificates.make_issuer(issuer_key, root, serial=self._serial(), now=now)
            for role, authority in (("root", root), ("issuer", found["issuer"])):
                public = authority.key.public_key()
                await self._add(role, "", public, certificate=authority.certificate, private=authority.key, only=1)
            # Of two who made them at once the first counts.
            rows = await self._rows(app_id)
            found["issuer"] = self._authority(next(row for row in rows if row.role == "issuer"))
        name = f"Arsenal Sandbox {app_id}".strip()
        issued = certificates.issue(
            made.public_key(), found["issuer"], common_name=name[:64], serial=self._serial(), now=now
        )
        first = 1 if not any(row.role == "platform" and row.app_id == app_id for row in rows) else None
        row = await self._add("platform", app_id, made.public_key(), certificate=issued, private=made, only=first)
        return self._platform_key(row)

    async def _add(
        self,
        role: str,
        app_id: str,
        public: RSAPublicKey,
        *,
        certificate: x509.Certificate | None = None,
        private: RSAPrivateKey | None = None,
        only: int | None = None,
    ) -> Row[Any]:
        """Add the next generation. With `only`, that generation alone: where it is there already, it is what we get."""
        key_id = self._ids.mint("alk")
        values = {
            "id": key_id,
            "role": role,
            "app_id": app_id,
            "public_key": keys.public_line(public),
            "sealed": None if private is None else self._vault.seal(key_id, _private_bytes(private)),
            "certificate": None if certificate is None else certificates.chain_text([certificate]),
            "certificate_sn": None if certificate is None else certificates.certificate_sn(certificate),
            "created_at": self._clock.now(),
        }
        for _ in range(TRIES_MAX):
            known = [row for row in await self._rows(app_id) if (row.role, row.app_id) == (role, app_id)]
            if only is not None and known:
                return known[0]
            generation = known[0].generation + 1 if known else 1
            try:
                await self._committer.commit(Plan(None, [Insert(KEYS, {**values, "generation": generation})]))
            except PlanRefused as refused:
                if not isinstance(refused.refusal, Duplicate):
                    raise
                continue
            return next(row for row in await self._rows(app_id) if row.id == key_id)
        raise TimeoutError(f"{role} {app_id}: keys were added too often meanwhile")

    def _platform_key(self, row: Row[Any]) -> PlatformKey:
        return PlatformKey(row.id, self._private(row), row.certificate_sn)

    def _authority(self, row: Row[Any]) -> Authority:
        return Authority(_certificate(row), self._private(row))

    def _private(self, row: Row[Any]) -> RSAPrivateKey:
        """The private key of a row of ours, opened once in a process: there are few."""
        if row.id not in self._opened:
            key = serialization.load_der_private_key(self._vault.open(row.id, row.sealed), password=None)
            assert isinstance(key, RSAPrivateKey), "we sealed it"
            self._opened[row.id] = key
        return self._opened[row.id]

    def _serial(self) -> int:
        return int.from_bytes(self._entropy(16), "big") >> 1 | 1


def certificate_fault(ring: KeyRing, *, app_cert_sn: str, root_cert_sn: str, now: datetime) -> str | None:
    """What is wrong with the serials that a request names: None, `expired`, or a sentence in Chinese.

    An app that has given a plain key names none, and what it names is not looked at.
    """
    key = ring.app_key
    if key is None or key.certificate is None:
        return None
    if not app_cert_sn or not root_cert_sn:
        return "证书模式须同时提供 app_cert_sn 与 alipay_root_cert_sn"
    if app_cert_sn != key.certificate_sn:
        return f"app_cert_sn 与应用当前证书不符，应为 {key.certificate_sn}"
    if root_cert_sn != ring.root_sn:
        return f"alipay_root_cert_sn 与平台根证书不符，应为 {ring.root_sn}"
    return "expired" if certificates.is_expired(key.certificate, now) else None


def _known(role: Role, key: RSAPublicKey) -> KnownKey:
    return KnownKey(role, f"{role} {keys.fingerprint(key)[:16]}", key)


def _app_key(row: Row[Any]) -> AppKey:
    public = read_public_key(row.public_key)
    certificate = None if row.certificate is None else _certificate(row)
    return AppKey(row.id, public, keys.fingerprint(public), certificate, row.certificate_sn or "", row.created_at)


def _certificate(row: Row[Any]) -> x509.Certificate:
    return certificates.read_chain(row.certificate)[0]


def _private_bytes(key: RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())

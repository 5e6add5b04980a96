"""Cryptography by kind: what each kind can do and nothing else, and that rotation overlaps."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64encode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from platform_core.identity.vault import Vault
from platform_core.kernel.errors import PlatformError
from platform_core.plugin_host import keyrings, secrets
from platform_core.plugin_host.keyrings import KeyUnfit
from platform_core.plugin_host.models import secret_seal
from platform_core.plugin_host.secrets import Keys, PluginSecrets, StoredSecret, VaultContexts
from tests.plugin_host.gate_support import PLUGIN, WORDS, enabled, manifest

pytestmark = pytest.mark.unit
MESSAGE = b"POST\n/v3/pay\n1700000000\nnonce\n{}\n"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused


def private_pem(key: Private) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Private) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("key", [RSA, P256, ED], ids=["rsa", "p256", "ed25519"])
def test_a_signature_is_verified_by_the_public_key_and_by_nobody_elses(key: Private) -> None:
    signature = keyrings.sign("signing_key", private_pem(key), MESSAGE)
    assert keyrings.verify("public_key", public_pem(key), MESSAGE, signature)
    assert keyrings.verify("signing_key", private_pem(key), MESSAGE, signature)
    assert not keyrings.verify("public_key", public_pem(key), MESSAGE + b" ", signature)
    assert not keyrings.verify("public_key", public_pem(key), MESSAGE, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not keyrings.verify("public_key", public_pem(key), MESSAGE, b"")
    other = {RSA: P256, P256: ED, ED: RSA}[key]
    assert not keyrings.verify("public_key", public_pem(other), MESSAGE, signature)


def test_signatures_have_the_forms_that_others_read() -> None:
    RSA.public_key().verify(
        keyrings.sign("signing_key", private_pem(RSA), MESSAGE), MESSAGE, padding.PKCS1v15(), SHA256()
    )
    raw = keyrings.sign("signing_key", private_pem(P256), MESSAGE)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    P256.public_key().verify(der, MESSAGE, ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        P256.public_key().verify(der, b"another", ec.ECDSA(SHA256()))


def test_a_mac_is_that_of_rfc_4231() -> None:
    # RFC 4231 section 4.2, read 2026-11-22.
    key, text = b"\x0b" * 20, b"Hi There"
    wanted = bytes.fromhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    assert keyrings.mac("mac_key", key, text) == wanted
    assert keyrings.verify("mac_key", key, text, wanted)
    assert not keyrings.verify("mac_key", key, text, wanted[:-1])


def test_a_sealed_message_opens_under_its_key_and_data_alone() -> None:
    key, nonce = os.urandom(32), os.urandom(12)
    message = nonce + AESGCM(key).encrypt(nonce, "退款成功".encode(), b"refund")
    assert keyrings.open_message("aead_key", key, message, b"refund") == "退款成功".encode()
    assert keyrings.open_message("aead_key", key, message, b"payment") is None
    assert keyrings.open_message("aead_key", os.urandom(32), message, b"refund") is None
    assert keyrings.open_message("aead_key", key, message[:20], b"refund") is None


@pytest.mark.parametrize("kind", ["token", "mac_key", "signing_key", "aead_key", "public_key"])
def test_each_kind_does_its_own_work_and_no_other(kind: keyrings.SecretKind) -> None:
    material = {
        "token": b"tok_live_123",
        "mac_key": b"k" * 32,
        "signing_key": private_pem(ED),
        "aead_key": b"k" * 32,
        "public_key": public_pem(ED),
    }[kind]
    keyrings.check(kind, material)
    acts = {
        "mac_key": lambda: keyrings.mac(kind, material, MESSAGE),
        "signing_key": lambda: keyrings.sign(kind, material, MESSAGE),
        "aead_key": lambda: keyrings.open_message(kind, material, b"m" * 40, b""),
    }
    for wanted, act in acts.items():
        if wanted == kind:
            act()
        else:
            with pytest.raises(KeyUnfit):
                act()
    if kind in ("token", "aead_key"):
        with pytest.raises(KeyUnfit):
            keyrings.verify(kind, material, MESSAGE, b"s")


@pytest.mark.parametrize(
    ("kind", "material"),
    [
        ("signing_key", private_pem(WEAK)),
        ("signing_key", private_pem(ec.generate_private_key(ec.SECP384R1()))),
        ("signing_key", public_pem(ED)),
        ("signing_key", b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n"),
        ("public_key", private_pem(ED)),
        ("public_key", public_pem(WEAK)),
        ("aead_key", b"k" * 16),
        ("mac_key", b"short"),
        ("token", b""),
        ("token", b"line\nbreak"),
        ("token", "密".encode()),
    ],
)
def test_a_secret_that_its_kind_cannot_use_is_found_when_it_is_entered(
    kind: keyrings.SecretKind, material: bytes
) -> None:
    with pytest.raises(KeyUnfit) as unfit:
        keyrings.check(kind, material)
    assert material.decode(errors="replace")[:20] not in str(unfit.value) or len(material) < 6


class Book:
    """A book of secrets in memory."""

    def __init__(self, stored: dict[str, StoredSecret]) -> None:
        self.stored = stored
        self.uses: list[str] = []

    async def secrets_of(self, plugin_id: str, merchant_id: str) -> dict[str, StoredSecret]:
        return self.stored if (plugin_id, merchant_id) == (PLUGIN, "mer_a") else {}

    def used(self, plugin_id: str, merchant_id: str, name: str) -> None:
        self.uses.append(name)


VAULT = Vault(b"v" * 32)
DECLARED = [
    {"name": name, "kind": kind, "label": WORDS, "hosts": []}
    for name, kind in (("signer", "signing_key"), ("mac", "mac_key"), ("absent", "mac_key"), ("changed", "mac_key"))
]


def stored(name: str, kind: keyrings.SecretKind, *materials: bytes) -> StoredSecret:
    row = secret_seal("mer_a", PLUGIN, name)
    return StoredSecret(kind, tuple(VAULT.seal(row, material) for material in materials))


async def test_a_rotation_overlaps_the_newest_signs_and_both_verify() -> None:
    book = Book({"mac": stored("mac", "mac_key", b"n" * 32, b"o" * 32)})
    keys = await PluginSecrets(VAULT, book).keys(enabled(manifest(secrets=DECLARED)), "mer_a", "mac", at_hand={})
    newest, former = (hmac.digest(letter * 32, MESSAGE, hashlib.sha256) for letter in (b"n", b"o"))
    assert secrets.mac(keys, MESSAGE) == newest
    assert secrets.verify(keys, MESSAGE, newest)
    assert secrets.verify(keys, MESSAGE, former)
    assert not secrets.verify(keys, MESSAGE, hmac.digest(b"x" * 32, MESSAGE, hashlib.sha256))
    assert book.uses == ["mac"]


@pytest.mark.parametrize("name", ["absent", "undeclared", "changed", "moved"])
async def test_a_secret_that_is_not_the_plugins_to_use_is_unknown(name: str) -> None:
    book = Book(
        {
            "undeclared": stored("undeclared", "mac_key", b"k" * 32),
            "changed": stored("changed", "token", b"tok_1"),  # entered for a kind that the manifest no longer says
            "moved": stored("mac", "mac_key", b"k" * 32),  # a box of another row
        }
    )
    declared = [*DECLARED, {"name": "moved", "kind": "mac_key", "label": WORDS}]
    with pytest.raises(PlatformError) as refused:
        await PluginSecrets(VAULT, book).keys(enabled(manifest(secrets=declared)), "mer_a", name, at_hand={})
    assert refused.value.code == "plugin.secret_unknown"
    assert book.uses == []


async def test_another_merchants_secrets_are_not_found() -> None:
    book = Book({"mac": stored("mac", "mac_key", b"k" * 32)})
    with pytest.raises(PlatformError):
        await PluginSecrets(VAULT, book).keys(enabled(manifest(secrets=DECLARED)), "mer_b", "mac", at_hand={})


async def test_secrets_of_the_call_at_hand_come_sealed_with_it() -> None:
    key, nonce = b"k" * 32, b"n" * 12
    contexts = VaultContexts(VAULT)
    sealed = {
        "api_key": contexts.seal(merchant_id="mer_a", name="api_key", key=key),
        "cert": contexts.seal(merchant_id="mer_a", name="cert", key=private_pem(ED)),
    }
    plugin = PluginSecrets(VAULT, Book({}))
    api_key = await plugin.keys(enabled(), "mer_a", "api_key", at_hand=sealed)
    assert secrets.mac(api_key, MESSAGE) == hmac.digest(key, MESSAGE, hashlib.sha256)
    message = nonce + AESGCM(key).encrypt(nonce, b"text", b"data")
    assert secrets.open_message(api_key, message, b"data") == b"text"
    cert = await plugin.keys(enabled(), "mer_a", "cert", at_hand=sealed)
    assert (cert.kind, await secrets.sign(cert, MESSAGE)) == ("signing_key", ED.sign(MESSAGE))
    with pytest.raises(PlatformError):  # sealed for another merchant
        await plugin.keys(enabled(), "mer_b", "cert", at_hand=sealed)
    trusted = contexts.context(merchant_id="mer_a", secrets=sealed).secrets
    assert trusted.sign("cert", MESSAGE) == ED.sign(MESSAGE)
    assert trusted.verify("cert", MESSAGE, ED.sign(MESSAGE))
    assert trusted.open("api_key", message, associated_data=b"data") == b"text"
    assert trusted.mac("api_key", MESSAGE) == hmac.digest(key, MESSAGE, hashlib.sha256)


async def test_a_refusal_names_the_secret_and_shows_nothing_of_it() -> None:
    keys = Keys("token", "token", (b"tok_live_very_secret",))
    with pytest.raises(PlatformError) as refused:
        secrets.mac(keys, MESSAGE)
    assert refused.value.code == "plugin.secret_unfit"
    assert "tok_live" not in str(refused.value)
    with pytest.raises(PlatformError) as refused:
        await secrets.sign(keys, MESSAGE)
    assert refused.value.code == "plugin.secret_unfit"
    assert b64encode(b"tok").decode() not in str(refused.value)

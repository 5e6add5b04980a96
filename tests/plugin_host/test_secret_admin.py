"""A merchant's secrets: sealed, rotated with overlap, checked for their use, and never read back."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.models import secret_seal
from platform_core.plugin_host.schemas import SecretWrite
from tests.plugin_host.conftest import RISK, SCOPED, Market
from tests.plugin_host.test_lifecycle import refused

pytestmark = pytest.mark.database
KINDS = ("token", "mac_key", "signing_key", "aead_key", "public_key")
SECRETS = SCOPED + "".join(
    f'[[secrets]]\nname = "the_{kind}"\nkind = "{kind}"\nlabel = {{ zh = "密钥", en = "Key" }}\nis_required = false\n'
    for kind in KINDS
)
SECRETS = SECRETS.replace('kind = "token"', 'kind = "token"\nhosts = ["api.acme.example"]') + (
    '[[egress]]\nhost = "api.acme.example"\npurpose = { zh = "同步", en = "To sync" }\n'
)


async def installed(market: Market) -> tuple[Actor, str]:
    await market.publish(hooks="on_payment_captured", more=SECRETS)
    actor = market.actor(await market.merchant())
    return actor, (await market.install(actor.merchant_id)).id


async def opened(market: Market, actor: Actor, name: str) -> list[bytes]:
    row = await market.row("SELECT boxes FROM plugin_secret WHERE name = $1", name)
    place = secret_seal(actor.merchant_id, RISK, name)
    return [market.deps.vault.open(place, b64decode(box)) for box in json.loads(row[0])]


async def test_a_rotation_keeps_the_value_before_for_the_overlap(market: Market) -> None:
    actor, id_ = await installed(market)
    secrets = market.life.secrets
    for value in ("first-0123456789abcdef", "second-0123456789abcdef", "third-0123456789abcdef"):
        told = await secrets.set(actor, id_, "the_mac_key", wanted=SecretWrite(value=value, overlap_s=3600))
    assert told.retires_at == market.clock.now() + timedelta(hours=1)
    assert await opened(market, actor, "the_mac_key") == [b"third-0123456789abcdef", b"second-0123456789abcdef"]
    at_once = SecretWrite(value="fourth-0123456789abcdef", overlap_s=0)
    assert (await secrets.set(actor, id_, "the_mac_key", wanted=at_once)).retires_at is None
    assert await opened(market, actor, "the_mac_key") == [b"fourth-0123456789abcdef"]
    written = await market.owner.fetch("SELECT body FROM outbox UNION ALL SELECT facts FROM audit_row")
    assert not [row for row in written if "0123456789abcdef" in row[0]]
    listed = {one.name: one.is_set for one in await secrets.list(actor.merchant_id, id_)}
    assert listed == {f"the_{kind}": kind == "mac_key" for kind in KINDS}
    assert (await market.audited(id_))[-1] == "plugin.secret_set"


async def test_removing_the_plugin_destroys_its_secrets(market: Market) -> None:
    actor, id_ = await installed(market)
    await market.life.secrets.set(actor, id_, "the_token", wanted=SecretWrite(value="abc"))
    await market.life.secrets.set(actor, id_, "the_mac_key", wanted=SecretWrite(value="0123456789abcdef"))
    await market.life.secrets.remove(actor, id_, "the_token")
    assert await market.row("SELECT count(*) FROM plugin_secret") == (1,)
    await market.life.installations.remove(actor, id_)
    assert await market.row("SELECT count(*) FROM plugin_secret") == (0,)


def pem(key: object) -> str:
    if hasattr(key, "private_bytes"):
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[attr-defined]


P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what must be refused


@pytest.mark.parametrize(
    ("kind", "value", "encoding"),
    [
        ("token", "abc", "utf8"),
        ("mac_key", b64encode(b"k" * 16).decode(), "base64"),
        ("aead_key", b64encode(b"k" * 32).decode(), "base64"),
        ("signing_key", pem(P256), "utf8"),
        ("signing_key", pem(ED25519), "utf8"),
        ("public_key", pem(P256.public_key()), "utf8"),
    ],
)
async def test_a_secret_that_fits_its_use_is_taken(market: Market, kind: str, value: str, encoding: str) -> None:
    actor, id_ = await installed(market)
    wanted = SecretWrite.model_validate({"value": value, "encoding": encoding})
    assert (await market.life.secrets.set(actor, id_, f"the_{kind}", wanted=wanted)).is_set
    plain = b64decode(value) if encoding == "base64" else value.encode()
    assert await opened(market, actor, f"the_{kind}") == [plain]


@pytest.mark.parametrize(
    ("kind", "value", "encoding"),
    [
        ("token", "a b", "utf8"),
        ("token", "YWJj", "base64"),
        ("mac_key", "short", "utf8"),
        ("mac_key", "no base64!", "base64"),
        ("aead_key", "k" * 31, "utf8"),
        ("signing_key", "no pem", "utf8"),
        ("signing_key", pem(P384), "utf8"),
        ("signing_key", pem(WEAK), "utf8"),
        ("signing_key", pem(P256.public_key()), "utf8"),
        ("public_key", pem(P256), "utf8"),
    ],
)
async def test_a_secret_that_cannot_work_is_refused(market: Market, kind: str, value: str, encoding: str) -> None:
    actor, id_ = await installed(market)
    wanted = SecretWrite.model_validate({"value": value, "encoding": encoding})
    setting = market.life.secrets.set(actor, id_, f"the_{kind}", wanted=wanted)
    error = await refused(market, "plugins.secret_refused", setting)
    assert value not in str(error)


async def test_only_declared_names_are_taken(market: Market) -> None:
    actor, id_ = await installed(market)
    setting = market.life.secrets.set(actor, id_, "other", wanted=SecretWrite(value="abc"))
    await refused(market, "plugins.secret_unknown", setting)
    await refused(market, "plugins.secret_unknown", market.life.secrets.remove(actor, id_, "the_token"))

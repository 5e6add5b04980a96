"""Key pairs and certificates for clients of the gateway."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sandbox.simulators.alipay_gateway import certificates
from sandbox.simulators.alipay_gateway.keys import PLACES, SpelledPair, self_test, spelled
from sandbox.simulators.alipay_gateway.signing import read_private_key, read_public_key
from tests.sandbox.alipay.keys import key

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"


def test_every_form_of_a_pair_is_the_same_pair() -> None:
    pair = spelled(key("app"))
    for name in ("private_pkcs1_pem", "private_pkcs1_line", "private_pkcs8_pem", "private_pkcs8_line"):
        assert read_private_key(getattr(pair, name)).private_numbers() == key("app").private_numbers()
    for name in ("public_spki_pem", "public_spki_line"):
        assert read_public_key(getattr(pair, name)) == key("app").public_key()
    assert pair.private_pkcs1_pem.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert pair.private_pkcs8_pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert pair.public_spki_pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert "\n" not in pair.private_pkcs1_line + pair.private_pkcs8_line + pair.public_spki_line
    assert "PRIVATE" not in repr(pair)


def test_the_self_test_tries_all_forms_and_finds_a_wrong_one() -> None:
    checks = self_test(spelled(key("app")))
    assert len(checks) == 16
    assert all(check.is_good for check in checks)
    mixed = replace(spelled(key("app")), public_spki_pem=spelled(key("other")).public_spki_pem)
    assert {check.name.rpartition(" ")[2] for check in self_test(mixed) if not check.is_good} == {"public_spki_pem"}


def test_each_place_names_a_form_that_exists() -> None:
    forms = {name for name in SpelledPair.__slots__ if name != "fingerprint"}
    assert {place.form for place in PLACES} <= forms
    assert all(place.form.startswith("public") for place in PLACES if place.owner == "platform")


def test_serials_are_those_that_the_outside_client_computes() -> None:
    """Recorded with `DCAliPay.get_cert_sn` and `get_root_cert_sn` of python-alipay-sdk 3.4.0, 2026-11-22."""
    leaf = certificates.read_chain((RECORDED / "leaf.pem").read_text())
    chain = certificates.read_chain((RECORDED / "chain.pem").read_text())
    assert certificates.certificate_sn(leaf[0]) == "b42962b969c4f6e60cda746359939a73"
    assert certificates.root_sn(chain) == "445dce267db7f6aadff58510c2d27b80_4aeb5756e87b884fd20e74bc8b75bab8"


def _chain() -> tuple[certificates.Authority, certificates.Authority, x509.Certificate]:
    root = certificates.make_root(key("root"), serial=1, now=NOW)
    issuer = certificates.make_issuer(key("issuer"), root, serial=2, now=NOW)
    leaf = certificates.issue(key("app").public_key(), issuer, common_name="2021000000000001", serial=3, now=NOW)
    return root, issuer, leaf


def test_a_chain_holds_from_the_root_to_the_app() -> None:
    root, issuer, leaf = _chain()
    root.certificate.verify_directly_issued_by(root.certificate)
    issuer.certificate.verify_directly_issued_by(root.certificate)
    leaf.verify_directly_issued_by(issuer.certificate)
    assert leaf.public_key() == key("app").public_key()
    assert leaf.issuer.rfc4514_string() == "CN=Arsenal Sandbox Issuing Authority,OU=Sandbox,O=Arsenal,C=CN"


def test_the_members_of_a_file_are_parted_by_a_blank_line() -> None:
    root, issuer, _ = _chain()
    members = [root.certificate, issuer.certificate]
    text = certificates.chain_text(members)
    assert len(text.split("\n\n")) == 2
    assert certificates.read_chain(text) == members


def test_a_certificate_ends_after_five_years() -> None:
    _, _, leaf = _chain()
    assert not certificates.is_expired(leaf, NOW)
    assert not certificates.is_expired(leaf, NOW + certificates.LIFE_OF_CERTIFICATE)
    assert certificates.is_expired(leaf, NOW + certificates.LIFE_OF_CERTIFICATE + timedelta(seconds=1))
    assert certificates.is_expired(leaf, NOW - timedelta(days=1, seconds=1))

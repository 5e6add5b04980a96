"""Signatures of the Alipay OpenAPI protocol: what is signed, and with which keys."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.simulators.alipay_gateway.signing import (
    KeyRefused,
    PlatformKey,
    is_private_key,
    is_signed,
    notice_text,
    read_private_key,
    read_public_key,
    request_text,
    sign,
)
from tests.sandbox.alipay.keys import DER, PEM, PKCS1, PKCS8, PUBLIC_PKCS1, SPKI, key, private_text, public_text

pytestmark = pytest.mark.unit
PAIRS = st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=40), max_size=12)
DIGEST_INFO = {
    "RSA": ("sha1", bytes.fromhex("3021300906052b0e03021a05000414")),
    "RSA2": ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
}
"""Prefixes of RFC 8017, section 9.2, note 1."""


def test_a_request_signs_every_parameter_but_sign_sorted_by_name() -> None:
    pairs = [(b"method", b"a.b"), (b"sign", b"x"), (b"sign_type", b"RSA2"), (b"app_id", b"1"), (b"empty", b"")]
    assert request_text(pairs) == b"app_id=1&empty=&method=a.b&sign_type=RSA2"
    assert request_text(pairs, keeps_blanks=False) == b"app_id=1&method=a.b&sign_type=RSA2"


def test_a_notice_signs_neither_sign_nor_sign_type_nor_blanks() -> None:
    pairs = [(b"trade_no", b"2"), (b"sign", b"x"), (b"sign_type", b"RSA2"), (b"body", b""), (b"app_id", b"1")]
    assert notice_text(pairs) == b"app_id=1&trade_no=2"


def test_bytes_are_signed_as_they_came() -> None:
    assert (
        request_text([(b"subject", "中文".encode("gbk")), (b"b", b"a+b&c=%20")])
        == b"b=a+b&c=%20&subject=\xd6\xd0\xce\xc4"
    )


@pytest.mark.parametrize("sign_type", ["RSA", "RSA2"])
def test_a_signature_is_pkcs1_v15_over_the_named_hash(sign_type: str) -> None:
    numbers, text = key("app").public_key().public_numbers(), b"app_id=1&method=a.b"
    signature = int.from_bytes(base64.b64decode(sign(key("app"), text, sign_type=sign_type)), "big")
    name, prefix = DIGEST_INFO[sign_type]
    tail = b"\x00" + prefix + hashlib.new(name, text).digest()
    padded = b"\x00\x01" + b"\xff" * (256 - 2 - len(tail)) + tail
    assert pow(signature, numbers.e, numbers.n).to_bytes(256, "big") == padded


@settings(max_examples=40, deadline=None)
@given(pairs=PAIRS, position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_parameters_verify_and_one_flipped_bit_does_not(pairs: dict[bytes, bytes], position: int, bit: int) -> None:
    text = request_text(pairs.items())
    signature = sign(key("app"), text, sign_type="RSA2")
    public = key("app").public_key()
    assert is_signed(public, text, signature, sign_type="RSA2")
    if text:
        broken = bytearray(text)
        broken[position % len(text)] ^= 1 << bit
        assert not is_signed(public, bytes(broken), signature, sign_type="RSA2")


def test_another_key_hash_or_spelling_is_no_signature() -> None:
    signature, public = sign(key("app"), b"text", sign_type="RSA2"), key("app").public_key()
    assert not is_signed(key("other").public_key(), b"text", signature, sign_type="RSA2")
    assert not is_signed(public, b"text", signature, sign_type="RSA")
    assert not is_signed(public, b"text", signature, sign_type="rsa2")
    for spelt in ("", "?", signature[:-4], signature + "\n", f" {signature}", signature[:-2], "中"):
        assert not is_signed(public, b"text", spelt, sign_type="RSA2")


@pytest.mark.parametrize("encoding", [PEM, DER])
def test_keys_are_read_in_all_their_spellings(encoding: serialization.Encoding) -> None:
    for private_form in (PKCS1, PKCS8):
        text = private_text(key("app"), encoding=encoding, form=private_form)
        assert read_private_key(text).private_numbers() == key("app").private_numbers()
        assert is_private_key(text)
    for public_form in (PUBLIC_PKCS1, SPKI):
        text = public_text(key("app"), encoding=encoding, form=public_form)
        assert read_public_key(text) == key("app").public_key()
        assert read_public_key("\r\n ".join(text.splitlines()) + "\n\n") == key("app").public_key()
        assert not is_private_key(text)


def _refusal(text: str, *, of: str) -> str:
    with pytest.raises(KeyRefused) as refused:
        (read_public_key if of == "public" else read_private_key)(text)
    assert text.splitlines()[0] not in str(refused.value)
    return refused.value.reason


def test_keys_that_are_none_are_refused_with_the_reason() -> None:
    short = key("short", 1024)
    assert _refusal(public_text(short), of="public") == "too_short"
    assert _refusal(private_text(short, encoding=DER, form=PKCS8), of="private") == "too_short"
    assert _refusal(private_text(key("app"), encoding=DER, form=PKCS1), of="public") == "private_key"
    assert _refusal(public_text(key("app")), of="private") == "public_key"
    curve = ec.generate_private_key(ec.SECP256R1())
    assert _refusal(curve.public_key().public_bytes(PEM, SPKI).decode(), of="public") == "not_rsa"
    assert _refusal(curve.private_bytes(PEM, PKCS8, serialization.NoEncryption()).decode(), of="private") == "not_rsa"
    locked = key("app").private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"word")).decode()
    assert _refusal(locked, of="private") == "encrypted"
    assert is_private_key(locked)
    for text in ("no key!", "AAAA", "A" * 20_000, "中文"):
        assert _refusal(text, of="public") == "unreadable"
        assert not is_private_key(text)


def test_the_platform_signs_an_illegal_sign_type_as_rsa2_and_shows_no_key() -> None:
    platform = PlatformKey(key_id="alk_1", private_key=key("platform"))
    assert platform.sign(b"{}", sign_type="MD5") == sign(key("platform"), b"{}", sign_type="RSA2")
    assert platform.sign(b"{}", sign_type="RSA") == sign(key("platform"), b"{}", sign_type="RSA")
    assert "RSAPrivateKey" not in repr(platform)

"""RFC 9421: the vectors of appendix B.2 that our kinds of key can check, and headers that are no signature."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey

from platform_core.identity import message_signatures as signatures
from platform_core.identity.message_signatures import SignatureRefused, read_signature
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, import_public_jwk

P256 = {  # appendix B.1.3
    "kty": "EC",
    "crv": "P-256",
    "x": "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA",
    "y": "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0",
}
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}  # appendix B.1.4
REQUEST = {
    "date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "@method": "POST",
    "@path": "/foo",
    "@authority": "example.com",
    "content-type": "application/json",
    "content-length": "18",
    "content-digest": (
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
    ),
}
ANSWER = {
    "@status": "200",
    "content-type": "application/json",
    "content-digest": (
        "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
    ),
    "content-length": "23",
}
pytestmark = pytest.mark.unit


def test_appendix_b26_ed25519_over_a_request() -> None:
    said, signature = read_signature(
        [
            'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
            ';created=1618884473;keyid="test-key-ed25519"'
        ],
        ["sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:"],
    )
    assert (said.created, said.keyid, said.tag, said.nonce) == (1_618_884_473, "test-key-ed25519", None, None)
    key = import_public_jwk(ED25519, kinds=CLIENT_KINDS)
    base = said.base(lambda name, parameters: REQUEST[name])
    assert base.decode().splitlines()[1:3] == ['"@method": POST', '"@path": /foo']
    assert signatures.verifies(key, base, signature)
    assert not signatures.verifies(key, base + b" ", signature)
    assert not signatures.verifies(import_public_jwk(P256, kinds=CLIENT_KINDS), base, signature)


def test_appendix_b24_ecdsa_over_an_answer() -> None:
    said, signature = read_signature(
        [
            'sig-b24=("@status" "content-type" "content-digest" "content-length")'
            ';created=1618884473;keyid="test-key-ecc-p256"'
        ],
        ["sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:"],
    )
    key = import_public_jwk(P256, kinds=CLIENT_KINDS)
    base = said.base(lambda name, parameters: ANSWER[name])
    assert signatures.verifies(key, base, signature)
    assert not signatures.verifies(key, base.replace(b"200", b"201"), signature)


def test_the_digests_of_appendix_b2_fit_their_bodies_alone() -> None:
    assert signatures.digest_fits(REQUEST["content-digest"], b'{"hello": "world"}')
    assert signatures.digest_fits(ANSWER["content-digest"], b'{"message": "good dog"}')
    assert not signatures.digest_fits(REQUEST["content-digest"], b'{"hello": "world"} ')
    both = f"{signatures.content_digest(b'a')}, {signatures.content_digest(b'b')}"
    assert not signatures.digest_fits(both, b"a")
    for malformed in ("", "sha-256=:AAAA", "md5=:AAAA:", "sha-256=AAAA", "unixsum=:AA==:"):
        assert not signatures.digest_fits(malformed, b"a")


def test_what_is_signed_verifies() -> None:
    held = ECKey.generate_key("P-256")
    key = import_public_jwk(held.as_dict(private=False), kinds=CLIENT_KINDS)
    assert held.private_key is not None
    signature = signatures.sign_p256(held.private_key, b"base")
    assert (len(signature), signatures.verifies(key, b"base", signature)) == (64, True)


GOOD = 'a=("@method");created=1;keyid="k"'


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        ([], ["a=:AAAA:"]),
        ([GOOD], []),
        ([GOOD, GOOD], ["a=:AAAA:"]),
        ([GOOD], ["b=:AAAA:"]),
        ([f"{GOOD}, {GOOD.replace('a=', 'b=')}"], ["a=:AAAA:, b=:AAAA:"]),
        (['a=("@method" "@method");created=1'], ["a=:AAAA:"]),
        (['a=("@method");created=1;created=2'], ["a=:AAAA:"]),
        (['a=("@method");created="1"'], ["a=:AAAA:"]),
        (['a=("@method");keyid=1'], ["a=:AAAA:"]),
        (['a=("@method");unknown="x"'], ["a=:AAAA:"]),
        (["a=(@method);created=1"], ["a=:AAAA:"]),
        (['a=("@METHOD");created=1'], ["a=:AAAA:"]),
        (['a="@method";created=1'], ["a=:AAAA:"]),
        ([GOOD], ["a=:A:"]),
        ([GOOD], ["a=AAAA"]),
        ([GOOD + "é"], ["a=:AAAA:"]),
        ([GOOD + ";x" * 2000], ["a=:AAAA:"]),
        (["a=" + "(" * 1000], ["a=:AAAA:"]),
        (["a=()" + ";" * 1500 + "("], ["a=:AAAA:"]),
    ],
)
def test_what_is_no_signature_is_refused(inputs: list[str], given: list[str]) -> None:
    with pytest.raises(SignatureRefused):
        read_signature(inputs, given)


def test_a_component_that_is_not_there_is_refused() -> None:
    said, _ = read_signature(['a=("@method" "idempotency-key");created=1'], ["a=:AAAA:"])
    with pytest.raises(SignatureRefused):
        said.base(lambda name, parameters: {"@method": "GET"}[name])

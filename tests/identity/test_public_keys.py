"""Keys of strangers: the vectors of the RFCs are read, everything else about a key is refused."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import ECKey, RSAKey

from platform_core.identity import base64url
from platform_core.identity.oauth.compact import SizedRegistry, read_compact
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, PROOF_KINDS, KeyRefused, import_public_jwk

EC = {  # RFC 7515 appendix A.3.1
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}  # RFC 8037 appendix A.2
RSA = {  # RFC 7638 section 3.1
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok"
        "njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu"
        "6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8a"
        "wapJzKnqDKgw"
    ),
    "e": "AQAB",
}
DPOP = {  # RFC 9449 section 4.1
    "kty": "EC",
    "crv": "P-256",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
}
pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("jwk", "thumbprint"),
    [
        pytest.param(RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", id="RFC 7638 section 3.1"),
        pytest.param(OKP, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", id="RFC 8037 appendix A.3"),
        pytest.param(DPOP, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", id="RFC 9449 section 6.1"),
    ],
)
def test_thumbprints_are_those_of_the_rfcs(jwk: dict[str, str], thumbprint: str) -> None:
    assert import_public_jwk(jwk, kinds=CLIENT_KINDS).thumbprint == thumbprint
    beside = {"kid": "2011-04-29", "use": "sig", "key_ops": ["verify"], "x5c": ["MIIB"]}
    assert import_public_jwk({**jwk, **beside}, kinds=CLIENT_KINDS).thumbprint == thumbprint


def test_the_signature_of_rfc_7515_appendix_a3_holds_and_no_other() -> None:
    text = (
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0c"
        "nVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    registry = SizedRegistry(algorithms=["ES256"])
    compact = read_compact(text)
    assert compact.claims == {"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": True}
    assert compact.verify(import_public_jwk(EC, kinds=CLIENT_KINDS), registry)
    assert not compact.verify(import_public_jwk(DPOP, kinds=CLIENT_KINDS), registry)
    other = text.replace("DtEh", "DtEi")
    assert not read_compact(other).verify(import_public_jwk(EC, kinds=CLIENT_KINDS), registry)


def test_the_signature_of_rfc_8037_appendix_a4_holds() -> None:
    key = import_public_jwk(OKP, kinds=CLIENT_KINDS).key.public_key
    assert isinstance(key, Ed25519PublicKey)
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    key.verify(base64url.decode(signature), b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")


def _zero_n(bits: int) -> str:
    return base64url.encode(((1 << (bits - 1)) | 1).to_bytes(bits // 8, "big"))


REFUSED: dict[str, Any] = {
    "a list": [],
    "a bare string": "c2VjcmV0",
    "null": None,
    "empty": {},
    "symmetric": {"kty": "oct", "k": "c2VjcmV0"},
    "private EC": ECKey.generate_key("P-256").as_dict(private=True),
    "private RSA": RSAKey.generate_key(2048).as_dict(private=True),
    "unknown curve": {**EC, "crv": "P-192"},
    "curve of another size": ECKey.generate_key("P-384").as_dict(private=False),
    "curve of bitcoin": {**EC, "crv": "secp256k1"},
    "curve is a list": {**EC, "crv": ["P-256"]},
    "X25519": {**OKP, "crv": "X25519"},
    "off the curve": {**EC, "y": EC["x"]},
    "at infinity": {**EC, "x": "A" * 43, "y": "A" * 43},
    "no y": {name: EC[name] for name in ("kty", "crv", "x")},
    "x is a number": {**EC, "x": 5},
    "x with padding": {**EC, "x": EC["x"] + "="},
    "x in another spelling": {**EC, "x": EC["x"][:-1] + "V"},
    "x too short": {**EC, "x": EC["x"][:-2]},
    "x far too long": {**EC, "x": "A" * 5000},
    "small order": {**OKP, "x": base64url.encode(bytes([1]) + bytes(31))},
    "zero point": {**OKP, "x": base64url.encode(bytes(32))},
    "RSA of 1024 bits": {**RSA, "n": _zero_n(1024)},
    "RSA of 8192 bits": {**RSA, "n": _zero_n(8192)},
    "even modulus": {**RSA, "n": base64url.encode((1 << 2047).to_bytes(256, "big"))},
    "exponent 3": {**RSA, "e": "Aw"},
    "exponent 1": {**RSA, "e": "AQ"},
    "exponent of zeros": {**RSA, "e": "AAEAAQ"},
    "RSA with a curve": {**RSA, "crv": "P-256"},
    "for encryption": {**EC, "use": "enc"},
    "for another algorithm": {**EC, "alg": "HS256"},
    "alg none": {**EC, "alg": "none"},
    "EdDSA, which is deprecated": {**OKP, "alg": "EdDSA"},
    "kid is a list": {**EC, "kid": ["a"]},
    "kid is long": {**EC, "kid": "k" * 400},
    "kid with a line break": {**EC, "kid": "a\nb"},
    "member of nobody": {**EC, "iv": "x"},
}


@pytest.mark.parametrize("jwk", REFUSED.values(), ids=REFUSED.keys())
def test_f31_what_is_no_sound_public_key_is_refused(jwk: Any) -> None:
    with pytest.raises(KeyRefused):
        import_public_jwk(jwk, kinds=CLIENT_KINDS)


def test_f31_a_proof_takes_no_rsa_key() -> None:
    with pytest.raises(KeyRefused):
        import_public_jwk(RSA, kinds=PROOF_KINDS)


def test_base64url_has_one_spelling() -> None:
    assert base64url.decode(base64url.encode(bytes(range(256)))) == bytes(range(256))
    assert urlsafe_b64decode("QQ==") == urlsafe_b64decode("QR==")  # what a lenient reader takes for the same
    for other in ("QR", "QQ==", "Q", "Q Q", "Q+", "QQ\n", "Ö"):
        with pytest.raises(ValueError, match="base64url"):
            base64url.decode(other)
    assert base64url.encode(hashlib.sha256(b"").digest()) == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"

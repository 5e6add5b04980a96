"""DPoP proofs: one sound proof, and each way in which it may be unsound; nonces and their birth."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_core.identity.oauth.dpop import Proof, Proofs, token_hash
from platform_core.identity.oauth.dpop_nonce import SPAN_S, Nonces
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.vault import Vault
from tests.support.proofs import Algorithm, HeldKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOMENT = int(NOW.timestamp())
URL = "https://arsenal.test/v1/payments"
TOKEN = "a.b.c"
VAULT = Vault(b"a secrets key of thirty-two bytes or more")
HELD = HeldKey.generate()
pytestmark = pytest.mark.unit


def proofs() -> Proofs:
    return Proofs(Nonces(VAULT))


def make(key: HeldKey = HELD, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    nonce = proofs().nonces.current(NOW)
    return key.proof("POST", URL, now=NOW, nonce=nonce, token=TOKEN, header=header, claims=claims)


def check(text: str, *, now: datetime = NOW, token: str | None = TOKEN) -> Proof:
    return proofs().check(text, "POST", URL, now=now, token=token)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_sound_proof_names_its_key(alg: Algorithm) -> None:
    key = HeldKey.generate(alg)
    proof = check(make(key, jti="once"))
    assert proof == Proof(key.jkt, "once", NOW + timedelta(seconds=301), 0, None)


def test_htu_is_compared_without_query_and_fragment() -> None:
    assert check(make(htu=f"{URL}?a=b#c")).jkt == HELD.jkt


def test_at_an_oauth_endpoint_no_ath_is_asked_for() -> None:
    assert check(make(ath=None), token=None).jkt == HELD.jkt


def test_the_examples_of_rfc_9449_are_read() -> None:
    """Sections 4.1 and 7.1: sound but for the nonce, which comes last."""
    section_4_1 = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs"
        "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2"
        "In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2V"
        "uIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37x"
        "RZT3Lg"
    )
    then = datetime.fromtimestamp(1_562_262_616, tz=UTC)
    with pytest.raises(OAuthRefusal) as refused:
        proofs().check(section_4_1, "POST", "https://server.example.com/token", now=then)
    assert refused.value.error == "use_dpop_nonce"
    with pytest.raises(OAuthRefusal) as refused:
        proofs().check(section_4_1[:-2] + "Lh", "POST", "https://server.example.com/token", now=then)
    assert refused.value.error == "invalid_dpop_proof"
    assert token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU") == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _with(**claims: Any) -> Callable[[], str]:
    return lambda: make(**claims)


def _head(**header: Any) -> Callable[[], str]:
    return lambda: make(header=header)


def _raw(claims: bytes) -> Callable[[], str]:
    return lambda: HELD.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": HELD.public}, claims)


FORGED: dict[str, Callable[[], str]] = {
    "a10 other method": _with(htm="GET"),
    "a10 method in small letters": _with(htm="post"),
    "a10 other address": _with(htu="https://arsenal.test/v1/refunds"),
    "a10 other host": _with(htu="https://evil.example/v1/payments"),
    "a10 address is a list": _with(htu=[URL]),
    "a10 other token": _with(ath=token_hash("x.y.z")),
    "a10 no ath": _with(ath=None),
    "a10 other key": _head(jwk=HeldKey.generate().public),
    "a10 stale iat": _with(iat=MOMENT - 301),
    "a10 early iat": _with(iat=MOMENT + 61),
    "a10 iat is text": _with(iat="now"),
    "a10 iat is a fraction": _with(iat=MOMENT + 0.5),
    "a10 no iat": _with(iat=None),
    "a10 tampered": lambda: ".".join((make().split(".")[0], _encoded({"htm": "POST"}), make().split(".")[2])),
    "f22 no jti": _with(jti=None),
    "f22 jti is a number": _with(jti=5),
    "f22 jti is long": _with(jti="j" * 257),
    "f22 jti with NUL": _raw(b'{"jti": "a\\u0000"}'),
    "f21 deep payload": _raw(b'{"a":' + b"[" * 500),
    "f21 doubled member": _raw(b'{"htm": "GET", "htm": "POST"}'),
    "f21 NaN": _raw(b'{"iat": NaN}'),
    "f21 payload is a list": _raw(b"[]"),
    "a12 typ": _head(typ="JWT"),
    "a12 no typ": _head(typ=None),
    "a12 alg none": lambda: f"{_encoded({'typ': 'dpop+jwt', 'alg': 'none', 'jwk': HELD.public})}.{_encoded({})}.AA",
    "a12 HS256": lambda: f"{_encoded({'typ': 'dpop+jwt', 'alg': 'HS256', 'jwk': HELD.public})}.{_encoded({})}.AA",
    "f31 RSA": lambda: make(HeldKey.generate("PS256")),
    "f31 private key": _head(jwk=HELD.key.as_dict(private=True)),
    "f31 symmetric key": _head(jwk={"kty": "oct", "k": "AA"}),
    "f31 off the curve": _head(jwk={**HELD.public, "y": HELD.public["x"]}),
    "f31 unknown curve": _head(jwk={**HELD.public, "crv": "P-1"}),
    "f31 jwk is text": _head(jwk="AA"),
    "a12 no jwk": _head(jwk=None),
    "a12 jku": _head(jku="https://evil.example"),
    "a12 x5u": _head(x5u="https://evil.example"),
    "a12 crit": _head(crit=["exp"]),
    "a12 b64": _head(b64=True),
    "a12 kid": _head(kid="k"),
    "f11 header over 2 KiB": _head(jwk={**HELD.public, "x5c": ["A" * 2048]}),
    "over 4 KiB": _with(pad="p" * 4096),
    "two parts": lambda: "a.b",
    "empty": lambda: "",
    "two proofs in one header": lambda: f"{make()}, {make()}",
    "beyond ASCII": lambda: "é.é.é",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a10_an_unsound_proof_is_refused(forge: Callable[[], str]) -> None:
    with pytest.raises(OAuthRefusal) as refused:
        check(forge())
    assert refused.value.error == "invalid_dpop_proof"


def test_f11_a_header_longer_than_joserfcs_512_bytes_is_read() -> None:
    assert check(make(header={"jwk": {**HELD.public, "x5c": ["A" * 900]}})).jkt == HELD.jkt


@pytest.mark.parametrize(
    "nonce", [None, "", "x", 7, ["a"], "0.AAAAAAAAAAAAAAAAAAAAAA", "-1.AAAAAAAAAAAAAAAAAAAAAA", "0.\n"]
)
def test_a10_without_a_nonce_of_ours_one_is_asked_for(nonce: object) -> None:
    with pytest.raises(OAuthRefusal) as refused:
        check(make(nonce=nonce))
    assert refused.value.error == "use_dpop_nonce"


def test_a_nonce_is_good_for_its_span_and_the_next_and_the_client_is_told_to_change() -> None:
    nonces = Nonces(VAULT)
    start = datetime.fromtimestamp(MOMENT // SPAN_S * SPAN_S, tz=UTC)
    made = nonces.current(start)
    assert nonces.current(start + timedelta(seconds=SPAN_S - 1)) == made
    assert Nonces(VAULT).is_good(made, start + timedelta(seconds=2 * SPAN_S - 1))
    assert not nonces.is_good(made, start + timedelta(seconds=2 * SPAN_S))
    assert not nonces.is_good(made, start - timedelta(seconds=1))
    assert not Nonces(Vault(b"another secrets key of thirty-two bytes")).is_good(made, start)
    later = start + timedelta(seconds=SPAN_S)
    proof = proofs().check(
        HELD.proof("POST", URL, now=later, nonce=made, token=TOKEN), "POST", URL, now=later, token=TOKEN
    )
    assert proof.next_nonce == nonces.current(later) != made
    assert proofs().nonce_headers(later) == {"DPoP-Nonce": nonces.current(later)}


def test_after_a_new_birth_older_nonces_are_void_and_a_newer_one_teaches_other_processes() -> None:
    one, other = Nonces(VAULT), Nonces(VAULT)
    before = one.current(NOW)
    one.learn(MOMENT)
    after = one.current(NOW)
    assert (one.is_good(before, NOW), one.is_good(after, NOW)) == (False, True)
    forged = f"{MOMENT + 5:x}.{after.partition('.')[2]}"
    assert (other.is_good(forged, NOW), other.birth) == (False, 0)
    assert (other.is_good(after, NOW), other.birth) == (True, MOMENT)
    assert not other.is_good(before, NOW)
    one.learn(5)
    assert one.birth == MOMENT

"""private_key_jwt: one sound assertion, and each way in which it may be unsound."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jws

from platform_core.identity.oauth.assertion import AHEAD_S_MAX, LIFE_S_MAX, Assertion, read_assertion
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.oauth.public_keys import CLIENT_KINDS, PublicKey, import_public_jwk
from tests.support.proofs import Algorithm, HeldKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOMENT = int(NOW.timestamp())
CLIENT = "app_test_01jdx0000000000000000000ab"
OTHER = "app_test_01jdx0000000000000000000cd"
ISSUER = "https://arsenal.test"
TOKEN = f"{ISSUER}/oauth/token"
PAR = f"{ISSUER}/oauth/par"
AUDIENCES = (ISSUER, TOKEN, PAR)
KEYS: dict[Algorithm, HeldKey] = {"ES256": HeldKey.generate()}
KEYS["PS256"] = HeldKey.generate("PS256")
KEYS["RS256"] = HeldKey("RS256", KEYS["PS256"].key)
KEYS["Ed25519"] = HeldKey.generate("Ed25519")
HELD = KEYS["ES256"]
ONE_TEXT = "The client is unknown or its secret is wrong."
pytestmark = pytest.mark.unit


def public(*keys: HeldKey, **beside: Any) -> list[PublicKey]:
    return [import_public_jwk({**key.public, **beside}, kinds=CLIENT_KINDS) for key in keys]


def verify(text: str, keys: list[PublicKey] | None = None, now: datetime = NOW) -> Assertion:
    return read_assertion(text).verify(public(HELD) if keys is None else keys, audiences=AUDIENCES, now=now)


@pytest.mark.parametrize("alg", ["ES256", "PS256", "RS256"])
@pytest.mark.parametrize("audience", [ISSUER, TOKEN, PAR, [ISSUER], [ISSUER, TOKEN]])
def test_f12_f33_a_sound_assertion_proves_the_client(alg: Algorithm, audience: object) -> None:
    text = KEYS[alg].assertion(CLIENT, audience, now=NOW, claims={"jti": "once"})
    assert verify(text, public(KEYS[alg])) == Assertion(CLIENT, "once", NOW, NOW + timedelta(seconds=60))


def test_f32_without_kid_each_key_of_the_algorithm_is_tried_with_kid_the_one_named() -> None:
    first, second = HeldKey.generate(), HeldKey.generate()
    keys = [*public(first, kid="a"), *public(KEYS["PS256"]), *public(second, kid="b")]
    assert verify(second.assertion(CLIENT, ISSUER, now=NOW), keys).client_id == CLIENT
    assert verify(second.assertion(CLIENT, ISSUER, now=NOW, header={"kid": "b"}), keys).client_id == CLIENT
    assert verify(second.assertion(CLIENT, ISSUER, now=NOW, header={"kid": second.jkt}), keys).client_id == CLIENT
    for kid in ("a", "c"):
        with pytest.raises(OAuthRefusal):
            verify(second.assertion(CLIENT, ISSUER, now=NOW, header={"kid": kid}), keys)


def test_an_assertion_without_iat_counts_as_old_as_it_can_be() -> None:
    text = HELD.assertion(CLIENT, ISSUER, now=NOW, claims={"iat": None})
    assert verify(text).issued == NOW + timedelta(seconds=60 - LIFE_S_MAX)


def _hmac_by(key: HeldKey) -> str:
    text = key.assertion(CLIENT, ISSUER, now=NOW)
    _, claims, signature = text.split(".")
    return ".".join((_encoded({"alg": "HS256"}), claims, signature))


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _raw_claims(raw: bytes) -> str:
    return HELD.sign({"alg": "ES256"}, raw)


def _with(**claims: Any) -> Callable[[], str]:
    return lambda: HELD.assertion(CLIENT, ISSUER, now=NOW, claims=claims)


def _head(**header: Any) -> Callable[[], str]:
    return lambda: HELD.assertion(CLIENT, ISSUER, now=NOW, header=header)


FORGED: dict[str, Callable[[], str]] = {
    "a15 by another key": lambda: HeldKey.generate().assertion(CLIENT, ISSUER, now=NOW),
    "a15 for another client": _with(sub=OTHER),
    "a15 of another issuer": _with(iss=OTHER),
    "a15 far exp": _with(exp=MOMENT + LIFE_S_MAX + 1),
    "a15 expired": _with(exp=MOMENT),
    "f22 exp in ten years": _with(exp=MOMENT + 315_360_000),
    "f22 exp overflows": lambda: _raw_claims(
        json.dumps({"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "j", "exp": 10**30}).encode()
    ),
    "f22 exp is text": _with(exp="2030"),
    "f22 exp is a fraction": _with(exp=MOMENT + 30.5),
    "f22 exp is true": _with(exp=True),
    "f22 no exp": _with(exp=None),
    "f22 no jti": _with(jti=None),
    "f22 jti is a number": _with(jti=7),
    "f22 jti is empty": _with(jti=""),
    "f22 jti is long": _with(jti="j" * 257),
    "f22 jti is a list": _with(jti=["j"]),
    "f22 jti beyond ASCII": _with(jti="ö"),
    "f22 jti with a line break": _with(jti="j\n"),
    "iat ahead": _with(iat=MOMENT + AHEAD_S_MAX + 1),
    "iat is text": _with(iat="now"),
    "nbf ahead": _with(nbf=MOMENT + AHEAD_S_MAX + 1),
    "f12 aud of another": _with(aud="https://other.example"),
    "f12 aud of us and another": _with(aud=[ISSUER, "https://other.example"]),
    "aud is the client": _with(aud=CLIENT),
    "aud is empty": _with(aud=[]),
    "aud is missing": _with(aud=None),
    "aud is an object": _with(aud={"a": ISSUER}),
    "aud holds a list": _with(aud=[[ISSUER]]),
    "no sub": _with(sub=None),
    "f20 sub is no id": _with(sub="admin' --", iss="admin' --"),
    "f20 sub is a list": _with(sub=[CLIENT]),
    "f20 deep claims": lambda: _raw_claims(b'{"a":' + b"[" * 2000),
    "f20 lone surrogate": lambda: _raw_claims(b'{"sub": "\\ud800", "iss": "\\ud800"}'),
    "f20 NUL": lambda: _raw_claims(b'{"sub": "\\u0000"}'),
    "f21 doubled member": lambda: _raw_claims(f'{{"sub": "{OTHER}", "sub": "{CLIENT}"}}'.encode()),
    "f21 NaN": lambda: _raw_claims(f'{{"sub": "{CLIENT}", "exp": NaN}}'.encode()),
    "f20 60 kB": lambda: f"{_encoded({'alg': 'ES256'})}.{'W' * 60_000}.AAAA",
    "f20 over 4 KiB": _with(pad="p" * 4096),
    "claims are a list": lambda: _raw_claims(b"[1]"),
    "a12 alg none": lambda: f"{_encoded({'alg': 'none'})}.{_encoded({'sub': CLIENT})}.",
    "f33 a12 HS256 with the public key": lambda: _hmac_by(HELD),
    "f33 Ed25519": lambda: KEYS["Ed25519"].assertion(CLIENT, ISSUER, now=NOW),
    "a12 jwk": _head(jwk=HELD.public),
    "a12 jku": _head(jku="https://evil.example/jwks"),
    "a12 x5u": _head(x5u="https://evil.example/cert"),
    "a12 crit": _head(crit=["exp"]),
    "a12 b64": _head(b64=False, crit=["b64"]),
    "a12 kid is a path": _head(kid="../../../dev/null"),
    "a12 kid is a list": _head(kid=["a"]),
    "a12 kid is long": _head(kid="k" * 400),
    "a13 typ of an access token": _head(typ="at+jwt"),
    "typ is a number": _head(typ=5),
    "two parts": lambda: "a.b",
    "five parts": lambda: "a.b.c.d.e",
    "empty": lambda: "",
    "not base64": lambda: "!.!.!",
    "beyond ASCII": lambda: "é.é.é",
    "padded": lambda: HELD.assertion(CLIENT, ISSUER, now=NOW) + "=",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a15_an_unsound_assertion_is_refused_in_one_text(forge: Callable[[], str]) -> None:
    keys = public(HELD, KEYS["Ed25519"])
    with pytest.raises(OAuthRefusal) as refused:
        verify(forge(), keys)
    assert (refused.value.error, refused.value.description) == ("invalid_client", ONE_TEXT)


def test_f35_where_there_is_no_key_one_signature_is_checked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    genuine = jws.deserialize_compact

    def counted(*args: Any, **kwargs: Any) -> Any:
        checked.append(args)
        return genuine(*args, **kwargs)

    monkeypatch.setattr(jws, "deserialize_compact", counted)
    text = HELD.assertion(CLIENT, ISSUER, now=NOW)
    with pytest.raises(OAuthRefusal):
        verify(text, [])
    assert len(checked) == 1

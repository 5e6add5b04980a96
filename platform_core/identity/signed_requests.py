"""Signed requests: an option per app, then compulsory for it (RFC 9421).

A request that carries a signature is verified whoever sent it; a client that was set to sign gets nothing without one.
The signature covers method, address, token, body and idempotency key, is at most five minutes old, and its nonce counts
once. Answers to signed requests are signed alike, by the key that signs access tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from joserfc.jwk import ECKey
from starlette.requests import Request
from starlette.types import Scope

from platform_core.identity.client_keys import ClientKeys
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors_keys import SIGNATURE_INVALID, SIGNATURE_NEEDED
from platform_core.identity.message_signatures import (
    ALGORITHMS,
    LABEL,
    TAG,
    SignatureInput,
    SignatureRefused,
    content_digest,
    digest_fits,
    encode,
    read_signature,
    sign_p256,
    verifies,
)
from platform_core.identity.oauth.compact import JTI
from platform_core.identity.oauth.public_keys import PublicKey
from platform_core.identity.principal import Principal
from platform_core.identity.seen_jti import OnceOnly, claim
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.http.body import whole_body
from platform_core.kernel.http.envelope import Envelope

AGE_S_MAX: Final = 300
AHEAD_S_MAX: Final = 10
_ALWAYS: Final = frozenset({"@method", "@target-uri", "authorization"})
_IF_THERE: Final = ("idempotency-key",)
_COVERED: Final = '("@status" "content-digest" "request-id" "@method";req "@target-uri";req)'


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signature is sound. `once`: the part of a plan that uses its nonce up."""

    once: OnceOnly
    nonce: str
    method: str
    target: str


class SignedRequests:
    """Verifies requests and signs answers. One per process."""

    def __init__(self, deps: IdentityDeps, keys: ClientKeys, signing: SigningKeys, *, public_origin: str) -> None:
        self._deps = deps
        self._keys = keys
        self._signing = signing
        self._origin = public_origin

    async def check(self, request: Request, principal: Principal) -> SignedRequest:
        """The request, if its signature is the client's and covers what it must. Reads keys, writes nothing.

        401 `identity.signature_needed` without one, `identity.signature_invalid` for every fault of one.
        """
        inputs, given = _values(request.scope, b"signature-input"), _values(request.scope, b"signature")
        if not inputs and not given:
            raise SIGNATURE_NEEDED.error()
        now = self._deps.clock.now()
        try:
            said, signature = read_signature(inputs, given)
            nonce, created = _sound(said, int(now.timestamp()))
            body = await whole_body(request)
            target = self._target(request.scope)
            base = said.base(lambda name, parameters: _component(request, target, name, parameters))
            _check_cover(said, request, body)
        except SignatureRefused as refused:
            raise SIGNATURE_INVALID.error() from refused
        key = next(iter(await self._found(principal.client_id, said)), None)
        if key is None or not verifies(key, base, signature):
            raise SIGNATURE_INVALID.error()
        issued = datetime.fromtimestamp(created, tz=UTC)
        once = claim("signature", key.thumbprint, nonce, issued + timedelta(seconds=AGE_S_MAX + 1), issued=issued)
        return SignedRequest(once, nonce, request.method, target)

    def seal_answer(self, signed: SignedRequest, envelope: Envelope) -> None:
        """Have the answer signed: status, body, request id, and the request's method, address and nonce."""

        def seal(
            status: int, headers: object, body: bytes
        ) -> tuple[tuple[bytes, bytes], ...]:  # the headers are covered by name: ours are the envelope's
            return self._seal(signed, envelope.request_id, status=status, body=body)

        envelope.seal = seal

    async def _found(self, client_id: str, said: SignatureInput) -> list[PublicKey]:
        keys = await self._keys.find(client_id, kid=said.keyid)
        return [
            key
            for key in keys
            if said.keyid in (key.kid, key.thumbprint) and said.alg in (None, ALGORITHMS.get(key.kind))
        ]

    def _target(self, scope: Scope) -> str:
        raw: bytes | None = scope.get("raw_path")
        path = raw.decode("latin-1") if raw is not None else str(scope["path"])
        query = scope.get("query_string", b"").decode("latin-1")
        return f"{self._origin}{path}{'?' + query if query else ''}"

    def _seal(
        self, signed: SignedRequest, request_id: str, *, status: int, body: bytes
    ) -> tuple[tuple[bytes, bytes], ...]:
        key = self._signing.signing.keys[0]
        assert isinstance(key, ECKey), "we sign by ES256"
        assert isinstance(key.private_key, EllipticCurvePrivateKey), "it signs"
        digest, created = content_digest(body), int(self._deps.clock.now().timestamp())
        parameters = f'{_COVERED};created={created};nonce="{signed.nonce}";keyid="{key.kid}";tag="{TAG}"'
        lines = (
            f'"@status": {status}',
            f'"content-digest": {digest}',
            f'"request-id": {request_id}',
            f'"@method";req: {signed.method}',
            f'"@target-uri";req: {signed.target}',
            f'"@signature-params": {parameters}',
        )
        signature = sign_p256(key.private_key, "\n".join(lines).encode("latin-1"))
        return (
            (b"content-digest", digest.encode()),
            (b"signature-input", f"{LABEL}={parameters}".encode()),
            (b"signature", f"{LABEL}=:{encode(signature)}:".encode()),
        )


def _sound(said: SignatureInput, now: int) -> tuple[str, int]:
    """Nonce and time of a signature made for us, lately."""
    is_sound = (
        said.tag == TAG
        and said.keyid is not None
        and said.created is not None
        and now - AGE_S_MAX <= said.created <= now + AHEAD_S_MAX
        and (said.expires is None or said.expires > now)
        and said.nonce is not None
        and JTI.fullmatch(said.nonce) is not None
        and '"' not in said.nonce
        and "\\" not in said.nonce
    )
    if not is_sound or said.nonce is None or said.created is None:
        raise SignatureRefused("not made for us, or not now")
    return said.nonce, said.created


def _check_cover(said: SignatureInput, request: Request, body: bytes) -> None:
    """That nothing which changes the meaning is left out, and that the body is the one that was signed."""
    covered = {name for name, parameters in said.components if not parameters}
    headers = request.headers
    needed = _ALWAYS | {name for name in _IF_THERE if name in headers} | ({"content-digest"} if body else frozenset())
    if not needed <= covered:
        raise SignatureRefused("a component that must be covered is not")
    if "content-digest" in headers and not digest_fits(headers["content-digest"], body):
        raise SignatureRefused("the body is another one")


def _component(request: Request, target: str, name: str, parameters: str) -> str:
    """RFC 9421 section 2: derived components without parameters, and header fields; KeyError for anything else."""
    if parameters:
        raise KeyError(name)
    if name.startswith("@"):
        return {"@method": request.method, "@target-uri": target}[name]
    values = request.headers.getlist(name)
    if not values:
        raise KeyError(name)
    return ", ".join(value.strip(" \t") for value in values)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]

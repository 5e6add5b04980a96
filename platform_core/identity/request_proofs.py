"""What a request to the API must prove besides its token: that it holds the key that the token is bound to.

RFC 9449 section 7: a bound token passes with the scheme DPoP and a proof alone, an unbound one with Bearer alone. The
proof counts once: it is used up by a plan before the route does anything.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.errors import TOKEN_INVALID
from platform_core.identity.errors_keys import PROOF_INVALID, PROOF_NONCE_NEEDED, SIGNATURE_INVALID
from platform_core.identity.oauth.dpop import ALGORITHMS, NONCE_HEADER, Proof, Proofs, claim_proof
from platform_core.identity.oauth.protocol import OAuthRefusal
from platform_core.identity.principal import Principal
from platform_core.identity.seen_jti import AlreadySeen, Forgotten
from platform_core.identity.signed_requests import SignedRequests
from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of

_BEARER: Final = {"WWW-Authenticate": 'Bearer realm="arsenal", error="invalid_token"'}


class RequestProofs:
    """Checks the proofs of requests. One per process."""

    def __init__(self, deps: IdentityDeps, proofs: Proofs, signatures: SignedRequests, *, public_origin: str) -> None:
        self._deps = deps
        self._proofs = proofs
        self._signatures = signatures
        self._origin = public_origin

    def check(self, request: Request, principal: Principal, *, token: str, is_dpop: bool) -> Proof:
        """The proof of a request that shows a bound token, or any token by the scheme DPoP. Writes nothing.

        401 `identity.token_invalid`, `identity.proof_invalid`, `identity.proof_nonce_needed`.
        """
        if principal.jkt is None:
            raise TOKEN_INVALID.error(headers=_BEARER)
        if not is_dpop:
            raise TOKEN_INVALID.error(headers=_challenge("invalid_token"))
        shown = [value for name, value in request.scope["headers"] if name == b"dpop"]
        if len(shown) != 1:
            raise _refused()
        try:
            proof = self._proofs.check(
                shown[0].decode("latin-1"),
                request.method,
                self._origin + _path(request.scope),
                now=self._deps.clock.now(),
                token=token,
            )
        except OAuthRefusal as refusal:
            raise (self._ask_for_nonce() if refusal.error == "use_dpop_nonce" else _refused()) from refusal
        if proof.jkt != principal.jkt:
            raise _refused()
        return proof

    async def settle(self, request: Request, principal: Principal, proof: Proof | None, *, is_signed: bool) -> None:
        """Check the request's signature, if it has or needs one, and let proof and signature count, this once.

        401 `identity.signature_needed`, `identity.signature_invalid`, `identity.proof_invalid`,
        `identity.proof_nonce_needed`; 503 while nothing can be written.
        """
        envelope = envelope_of(request.scope)
        plan = Plan(None)
        if is_signed:
            signed = await self._signatures.check(request, principal)
            self._signatures.seal_answer(signed, envelope)
            plan.add(signed.once)
        if proof is not None:
            plan.add(claim_proof(proof))
        await self._use_up(plan)
        if proof is not None and proof.next_nonce is not None:
            envelope.headers = (*envelope.headers, (NONCE_HEADER.lower().encode(), proof.next_nonce.encode()))

    async def _use_up(self, plan: Plan) -> None:
        try:
            await self._deps.committer.commit(plan)
        except PlanRefused as refused:
            refusal = refused.refusal
            if not isinstance(refusal, AlreadySeen | Forgotten):
                raise
            if refusal.kind == "signature":
                raise SIGNATURE_INVALID.error() from refused
            if isinstance(refusal, Forgotten):
                self._proofs.nonces.learn(refusal.born)
                raise self._ask_for_nonce() from refused
            raise _refused() from refused

    def _ask_for_nonce(self) -> PlatformError:
        nonce = self._proofs.nonce_headers(self._deps.clock.now())
        return PROOF_NONCE_NEEDED.error(headers={**_challenge("use_dpop_nonce"), **nonce})


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'DPoP realm="arsenal", error="{error}", algs="{" ".join(ALGORITHMS)}"'}


def _refused() -> PlatformError:
    return PROOF_INVALID.error(headers=_challenge("invalid_dpop_proof"))


def _path(scope: Scope) -> str:
    """As the client wrote it: what is escaped in the address is escaped in the proof."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else str(scope["path"])

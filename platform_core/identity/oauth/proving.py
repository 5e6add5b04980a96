"""DPoP at our endpoints (RFC 9449 sections 5 and 10.1); what counts once is used up before anything is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from platform_core.identity.deps import IdentityDeps
from platform_core.identity.oauth.clients import Client
from platform_core.identity.oauth.dpop import Proof, Proofs, claim_proof
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal, OAuthRequest
from platform_core.identity.seen_jti import AlreadySeen, Forgotten, OnceOnly
from platform_core.kernel.commit import Plan, PlanRefused


@dataclass(frozen=True, slots=True)
class EndpointProofs:
    """The proofs of requests to OAuth endpoints."""

    deps: IdentityDeps
    proofs: Proofs
    origin: str

    def check(self, request: OAuthRequest) -> Proof | None:
        """The proof of possession that came along, if one did. Writes nothing. Raises `OAuthRefusal`."""
        if not request.dpop:
            return None
        if len(request.dpop) > 1:
            raise OAuthRefusal("invalid_dpop_proof", "There is more than one DPoP header.")
        now = self.deps.clock.now()
        try:
            return self.proofs.check(request.dpop[0], request.method, self.origin + request.path, now=now)
        except OAuthRefusal as refusal:
            if refusal.error == "use_dpop_nonce":
                raise self._ask_for_nonce() from refusal
            raise

    def claims(self, client: Client, proof: Proof | None) -> list[OnceOnly]:
        """The parts that let assertion and proof count once, for a plan of any tenant."""
        found: list[OnceOnly] = []
        if client.claim is not None:
            found.append(client.claim)
        if proof is not None:
            found.append(claim_proof(proof))
        return found

    async def use_up(self, claims: Sequence[OnceOnly]) -> None:
        """Let assertion and proof count, this once, in a plan of their own. Raises `OAuthRefusal`."""
        if not claims:
            return
        try:
            await self.deps.committer.commit(Plan(None).add(*claims))
        except PlanRefused as refused:
            raise self.replay(refused) or refused from refused

    def replay(self, refused: PlanRefused) -> OAuthRefusal | None:
        """The answer to a plan that was refused for what it claims; None where that was not the reason."""
        refusal = refused.refusal
        if not isinstance(refusal, AlreadySeen | Forgotten) or refusal.kind not in {"assertion", "dpop"}:
            return None
        if refusal.kind == "assertion":
            return OAuthRefusal("invalid_client", "The assertion was used before.")
        if isinstance(refusal, Forgotten):
            self.proofs.nonces.learn(refusal.born)
            return self._ask_for_nonce()
        return OAuthRefusal("invalid_dpop_proof", "The proof was used before.")

    def renew_nonce(self, answer: OAuthAnswer, proof: Proof | None) -> OAuthAnswer:
        """The answer, naming the nonce to use from now on if that changed."""
        if proof is None or proof.next_nonce is None:
            return answer
        headers = self.proofs.nonce_headers(self.deps.clock.now())
        return OAuthAnswer(answer.status, answer.body, {**answer.headers, **headers})

    def _ask_for_nonce(self) -> OAuthRefusal:
        headers = self.proofs.nonce_headers(self.deps.clock.now())
        return OAuthRefusal("use_dpop_nonce", "The proof needs the nonce of the header DPoP-Nonce.", headers=headers)

"""Everything by which clients prove themselves with keys, put together for one process."""

from __future__ import annotations

from dataclasses import dataclass

from platform_core.identity.client_keys import ClientKeys
from platform_core.identity.deps import IdentityDeps
from platform_core.identity.key_sets import KeySets
from platform_core.identity.oauth.assertion import Assertions
from platform_core.identity.oauth.dpop import Proofs
from platform_core.identity.oauth.dpop_nonce import Nonces
from platform_core.identity.request_proofs import RequestProofs
from platform_core.identity.revocation import RevocationFeed
from platform_core.identity.signed_requests import SignedRequests
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.http.guarded_client import GuardedClient

CONNECTIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class ProofTools:
    """Close the key sets when the process ends."""

    key_sets: KeySets
    keys: ClientKeys
    assertions: Assertions
    nonces: Nonces
    proofs: Proofs
    requests: RequestProofs


def assemble(
    deps: IdentityDeps, signing: SigningKeys, feed: RevocationFeed, *, public_origin: str, allow_loopback_http: bool
) -> ProofTools:
    """Nothing is opened. `allow_loopback_http`: published key sets of this machine count, for tests."""
    client = GuardedClient(allow_loopback_http=allow_loopback_http, connections_max=CONNECTIONS_MAX)
    sets = KeySets(client, deps.clock)
    keys = ClientKeys(deps, sets, feed, allow_loopback_http=allow_loopback_http)
    nonces = Nonces(deps.vault)
    proofs = Proofs(nonces)
    signatures = SignedRequests(deps, keys, signing, public_origin=public_origin)
    return ProofTools(
        key_sets=sets,
        keys=keys,
        assertions=Assertions(keys),
        nonces=nonces,
        proofs=proofs,
        requests=RequestProofs(deps, proofs, signatures, public_origin=public_origin),
    )

"""`OAuthServer` by Authlib: reads before, Authlib's synchronous part on values alone, one plan after it.

Authlib does no input or output here, so it runs on the loop: it holds it for about 0.1 ms, most of which is the ES256
signature, and needs neither threads nor connections of its own. The answer goes out when the plan is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import structlog

from platform_core.identity.access import Access, audience
from platform_core.identity.consent import Approved, Declined
from platform_core.identity.deps import IdentityDeps, single_reads
from platform_core.identity.errors import ACCESS_UNAVAILABLE
from platform_core.identity.models import APP_SECRETS
from platform_core.identity.oauth.authorization import Authorizations, GivesGrants
from platform_core.identity.oauth.authorize import DetailsReader, Rules
from platform_core.identity.oauth.clients import METHODS, Assertions, Client, ClientAuthentication, read_basic
from platform_core.identity.oauth.cors import PublicOrigins
from platform_core.identity.oauth.device import GRANT_TYPE as DEVICE_GRANT
from platform_core.identity.oauth.device import DeviceAuthorization
from platform_core.identity.oauth.dpop import ALGORITHMS as PROOF_ALGORITHMS
from platform_core.identity.oauth.dpop import Proof, Proofs
from platform_core.identity.oauth.endpoints import TokenFinder, make_endpoints
from platform_core.identity.oauth.errors import error_page
from platform_core.identity.oauth.grants import GrantType
from platform_core.identity.oauth.grants.authorization_code import AuthorizationCode
from platform_core.identity.oauth.grants.client_credentials import ClientCredentials
from platform_core.identity.oauth.grants.refresh_token import GRACE, Refresh
from platform_core.identity.oauth.guards import refusal_of
from platform_core.identity.oauth.metadata import Offer, make_metadata
from platform_core.identity.oauth.protocol import Decides, OAuthAnswer, OAuthRefusal, OAuthRequest, Redirect
from platform_core.identity.oauth.proving import EndpointProofs
from platform_core.identity.oauth.requests import OAUTH, AuthorizationRequest, ConsentTokens
from platform_core.identity.oauth.server import AuthlibServer, TokenRequest
from platform_core.identity.oauth.tokens import TokenGenerator
from platform_core.identity.refusals import Refusals
from platform_core.identity.revocation import DATABASE_AWAY, RevocationFeed
from platform_core.identity.seen_jti import OnceOnly
from platform_core.identity.sessions import SignedIn
from platform_core.identity.signing_keys import SigningKeys
from platform_core.kernel.commit import Audit, Change, Plan, PlanRefused
from platform_core.kernel.errors import PlatformError

USE_RECORDED_EVERY: Final = timedelta(hours=1)
ATTEMPTS_MAX: Final = 4
"""How often a decision is made anew when what it was based on moved; the last refusal is the answer."""
log = structlog.get_logger(__name__)


class AuthlibOAuthServer:
    """The authorization server of one process."""

    def __init__(
        self,
        deps: IdentityDeps,
        keys: SigningKeys,
        access: Access,
        *,
        public_origin: str,
        consent: GivesGrants,
        read_details: DetailsReader,
        detail_types: Sequence[str] = (),
        assertions: Assertions,
        proofs: Proofs,
        refusals: Refusals,
        feed: RevocationFeed,
        more_grants: Sequence[Callable[[IdentityDeps], GrantType]] = (),
        refresh_grace: timedelta = GRACE,
    ) -> None:
        """Raises ValueError for an origin that is neither https nor loopback: tokens would travel in the clear."""
        self._deps = deps
        self._keys = keys
        self._origin = public_origin
        self._audience = audience(public_origin)
        self._reads = single_reads(deps.database)
        self._origins = PublicOrigins(self._reads, feed, deps.clock)
        self._refusals = refusals
        self._proofs = EndpointProofs(deps, proofs, public_origin)
        self._clients = ClientAuthentication(deps, origin=public_origin, assertions=assertions)
        self._finder = TokenFinder(deps, self._reads, access, issuer=public_origin)
        grants: list[GrantType] = [
            AuthorizationCode(deps, self._reads),
            Refresh(deps, self._reads, grace=refresh_grace),
            ClientCredentials(),
            *(make(deps) for make in more_grants),
        ]
        self._grants = {grant.name: grant for grant in grants}
        self._server = self._make_server(grants)
        rules = Rules(self._audience, read_details)
        self._devices = DeviceAuthorization(deps, rules, public_origin)
        self.consent_tokens = ConsentTokens(deps.vault, deps.clock)
        self._authorizations = Authorizations(
            deps=deps,
            reads=self._reads,
            issuer=public_origin,
            rules=rules,
            tokens=self.consent_tokens,
            consent=consent,
        )
        self.doors: dict[str, Decides] = {OAUTH: self._authorizations}
        offer = Offer(
            grant_types=tuple(self._grants),
            methods=METHODS,
            assertion_algorithms=tuple(assertions.algorithms),
            proof_algorithms=PROOF_ALGORITHMS,
            detail_types=detail_types,
            has_device_flow=DEVICE_GRANT in self._grants,
        )
        self._metadata = make_metadata(public_origin, offer)

    def _make_server(self, grants: Sequence[GrantType]) -> AuthlibServer:
        generator = TokenGenerator(
            issuer=self._origin,
            audience=self._audience,
            keys=lambda: self._keys.signing,
            clock=self._deps.clock,
            ids=self._deps.ids,
        )
        server = AuthlibServer(generator)
        for grant in grants:
            server.register_grant(grant.authlib, list(grant.extensions))
        for endpoint in make_endpoints(self._deps):
            server.register_endpoint(endpoint)
        return server

    async def open_authorization(
        self, parameters: Mapping[str, str], *, browser: str, who: SignedIn | None
    ) -> Redirect:
        """See `OAuthServer`."""
        with _database():
            return await self._authorizations.open(parameters, browser=browser, who=who)

    async def decide(self, request: AuthorizationRequest, who: SignedIn, decision: Approved | Declined) -> str:
        """See `OAuthServer`. A request of another door is decided by whoever stands in `doors` for it."""
        with _database():
            return await self.doors[request.door].decide(request, who, decision)

    async def push_authorization(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        with _database():
            try:
                client, proof = await self._authenticate(request)
                jkt = proof.jkt if proof is not None else None
                answer = await self._authorizations.push(request.form, client, proof_jkt=jkt)
                return self._proofs.renew_nonce(answer, proof)
            except OAuthRefusal as refusal:
                return self._explained(request, refusal.answer())

    async def issue_token(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        with _database():
            try:
                if request.form.get("resource", self._audience) != self._audience:
                    raise OAuthRefusal("invalid_target", "The resource is not served here.")
                if "grant_type" not in request.form:
                    raise OAuthRefusal("invalid_request", "The parameter grant_type is missing.")
                client, proof = await self._identify(request)
                answer = await self._issue(request, client, proof)
            except OAuthRefusal as refusal:
                return self._explained(request, refusal.answer())
            if answer.status == 200:
                await self._record_use(client)
            return self._explained(request, self._proofs.renew_nonce(answer, proof))

    async def authorize_device(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        with _database():
            try:
                client, _ = await self._authenticate(request)
                return await self._devices.begin(request.form, client)
            except OAuthRefusal as refusal:
                return self._explained(request, refusal.answer())

    async def introspect(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        return await self._about_token("introspection", request)

    async def revoke(self, request: OAuthRequest) -> OAuthAnswer:
        """See `OAuthServer`."""
        return await self._about_token("revocation", request)

    async def allows_origin(self, origin: str) -> bool:
        """See `OAuthServer`."""
        with _database():
            return await self._origins.allows(origin)

    def jwks(self) -> Mapping[str, Any]:
        """See `OAuthServer`."""
        return self._keys.jwks()

    def metadata(self) -> Mapping[str, Any]:
        """See `OAuthServer`."""
        return self._metadata

    async def _issue(self, request: OAuthRequest, client: Client, proof: Proof | None) -> OAuthAnswer:
        """A token, in one plan with what lets assertion and proof count once; refused, they count all the same."""
        claims = self._proofs.claims(client, proof)
        try:
            return await self._decide_until_known(request, client, proof, claims)
        except OAuthRefusal:
            await self._proofs.use_up(claims)  # a replay is refused again here, as what it is
            raise

    async def _decide_until_known(
        self, request: OAuthRequest, client: Client, proof: Proof | None, claims: Sequence[OnceOnly]
    ) -> OAuthAnswer:
        """Decide, commit, and decide anew when somebody else was faster: a loser sees what the winner wrote."""
        grant = self._grants.get(request.form["grant_type"])
        if client.state.profile == "money" and proof is None:
            raise OAuthRefusal("invalid_dpop_proof", "This client must bind its tokens to a key.")
        refused: PlanRefused | None = None
        for _ in range(ATTEMPTS_MAX):
            token_request = self._token_request(request, client, proof=proof)
            if grant is not None:
                await grant.prepare(token_request)
            answer: OAuthAnswer = self._server.create_token_response(token_request)
            _account_for(token_request, answer)
            refused = await self._commit(token_request, claims)
            if refused is None:
                return answer
        assert refused is not None, "the last attempt was refused"
        raise refusal_of(refused)

    async def _commit(self, request: TokenRequest, claims: Sequence[OnceOnly] = ()) -> PlanRefused | None:
        """Write what was decided, `claims` with it; the refusal when what it was based on has moved.

        Raises `OAuthRefusal` for a replay, of which nothing is written then.
        """
        is_refusal = request.refused is not None
        plan = request.plan_on_error if is_refusal else request.plan
        if plan is None:
            await self._proofs.use_up(claims)
            return None
        try:
            await self._deps.committer.commit(plan.add(*claims))
        except PlanRefused as refused:
            if (replay := self._proofs.replay(refused)) is not None:
                raise replay from refused
            if is_refusal:  # another process saw the same and wrote it first
                log.info("identity.oauth_refusal_recorded_elsewhere", refusal=str(refused))
                await self._proofs.use_up(claims)
                return None
            return refused
        return None

    async def _about_token(self, endpoint: str, request: OAuthRequest) -> OAuthAnswer:
        with _database():
            try:
                client, proof = await self._authenticate(request)
                if "token" not in request.form:
                    raise OAuthRefusal("invalid_request", "The parameter token is missing.")
                refused: PlanRefused | None = None
                for _ in range(ATTEMPTS_MAX):
                    about = self._token_request(request, client, proof=proof)
                    about.prepared = await self._finder.find(request.form["token"])
                    answer: OAuthAnswer = self._server.create_endpoint_response(endpoint, about)
                    refused = await self._commit(about)
                    if refused is None:
                        return self._explained(request, answer)
                assert refused is not None, "the last attempt was refused"
                raise refusal_of(refused)
            except OAuthRefusal as refusal:
                return self._explained(request, refusal.answer())

    async def _authenticate(self, request: OAuthRequest) -> tuple[Client, Proof | None]:
        """The client, and the proof of possession that came along. What is good once is used up here.

        Raises `OAuthRefusal`.
        """
        client, proof = await self._identify(request)
        await self._proofs.use_up(self._proofs.claims(client, proof))
        return client, proof

    async def _identify(self, request: OAuthRequest) -> tuple[Client, Proof | None]:
        """The same, and nothing is used up yet."""
        client = await self._clients.authenticate(request)
        return client, self._proofs.check(request)

    def _token_request(self, request: OAuthRequest, client: Client, *, proof: Proof | None) -> TokenRequest:
        return TokenRequest(
            uri=self._origin + request.path,  # the address is ours, not the Host header's (F10)
            form=dict(request.form),
            client=client,
            now=self._deps.clock.now(),
            proof_jkt=proof.jkt if proof is not None else None,
        )

    def _explained(self, request: OAuthRequest, answer: OAuthAnswer) -> OAuthAnswer:
        """The answer, an error counted and with the page about it."""
        error = answer.body.get("error")
        if not isinstance(error, str):
            return answer
        place = "oauth." + request.path.rpartition("/")[2]
        self._refusals.count(place, client_id=_claimed_client(request), reason=error)
        page = error_page(self._origin, error)
        if page is None:
            return answer
        return OAuthAnswer(answer.status, {**answer.body, "error_uri": page}, answer.headers)

    async def _record_use(self, client: Client) -> None:
        """Note at most hourly that the secret is in use. Failing to note it does not fail the token."""
        if client.secret is None:
            return
        now, last = self._deps.clock.now(), client.secret.last_used_at
        if last is not None and now - last < USE_RECORDED_EVERY:
            return
        plan = Plan(client.state.owner_merchant_id)
        plan.add(Change(APP_SECRETS, client.secret.id, {"last_used_at": now}))
        try:
            await self._deps.committer.commit(plan)
        except (PlatformError, PlanRefused) as error:
            log.warning("identity.secret_use_not_recorded", secret=client.secret.id, error=str(error))


@contextmanager
def _database() -> Iterator[None]:
    """503 while the database cannot be read."""
    try:
        yield
    except DATABASE_AWAY as error:
        raise ACCESS_UNAVAILABLE.error(retry_after_s=1) from error


def _account_for(request: TokenRequest, answer: OAuthAnswer) -> None:
    """Put the token that was made into the audit log, in the plan that gives it."""
    acting = request.acting
    if request.refused is not None or acting is None or not acting.token_id:
        return
    if request.plan is None:
        request.plan = Plan(acting.merchant_id)
    facts = {
        "kind": request.form["grant_type"],
        "grant": acting.grant_id,
        "grant_version": acting.grant_version,
        "family": acting.family_id,
        "scope": answer.body.get("scope"),
        "jkt": acting.jkt,
    }
    request.plan.add(Audit("token.issued", acting.client_id, acting.token_id, acting.merchant_id, facts))


def _claimed_client(request: OAuthRequest) -> str | None:
    """Whom the caller says it is: for the count of refusals alone, so it may be anybody."""
    claimed = request.form.get("client_id")
    if claimed is None and request.authorization is not None:
        shown = read_basic(request.authorization)
        claimed = shown.client_id if shown is not None else None
    return claimed

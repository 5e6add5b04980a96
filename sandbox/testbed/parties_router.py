"""`/sandbox/v1/merchants` and `/sandbox/v1/buyers`: who trades in a sandbox, ready at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import Committer, Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.acts import NoBody
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented, refusals
from sandbox.testbed.acquirer_client import AcquirerAway, AcquirerControls
from sandbox.testbed.acts import answer, once
from sandbox.testbed.errors import ACQUIRER_AWAY, BUYER_UNKNOWN
from sandbox.testbed.seed import MerchantPlan, SeededMerchant, Seeding, seed_merchant

MayTest = Annotated[Principal, requires("testbed:write")]
BuyerId = Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,32}$")]
Json = dict[str, Any]
_NOT_SHOWN_AGAIN: Final = "shown once"


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SandboxMerchantCreate(_Asked):
    """A merchant to try things out with."""

    name: str = Field(default="Lane Nine Noodles", min_length=1, max_length=100)
    industry: str = Field(default="restaurant", pattern=r"^[a-z_]+([.][a-z_]+)*$", max_length=60)
    rate_bp: int = Field(default=60, strict=True, ge=0, le=1_000)


class SandboxMerchantRead(BaseModel):
    """A merchant with a store, channel accounts at the acquirer and the cash drawer, a fee plan and an app. The app's
    secret is shown this once; a repeated request answers without it.
    """

    object: Literal["sandbox_merchant"]
    id: str
    name: str
    store_ids: list[str]
    acquirer_no: str
    client_id: str
    client_secret: str


class BuyerRead(BaseModel):
    """A test buyer: ready, slow (types a password until the second question) or blocked."""

    id: str
    name: str
    temper: Literal["ready", "slow", "blocked"]
    balance_minor: int


class BuyerList(BaseModel):
    """All test buyers."""

    data: list[BuyerRead]


class BuyerChange(_Asked):
    """What is left out stays as it is. An id that is new adds a buyer."""

    temper: Literal["ready", "slow", "blocked"] | None = None
    balance_minor: int | None = Field(default=None, strict=True, ge=0, le=10**13)


class PaymentCodeRead(BaseModel):
    """A one-use payment code, good for 60 seconds of the acquirer's clock."""

    auth_code: str
    expires_at: str
    buyer: str


class ScanCreate(_Asked):
    """What the buyer's phone scans."""

    qr_code: str = Field(min_length=1, max_length=512)


class ScanRead(BaseModel):
    """How it went at the acquirer."""

    status: str
    code: str


@dataclass(frozen=True, slots=True)
class SandboxParties:
    """The services that the routes stand on."""

    seeding: Seeding
    acquirer: AcquirerControls
    database: Database
    committer: Committer
    clock: Clock

    async def create(self, wanted: SandboxMerchantCreate, key: IdempotentRequest) -> SandboxMerchantRead:
        """A merchant, known to the acquirer. 503 `sandbox.acquirer_away`: a merchant may be left that cannot trade."""
        plan = MerchantPlan(
            name=wanted.name, industry=wanted.industry, stores=("First store",), fees=FeeTerms(rate_bp=wanted.rate_bp)
        )
        made = await seed_merchant(self.seeding, plan)
        await self.ask("/_merchants", {"merchant_no": made.acquirer_no, "key": made.acquirer_key.hex()})
        shown = _shown(made)
        again = shown.model_copy(update={"client_secret": _NOT_SHOWN_AGAIN}).model_dump_json()
        claim = key.claim(object_id=made.id, created_at=self.clock.now(), status=201, body=again)
        await self.committer.commit(Plan(None, [claim]))
        return shown

    async def ask(self, path: str, body: Json | None = None) -> Json:
        """One of the acquirer's controls. 503 `sandbox.acquirer_away`."""
        try:
            return await (self.acquirer.get(path) if body is None else self.acquirer.post(path, body))
        except AcquirerAway as away:
            raise ACQUIRER_AWAY.error({"reason": str(away)}, retry_after_s=1) from away

    async def require_buyer(self, buyer: str) -> None:
        """404 `sandbox.buyer_unknown`, 503 `sandbox.acquirer_away`."""
        if buyer not in {each["id"] for each in (await self.ask("/_buyers"))["buyers"]}:
            raise BUYER_UNKNOWN.error({"id": buyer})

    async def settle(self, key: IdempotentRequest, shown: BaseModel, *, status: int = 200) -> Response:
        """Keep an answer under its key, and give it."""
        claim = key.claim(created_at=self.clock.now(), status=status, body=shown.model_dump_json())
        await self.committer.commit(Plan(None, [claim]))
        return answer(shown, status=status)


def parties_router(parties: SandboxParties) -> APIRouter:
    """The routes over the services; bootstrap mounts them in a sandbox."""
    router = APIRouter(prefix="/sandbox/v1", tags=["sandbox"])

    @router.post(
        "/merchants",
        operation_id="sandbox_merchants.create",
        **documented(
            answer=SandboxMerchantRead,
            body=SandboxMerchantCreate,
            status=201,
            errors=(ACQUIRER_AWAY,),
            is_idempotent=True,
        ),
    )
    async def create_merchant(request: Request, who: MayTest) -> Response:
        """A merchant that can take payments at once, and its app's credentials."""

        async def act(wanted: SandboxMerchantCreate, key: IdempotentRequest) -> Response:
            return answer(await parties.create(wanted, key), status=201)

        return await once(request, who, SandboxMerchantCreate, act, database=parties.database, clock=parties.clock)

    @router.get("/buyers", operation_id="sandbox_buyers.list", responses=refusals(ACQUIRER_AWAY))
    async def list_buyers(_: MayTest) -> BuyerList:
        """Everybody with a wallet at the acquirer, and what is in it."""
        return BuyerList(data=(await parties.ask("/_buyers"))["buyers"])

    _buyer_acts(router, parties)
    return router


def _buyer_acts(router: APIRouter, parties: SandboxParties) -> None:
    @router.post(
        "/buyers/{buyer}",
        operation_id="sandbox_buyers.set",
        **documented(answer=BuyerRead, body=BuyerChange, errors=(ACQUIRER_AWAY,), is_idempotent=True),
    )
    async def set_buyer(buyer: BuyerId, request: Request, who: MayTest) -> Response:
        """Put money into a wallet or take it out, and change how its owner behaves."""

        async def act(wanted: BuyerChange, key: IdempotentRequest) -> Response:
            told = await parties.ask(f"/_buyers/{buyer}", wanted.model_dump(exclude_none=True))
            found = next(each for each in told["buyers"] if each["id"] == buyer)
            return await parties.settle(key, BuyerRead.model_validate(found))

        return await once(request, who, BuyerChange, act, database=parties.database, clock=parties.clock)

    @router.post(
        "/buyers/{buyer}/codes",
        operation_id="sandbox_buyers.show_code",
        **documented(answer=PaymentCodeRead, status=201, errors=(ACQUIRER_AWAY, BUYER_UNKNOWN), is_idempotent=True),
    )
    async def show_code(buyer: BuyerId, request: Request, who: MayTest) -> Response:
        """A fresh payment code, as the buyer's phone shows it to the till."""

        async def act(_: NoBody, key: IdempotentRequest) -> Response:
            await parties.require_buyer(buyer)
            told = await parties.ask(f"/_buyers/{buyer}/codes", {})
            return await parties.settle(key, PaymentCodeRead.model_validate(told), status=201)

        return await once(request, who, NoBody, act, database=parties.database, clock=parties.clock)

    @router.post(
        "/buyers/{buyer}/scan",
        operation_id="sandbox_buyers.scan",
        **documented(answer=ScanRead, body=ScanCreate, errors=(ACQUIRER_AWAY, BUYER_UNKNOWN), is_idempotent=True),
    )
    async def scan(buyer: BuyerId, request: Request, who: MayTest) -> Response:
        """The buyer's phone scans a QR code and pays."""

        async def act(wanted: ScanCreate, key: IdempotentRequest) -> Response:
            await parties.require_buyer(buyer)
            told = await parties.ask("/buyer/scan", {"qr_code": wanted.qr_code, "buyer": buyer})
            return await parties.settle(key, ScanRead(status=told["status"], code=told["code"]))

        return await once(request, who, ScanCreate, act, database=parties.database, clock=parties.clock)


def _shown(made: SeededMerchant) -> SandboxMerchantRead:
    return SandboxMerchantRead(
        object="sandbox_merchant",
        id=made.id,
        name=made.name,
        store_ids=list(made.store_ids),
        acquirer_no=made.acquirer_no,
        client_id=made.till.client_id,
        client_secret=made.till.client_secret,
    )

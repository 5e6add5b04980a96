"""`/sandbox/v1/alipay/wallet` and `/faults`: what developers play with, the customer's wallet and mishaps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from sandbox.simulators.alipay_gateway.bill_desk import PATH, BillDesk
from sandbox.simulators.alipay_gateway.cashier import Act, Buyer, Cashier, WalletAway
from sandbox.simulators.alipay_gateway.faults import TIMES_MAX, FaultRefused, Faults
from sandbox.simulators.alipay_gateway.router_tools import ALIPAY_NOT_FOUND, ALIPAY_REFUSED, PREFIX

Who = Annotated[Principal, requires("testbed:write")]
Word = Annotated[str, StringConstraints(max_length=64)]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ScanGiven(_Given):
    """A test customer's phone reads a QR code; `act` pay: and pays."""

    qr_code: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    act: Act = "pay"
    buyer: Buyer = "rich"


class ScanRead(BaseModel):
    """What the wallet shows: SUCCESS, PENDING, FAILED."""

    status: str


class FaultGiven(_Given):
    """What goes wrong the next `times` times that the app calls `method` (blank: any) with fields like `match`."""

    effect: Word
    argument: Word = ""
    method: Annotated[str, StringConstraints(max_length=128)] = ""
    match: dict[str, str] = Field(default_factory=dict, max_length=10)
    times: Annotated[int, Field(ge=1, le=TIMES_MAX)] = 1


class FaultRead(BaseModel):
    """A fault that is still to come; `used`: how often it came already."""

    id: str
    effect: str
    argument: str
    method: str
    match: dict[str, Any]  # JSON as it was given
    times_left: int
    used: int


class Cleared(BaseModel):
    """How many faults were taken away."""

    cleared: int


def play_router(cashier: Cashier, faults: Faults) -> APIRouter:
    """The routes over one process's gateway. A token plays with its own app and merchant alone."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.post("/wallet/scan")
    async def scan(who: Who, wanted: ScanGiven) -> ScanRead:
        """Read a code that trade.precreate gave, and pay it."""
        try:
            status = await cashier.scan(str(who.merchant_id), wanted.qr_code, act=wanted.act, buyer=wanted.buyer)
        except WalletAway as away:
            raise ALIPAY_REFUSED.error({"reason": str(away)}) from away
        if status is None:
            raise ALIPAY_NOT_FOUND.error({"id": wanted.qr_code[:64]})
        return ScanRead(status=status)

    @router.post("/faults", status_code=201)
    async def add_fault(who: Who, wanted: FaultGiven) -> FaultRead:
        """Script a fault for the token's own app."""
        try:
            fault_id = await faults.add(who.app_id, **wanted.model_dump())
        except FaultRefused as refused:
            raise ALIPAY_REFUSED.error({"reason": str(refused)}) from refused
        return FaultRead(id=fault_id, times_left=wanted.times, used=0, **wanted.model_dump(exclude={"times"}))

    @router.get("/faults")
    async def list_faults(who: Who) -> list[FaultRead]:
        """What is still to go wrong, the oldest first."""
        return [FaultRead.model_validate(row._mapping, from_attributes=True) for row in await faults.open(who.app_id)]

    @router.delete("/faults")
    async def clear_faults(who: Who) -> Cleared:
        """Nothing goes wrong any more."""
        return Cleared(cleared=await faults.clear(who.app_id))

    return router


def bill_router(bills: BillDesk) -> APIRouter:
    """Where bills are downloaded: the address is the permission."""
    router = APIRouter(include_in_schema=False)

    @router.get(PATH)
    async def download(ticket: Annotated[str, Query(max_length=1024)]) -> Response:
        """The ZIP; 404 for an address that is none, or no more."""
        found = await bills.file(ticket)
        if found is None:
            raise ALIPAY_NOT_FOUND.error({"id": "bill"})
        headers = {"Content-Disposition": f'attachment; filename="{found.name}"', "Cache-Control": "no-store"}
        return Response(found.content, media_type="application/zip", headers=headers)

    return router

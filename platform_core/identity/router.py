"""Routes of parties: what an app reads about the merchant that it acts for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from platform_core.identity.errors import MERCHANT_NOT_FOUND, STORE_NOT_FOUND
from platform_core.identity.parties import Parties
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.identity.schemas import MerchantRead, StoreRead
from platform_core.kernel.http.openapi import refusals
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Cursors, Page, PageLimit, Position

MayReadMerchant = Annotated[Principal, requires("merchant:read")]
MayReadStores = Annotated[Principal, requires("stores:read")]
MerchantId = Annotated[str, Path(pattern=id_pattern("mer"))]
StoreId = Annotated[str, Path(pattern=id_pattern("sto"))]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]


def parties_router(parties: Parties, cursors: Cursors) -> APIRouter:
    """The routes over one service; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])

    @router.get("/merchants/{merchant_id}", operation_id="merchants.get", responses=refusals(MERCHANT_NOT_FOUND))
    async def get_merchant(who: MayReadMerchant, merchant_id: MerchantId) -> MerchantRead:
        """Your merchant's business profile. Another merchant's is 404, like one that does not exist."""
        return await parties.own_merchant(who, merchant_id)

    @router.get("/stores", operation_id="stores.list")
    async def list_stores(
        who: MayReadStores, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[StoreRead]:
        """The merchant's stores that the grant covers, the oldest first."""
        bound_to = {"list": "stores", "merchant": who.merchant_id, "grant": who.grant_id}
        after = cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        rows = await parties.stores(who, after=after, limit=limit + 1)
        return cursors.page(rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda store: store)

    @router.get("/stores/{store_id}", operation_id="stores.get", responses=refusals(STORE_NOT_FOUND))
    async def get_store(who: MayReadStores, store_id: StoreId) -> StoreRead:
        """One store of the merchant, if the grant covers it."""
        return await parties.store(who, store_id)

    return router


def _position(store: StoreRead) -> Position:
    return Position(store.created_at, store.id)

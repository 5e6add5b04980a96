"""Routes of parties: merchants and stores, for apps by token and for people by session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from platform_core.identity.errors import MERCHANT_NOT_FOUND, STORE_NOT_FOUND
from platform_core.identity.errors_people import ALL_STORES_NEEDED
from platform_core.identity.permits import permits
from platform_core.identity.principal import Principal
from platform_core.identity.router_parts import PartyServices, changing, once
from platform_core.identity.schemas import MerchantRead, StoreRead
from platform_core.identity.schemas_people import MerchantUpdate, StoreUpdate, StoreWrite
from platform_core.kernel.http.body import parse_body
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.http.openapi import documented
from platform_core.kernel.http.preconditions import expected_version, shown
from platform_core.kernel.ids import id_pattern
from platform_core.kernel.pagination import CURSOR_LENGTH_MAX, LIMIT_DEFAULT, Page, PageLimit, Position

MayReadMerchant = Annotated[Principal, permits("merchant:read")]
MayWriteMerchant = Annotated[Principal, permits("merchant:write")]
MayReadStores = Annotated[Principal, permits("stores:read")]
MayWriteStores = Annotated[Principal, permits("stores:write")]
MerchantId = Annotated[str, Path(pattern=id_pattern("mer"))]
StoreId = Annotated[str, Path(pattern=id_pattern("sto"))]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]


def parties_router(services: PartyServices) -> APIRouter:
    """The routes over the services; bootstrap mounts them."""
    router = APIRouter(prefix="/v1", tags=["identity"])
    _merchant_routes(router, services)
    _store_reads(router, services)
    _store_writes(router, services)
    return router


def _merchant_routes(router: APIRouter, services: PartyServices) -> None:
    @router.get(
        "/merchants/{merchant_id}",
        operation_id="merchants.get",
        **documented(answer=MerchantRead, errors=(MERCHANT_NOT_FOUND,), has_etag=True),
    )
    async def get_merchant(who: MayReadMerchant, merchant_id: MerchantId, request: Request) -> Response:
        """Your merchant's business profile. Another merchant's is 404, like one that does not exist."""
        merchant = await services.parties.own_merchant(who, merchant_id)
        return shown(request, merchant, version=merchant.version)

    @router.patch(
        "/merchants/{merchant_id}",
        operation_id="merchants.update",
        **changing(answer=MerchantRead, body=MerchantUpdate, errors=(MERCHANT_NOT_FOUND,)),
    )
    async def update_merchant(who: MayWriteMerchant, merchant_id: MerchantId, request: Request) -> Response:
        """Change the profile. With another name or industry a verified merchant is verified anew."""
        await services.parties.own_merchant(who, merchant_id)
        wanted = await parse_body(request, MerchantUpdate)
        expected = expected_version(request, object_id=merchant_id)
        merchant = await services.administration.update_merchant(who, merchant_id, wanted, expected=expected)
        return shown(request, merchant, version=merchant.version)


def _store_reads(router: APIRouter, services: PartyServices) -> None:
    @router.get("/stores", operation_id="stores.list")
    async def list_stores(
        who: MayReadStores, limit: PageLimit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[StoreRead]:
        """The merchant's stores that the grant or the role covers, the oldest first."""
        bound_to = {"list": "stores", "merchant": who.merchant_id, "grant": who.grant_id}
        after = services.cursors.read(cursor, bound_to=bound_to) if cursor is not None else None
        rows = await services.parties.stores(who, after=after, limit=limit + 1)
        return services.cursors.page(
            rows, limit=limit, bound_to=bound_to, position_of=_position, show=lambda store: store
        )

    @router.get(
        "/stores/{store_id}",
        operation_id="stores.get",
        **documented(answer=StoreRead, errors=(STORE_NOT_FOUND,), has_etag=True),
    )
    async def get_store(who: MayReadStores, store_id: StoreId, request: Request) -> Response:
        """One store of the merchant, if the grant or the role covers it."""
        store = await services.parties.store(who, store_id)
        return shown(request, store, version=store.version)


def _store_writes(router: APIRouter, services: PartyServices) -> None:
    @router.post(
        "/stores",
        operation_id="stores.create",
        **documented(answer=StoreRead, body=StoreWrite, status=201, errors=(ALL_STORES_NEEDED,), is_idempotent=True),
    )
    async def create_store(who: MayWriteStores, request: Request) -> Response:
        """Open a store."""

        async def act(wanted: StoreWrite, idempotent: IdempotentRequest) -> Response:
            store = services.administration.new_store(who, wanted.name)
            claim = idempotent.claim(
                created_at=store.created_at, object_id=store.id, status=201, body=store.model_dump_json()
            )
            await services.administration.add_store(store, extra=(claim,))
            return shown(request, store, version=store.version, status=201)

        return await once(request, StoreWrite, act, who=who, services=services)

    @router.patch(
        "/stores/{store_id}",
        operation_id="stores.update",
        **changing(answer=StoreRead, body=StoreUpdate, errors=(STORE_NOT_FOUND,)),
    )
    async def update_store(who: MayWriteStores, store_id: StoreId, request: Request) -> Response:
        """Rename a store, close it or open it again. A closed one takes no payments."""
        await services.parties.store(who, store_id)
        wanted = await parse_body(request, StoreUpdate)
        expected = expected_version(request, object_id=store_id)
        store = await services.administration.update_store(who, store_id, wanted, expected=expected)
        return shown(request, store, version=store.version)


def _position(store: StoreRead) -> Position:
    return Position(store.created_at, store.id)

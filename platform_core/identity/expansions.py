"""Merchants and stores inside other objects' answers: `expand=merchant,store` of whatever names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from platform_core.identity import repository
from platform_core.identity.principal import Principal
from platform_core.identity.schemas import MerchantRead, StoreRead
from platform_core.kernel.database.pools import Database
from platform_core.kernel.http.expand import Branch, Document


class PartyBranches:
    """The branches, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def branches(self) -> Mapping[str, Branch]:
        """`merchant` and `store`, for documents with `merchant_id` and `store_id`."""
        return {"merchant": Branch("merchant:read", self._merchants), "store": Branch("stores:read", self._stores)}

    async def _merchants(self, who: Principal, documents: Sequence[Document]) -> list[dict[str, Any] | None]:
        """The caller's own merchant: no document of another's gets as far as this."""
        async with self._database.read(who.merchant_id) as connection:
            row = await repository.read_merchant(connection, str(who.merchant_id))
        shown = None if row is None else MerchantRead.model_validate(row).model_dump(mode="json")
        return [shown if document["merchant_id"] == who.merchant_id else None for document in documents]

    async def _stores(self, who: Principal, documents: Sequence[Document]) -> list[dict[str, Any] | None]:
        wanted = {document["store_id"] for document in documents if document["store_id"] is not None}
        async with self._database.read(who.merchant_id) as connection:
            rows = await repository.read_stores(connection, wanted, merchant_id=str(who.merchant_id))
        visible = [StoreRead.model_validate(row) for row in rows if who.may_use_store(row.id)]
        found = {store.id: store.model_dump(mode="json") for store in visible}
        return [found.get(document["store_id"]) for document in documents]

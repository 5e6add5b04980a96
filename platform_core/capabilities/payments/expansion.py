"""What `expand` shows inside payments and refunds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlmodel import SQLModel

from platform_core.capabilities.payments.answers import (
    attempt_answer,
    payment_answer,
    refund_answer,
    transaction_answer,
)
from platform_core.capabilities.payments.models import Attempt, Refund, Transaction
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.capabilities.payments.splits.answers import split_answer
from platform_core.capabilities.payments.splits.models import Split, SplitShare
from platform_core.identity.principal import Principal
from platform_core.kernel.http.expand import Branch, Document, Load

Show = Callable[[Mapping[str, Any]], dict[str, Any]]


class PaymentExpansion:
    """The trees of what may be expanded, over one repository; `parties`: the branches of identity."""

    def __init__(self, repository: PaymentRepository, parties: Mapping[str, Branch]) -> None:
        self._repository = repository
        self.payments: Mapping[str, Branch] = {
            "attempts": Branch("payments:read", self._parts(Attempt, attempt_answer)),
            "transactions": Branch("payments:read", self._parts(Transaction, transaction_answer)),
            "refunds": Branch("refunds:read", self._parts(Refund, refund_answer)),
            "splits": Branch("splits:write", self._splits),
            **parties,
        }
        self.refunds: Mapping[str, Branch] = {"payment": Branch("payments:read", self._payments, self.payments)}

    def _parts(self, table: type[SQLModel], show: Show) -> Load:
        """All rows of a table that belong to the payments, the oldest first."""

        async def load(who: Principal, documents: Sequence[Document]) -> list[list[dict[str, Any]]]:
            ids = [document["id"] for document in documents]
            parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in await self._repository.parts(table, str(who.merchant_id), ids):
                values = row.model_dump()
                parts[values["payment_id"]].append(show(values))
            return [parts[id_] for id_ in ids]

        return load

    async def _splits(self, who: Principal, documents: Sequence[Document]) -> list[list[dict[str, Any]]]:
        merchant_id, ids = str(who.merchant_id), [document["id"] for document in documents]
        shares: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for share in await self._repository.parts(SplitShare, merchant_id, ids):
            shares[share.split_id].append(share.model_dump())
        splits: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for split in await self._repository.parts(Split, merchant_id, ids):
            ordered = sorted(shares[split.id], key=lambda share: int(share["number"]))
            splits[split.payment_id].append(split_answer(split.model_dump(), ordered))
        return [splits[id_] for id_ in ids]

    async def _payments(self, who: Principal, documents: Sequence[Document]) -> list[dict[str, Any] | None]:
        ids = {document["payment_id"] for document in documents}
        rows = await self._repository.payments(str(who.merchant_id), sorted(ids))
        found = {row.id: payment_answer(row.model_dump()) for row in rows}
        return [found.get(document["payment_id"]) for document in documents]

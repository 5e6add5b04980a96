"""Exports of what has no folder of its own: payments, transactions, refunds, transfers, events."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from platform_core.capabilities.payments.answers import payment_answer, refund_answer, transaction_answer
from platform_core.capabilities.payments.events import SCOPES_AND_PATHS
from platform_core.capabilities.payments.exports.exportables import (
    Exportable,
    Filter,
    Row,
    between,
    columns_of,
    created,
    equal,
)
from platform_core.capabilities.payments.schemas import PaymentRead, RefundRead, TransactionRead
from platform_core.ledger.schemas import TransferRead

_OF_STORES: Final = "EXISTS (SELECT 1 FROM pay_payment AS p WHERE p.id = t.payment_id AND p.store_id = ANY ({}))"


def _transaction(row: Row) -> dict[str, Any]:
    return {"payment_id": row["payment_id"], **transaction_answer(row)}


def _transfer(row: Row) -> dict[str, Any]:
    sides = {
        side: None
        if row[f"{side}_role"] is None
        else {name: row[f"{side}_{name}"] for name in ("owner", "role", "bucket")}
        for side in ("debit", "credit")
    }
    names = ("unit", "code", "reference", "pending_id", "reverses", "created_at", "expires_at")
    return {
        "id": row["id"],
        "kind": row["kind"],
        **sides,
        "amount_minor": row["amount"],
        **{name: row[name] for name in names},
    }


def _event(row: Row) -> dict[str, Any]:
    names = ("id", "type", "object_id", "sequence", "occurred_at")
    return {**{name: row[name] for name in names}, "data": msgspec.Raw(row["body"].encode())}


def _sides(*names: str) -> str:
    return ", ".join(f"{side[0]}.{name} AS {side}_{name}" for side in ("debit", "credit") for name in names)


PAYMENTS: Final = Exportable(
    noun="payments",
    scope="payments:read",
    source="pay_payment AS t",
    select="t.*",
    show=payment_answer,
    columns=tuple(columns_of(PaymentRead)),
    filters={
        **equal("state", "form", "channel", "store_id", "terminal_id", "out_trade_no"),
        **created("t.created_at"),
        **between("captured", "t.captured_at"),
        **between("updated", "t.updated_at"),
        "amount_min_minor": Filter("t.payable_minor >= {}", "amount"),
        "amount_max_minor": Filter("t.payable_minor <= {}", "amount"),
    },
    of_stores="t.store_id = ANY ({})",
    personal=lambda row: {"customer": row["customer"]},
    personal_columns=("customer",),
)
TRANSACTIONS: Final = Exportable(
    noun="transactions",
    scope="payments:read",
    source="pay_transaction AS t",
    select="t.*",
    show=_transaction,
    columns=("payment_id", *columns_of(TransactionRead)),
    filters={**equal("payment_id", "kind", "state"), **created("t.created_at")},
    of_stores=_OF_STORES,
)
REFUNDS: Final = Exportable(
    noun="refunds",
    scope="refunds:read",
    source="pay_refund AS t",
    select="t.*",
    show=refund_answer,
    columns=tuple(columns_of(RefundRead)),
    filters={**equal("payment_id", "state", "out_request_no"), **created("t.created_at")},
    of_stores=_OF_STORES,
)
TRANSFERS: Final = Exportable(
    noun="transfers",
    scope="ledger:read",
    source=(
        "ledger_transfer AS t LEFT JOIN ledger_account AS d ON d.id = t.debit_account "
        "LEFT JOIN ledger_account AS c ON c.id = t.credit_account"
    ),
    select=f"t.*, {_sides('owner', 'role', 'bucket')}",
    show=_transfer,
    columns=tuple(
        inner
        for name in columns_of(TransferRead)
        for inner in ([f"{name}.owner", f"{name}.role", f"{name}.bucket"] if name in ("debit", "credit") else [name])
    ),
    filters={
        **equal("code", "reference", "unit", "kind"),
        "role": Filter("{} IN (d.role, c.role)"),
        **created("t.created_at"),
    },
    id="t.position",
    id_type="bigint",
)
EVENTS: Final = Exportable(
    noun="events",
    scope="payments:read",
    source="outbox AS t",
    select="t.*",
    show=_event,
    columns=("id", "type", "object_id", "sequence", "occurred_at", "data"),
    filters={**equal("type", "object_id"), **created("t.occurred_at")},
    created_at="t.occurred_at",
    types_by_scope={type_: scope for type_, (scope, _) in SCOPES_AND_PATHS.items()},
)
EXPORTABLES: Final = (PAYMENTS, TRANSACTIONS, REFUNDS, TRANSFERS, EVENTS)

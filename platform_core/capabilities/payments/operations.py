"""Operations of payments that plugins may use: the same services, scopes and errors as over HTTP.

A plugin's read shows what stands: unlike one over HTTP it never asks a provider about an open outcome, because the
plugin may be deciding, and deciding waits for nobody outside and writes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from platform_core.capabilities.payments.answers import json_text, payment_answer, refund_answer
from platform_core.capabilities.payments.assembly import Payments
from platform_core.capabilities.payments.lists import Bounds
from platform_core.capabilities.payments.schemas import RefundCreate, Request
from platform_core.capabilities.payments.service import Reply
from platform_core.identity.principal import Principal
from platform_core.kernel.http.idempotency import IdempotentRequest
from platform_core.kernel.money import AMOUNT_MINOR_MAX
from platform_core.kernel.pagination import LIMIT_DEFAULT, LIMIT_MAX
from platform_core.plugin_host.operations import Operation, Replays

Reference = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Name = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_]{1,64}$")]
State = Annotated[str, StringConstraints(pattern="^[a-z_]{1,20}$")]
Amount = Annotated[int, Field(ge=0, le=AMOUNT_MINOR_MAX)]
Order = Literal["asc", "desc"]
Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX)]
Cursor = Annotated[str, StringConstraints(max_length=512)]


class PaymentGet(Request):
    """`payments.get`: by id, or by `out_trade_no:<value>`."""

    id: Reference


class PaymentsList(Request):
    """`payments.list`, newest first unless `order` is asc; the filters of `GET /v1/payments`."""

    state: State | None = None
    form: State | None = None
    store_id: Name | None = None
    terminal_id: Name | None = None
    channel: Name | None = None
    out_trade_no: Name | None = None
    created_from: AwareDatetime | None = None
    created_to: AwareDatetime | None = None
    captured_from: AwareDatetime | None = None
    captured_to: AwareDatetime | None = None
    amount_min_minor: Amount | None = None
    amount_max_minor: Amount | None = None
    order: Order = "desc"
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor | None = None


class RefundGet(Request):
    """`refunds.get`."""

    id: Reference


class RefundAsk(RefundCreate):
    """`refunds.create`: what REST takes, and the payment."""

    payment_id: Reference


def plugin_operations(payments: Payments) -> tuple[Operation, ...]:
    """What bootstrap hands to the gate."""

    async def get(principal: Principal, asked: PaymentGet) -> str:
        payment = await payments.service.seen(principal, asked.id)
        return json_text(payment_answer(payment.model_dump()))

    async def list_payments(principal: Principal, asked: PaymentsList) -> str:
        equal = asked.model_dump(include={"state", "form", "store_id", "terminal_id", "channel", "out_trade_no"})
        upto = None if asked.amount_max_minor is None else asked.amount_max_minor + 1
        between: dict[str, Bounds] = {
            "created_at": (asked.created_from, asked.created_to),
            "captured_at": (asked.captured_from, asked.captured_to),
            "payable_minor": (asked.amount_min_minor, upto),
        }
        is_ascending = asked.order == "asc"
        page = await payments.lists.payments(
            principal, equal, between, is_ascending=is_ascending, limit=asked.limit, cursor=asked.cursor
        )
        return json_text(page)

    async def get_refund(principal: Principal, asked: RefundGet) -> str:
        refund = await payments.service.seen_refund(principal, asked.id)
        return json_text(refund_answer(refund.model_dump()))

    async def create_refund(principal: Principal, asked: RefundAsk, key: IdempotentRequest) -> Reply:
        payment_id = await payments.service.resolve(principal, asked.payment_id)
        request = RefundCreate.model_validate(asked.model_dump(exclude={"payment_id"}))
        return await payments.acts.refund(principal, payment_id, request, key)

    replays = Replays(look=payments.service.replay, present=payments.service.present, clock=payments.service.clock)
    return (
        Operation(name="payments.get", scope="payments:read", request=PaymentGet, read=get),
        Operation(name="payments.list", scope="payments:read", request=PaymentsList, read=list_payments),
        Operation(name="refunds.get", scope="refunds:read", request=RefundGet, read=get_refund),
        Operation(
            name="refunds.create",
            scope="refunds:write",
            request=RefundAsk,
            write=create_refund,
            replays=replays,
            limit="payment_refund",
        ),
    )

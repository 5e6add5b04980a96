"""What plugins say of a refund before anything of it is committed.

A refund that a check wants looked at is not made; whoever may decide cases makes it by sending it once more, with the
reason. There is no state between: what is refundable is decided when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from platform_core.capabilities.payments.answers import refundable
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.errors import REFUND_DENIED, REFUND_NEEDS_REVIEW
from platform_core.capabilities.payments.leftovers import forsaken_unless_written
from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.schemas import RefundCreate
from platform_core.capabilities.payments.screening import Judged
from platform_core.contracts.fields import CountAndSum, Money
from platform_core.contracts.payments import RefundToCheck
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Audit, Plan

CHECK_REFUND: Final = "check_refund"
DECIDES_CASES: Final = "risk.cases:write"
LATELY: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class RefundJudged:
    """What belongs into the refund's own plan."""

    parts: list[object] = field(default_factory=list)


async def judge(desk: Desk, principal: Principal, payment: Payment, request: RefundCreate) -> RefundJudged:
    """Let plugins judge; nobody asked means allow. Call it before anything is written, and never within a transaction.

    Raises 403 `payments.refund_denied`; 409 `payments.refund_needs_review`, unless the request brings a review and its
    token may decide cases. What calls left behind is written with the refusal.
    """
    tools = desk.tools
    if tools.plugins is None:
        return RefundJudged()
    merchant_id = payment.merchant_id
    key = f"{payment.id}/{request.out_request_no}"
    plugins = await tools.plugins.of(merchant_id, store_id=payment.store_id, idempotency_key=key)
    if plugins is None or not plugins.asks(CHECK_REFUND):
        return RefundJudged()
    if await tools.repository.has_refund(merchant_id, payment.id, request.out_request_no):
        return RefundJudged()  # judged when it was first asked for; a repeat changes nothing, or tries a failure again
    payload = await _payload(desk, principal, payment, request)
    said = await plugins.check(CHECK_REFUND, payload, amount_minor=payload.amount.amount_minor)
    word = said.verdict.decision
    if word == "allow":
        return RefundJudged([*said.parts])
    if word == "review" and request.review is not None and principal.can(DECIDES_CASES):
        facts = {"out_request_no": request.out_request_no, "rules": _rules(said)}
        told = Audit(
            "refund.review_decided",
            principal.client_id,
            payment.id,
            merchant_id,
            facts,
            reason=request.review.reason,
        )
        return RefundJudged([*said.parts, told])
    left = [*said.parts]
    with forsaken_unless_written(tools.plugins, left):
        if left:
            await tools.committer.commit(Plan(merchant_id, [*left]))
            left.clear()
    declared = REFUND_DENIED if word == "deny" else REFUND_NEEDS_REVIEW
    raise declared.error({"payment_id": payment.id, "rules": ", ".join(_rules(said)) or "a check"})


async def _payload(desk: Desk, principal: Principal, payment: Payment, request: RefundCreate) -> RefundToCheck:
    left = refundable(payment.model_dump())
    asked = request.amount_minor or left
    count, total = await desk.tools.repository.refunds_since(
        payment.merchant_id, currency=payment.currency, since=desk.now - LATELY
    )
    captured_at = payment.captured_at or payment.created_at
    return RefundToCheck(
        refund_id=f"{payment.id}/{request.out_request_no}"[:64],
        payment_id=payment.id,
        out_request_no=request.out_request_no,
        amount=Money(amount_minor=asked, currency=payment.currency),
        refundable_minor=left,
        reason_code=request.reason,
        requested_by=principal.client_id,
        payment_age_s=max(0, int((desk.now - captured_at).total_seconds())),
        refunds_30d=CountAndSum(count=count, sum=Money(amount_minor=total, currency=payment.currency)),
    )


def _rules(said: Judged) -> list[str]:
    return list(dict.fromkeys(reason.rule_id for reason in said.verdict.reasons))

"""The end of a review: what a person says of a payment that a check wants looked at."""

from __future__ import annotations

from platform_core.capabilities.payments.answers import json_text
from platform_core.capabilities.payments.desk import Desk
from platform_core.capabilities.payments.draft import Draft
from platform_core.capabilities.payments.refusals import conflict
from platform_core.capabilities.payments.repository import PaymentFile
from platform_core.capabilities.payments.schemas import ReviewDecide
from platform_core.capabilities.payments.service import Reply
from platform_core.identity.principal import Principal
from platform_core.kernel.commit import Audit, Plan
from platform_core.kernel.http.idempotency import IdempotentRequest


class Reviews:
    """Ends reviews. No provider is asked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def decide(
        self, principal: Principal, payment_id: str, request: ReviewDecide, idempotent: IdempotentRequest
    ) -> Reply:
        """Allowed, the payment waits for a new attempt; denied, it is closed.

        Writes the decision, an audit row and the answer. Emits `payment.review_decided`, and `payment.closed` when
        denied. Raises 404 not_found; 409 state_conflict.
        """
        reply: list[Reply] = []

        def decide(file: PaymentFile, draft: Draft) -> Plan:
            payment = file.payment
            if payment.state != "in_review":
                raise conflict(payment, "review", "in_review")
            draft.set(risk={**(payment.risk or {}), "decided_as": request.decision})
            draft.set(state="created" if request.decision == "allow" else "closed")
            draft.emit("payment.review_decided")
            if request.decision == "deny":
                draft.set(closed_reason="denied_by_risk")
                draft.unexpire()
                draft.emit("payment.closed")
            facts = {"decision": request.decision}
            actor = principal.client_id
            told = Audit("payment.review_decided", actor, payment.id, payment.merchant_id, facts, reason=request.reason)
            plan = draft.plan()
            body = json_text(plan.answer)
            reply[:] = [Reply(200, body)]
            return plan.add(told, idempotent.claim(object_id=payment.id, created_at=draft.now, status=200, body=body))

        await self._desk.decide(str(principal.merchant_id), payment_id, decide)
        return reply[0]

"""Calls to providers about disputes: bounded in time, never believed beyond what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from platform_core.capabilities.payments.desk import DEADLINE_S, Desk
from platform_core.capabilities.payments.disputes.models import Dispute
from platform_core.capabilities.payments.metrics import CALL_SECONDS
from platform_core.contracts.payments import DisputeCall, DisputeWord, ErrorClass, EvidenceFile, ProviderError
from platform_core.kernel.deadline import within

FEATURE: Final = "dispute"
AGAIN: Final = frozenset({ErrorClass.UNKNOWN, ErrorClass.NOT_SENT, ErrorClass.BUSY, ErrorClass.CONFIGURATION})
"""Classes of errors that say nothing of the act: it is tried again."""
Answer = DisputeWord | ProviderError
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """A word, or why there is none. `is_open`: nobody can say yet, the same is asked again later."""

    word: DisputeWord | None
    error: Mapping[str, Any] | None
    is_open: bool


class Asking:
    """Asks the provider of a dispute's channel account."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def can_ask(self, provider_id: str) -> bool:
        """Whether the provider has declared disputes."""
        description = self._desk.tools.providers.describe(provider_id)
        return description is not None and FEATURE in description.features

    async def query(self, dispute: Dispute) -> Answered:
        """How it stands."""
        return await self._ask(dispute, "query_dispute", key=dispute.id)

    async def accept(self, dispute: Dispute) -> Answered:
        """Tell that the merchant gives in."""
        return await self._ask(dispute, "accept_dispute", key=dispute.id)

    async def submit(self, dispute: Dispute, document_id: str, evidence: EvidenceFile) -> Answered:
        """Hand a document over."""
        return await self._ask(dispute, "submit_evidence", key=document_id, evidence=evidence)

    async def _ask(self, dispute: Dispute, method: str, *, key: str, evidence: EvidenceFile | None = None) -> Answered:
        desk = self._desk
        account = (await desk.terms(dispute.merchant_id)).channel_accounts.get(dispute.channel_account_id)
        provider = desk.tools.providers.get(dispute.provider_id)
        if account is None or provider is None or not self.can_ask(dispute.provider_id):
            return _unanswered("provider_missing", "No plugin brings this provider, or its account is gone.")
        call = DisputeCall(
            idempotency_key=key,
            dispute_id=dispute.id,
            provider_reference=dispute.provider_reference,
            transaction_id=dispute.transaction_id,
            amount_minor=dispute.amount_minor,
            currency=dispute.currency,
            channel_account=account.contract,
            deadline_s=DEADLINE_S,
            now=desk.now,
            ctx=desk.tools.providers.contexts.context(merchant_id=dispute.merchant_id, secrets=account.secrets),
            evidence=evidence,
        )
        started = time.perf_counter()  # how long a call takes is real time, whatever the business clock says
        answered = _read(await _answer(provider, method, call), dispute)
        if CALL_SECONDS.is_collected:
            outcome = "unknown" if answered.is_open else ("success" if answered.word is not None else "failed")
            labels = {"provider": dispute.provider_id, "operation": method, "outcome": outcome}
            CALL_SECONDS.record(time.perf_counter() - started, labels)
        return answered


async def _answer(provider: object, method: str, call: DisputeCall) -> object:
    ask: Callable[[DisputeCall], Coroutine[Any, Any, object]] | None = getattr(provider, method, None)
    if ask is None:
        return ProviderError(ErrorClass.INVALID_REQUEST, "not_supported", f"This provider has no {method}.")
    try:
        return await within(ask(call), call.deadline_s)
    except TimeoutError:
        return ProviderError(ErrorClass.UNKNOWN, "timeout", f"No answer within {call.deadline_s:g} s.")
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises, what it did is not known
        log.warning("provider.raised", method=method, dispute_id=call.dispute_id, error=type(error).__name__)
        return ProviderError(ErrorClass.UNKNOWN, "exception", "The provider's plugin failed while it was asked.")


def _read(answer: object, dispute: Dispute) -> Answered:
    """The answer, if it is about this very dispute."""
    if isinstance(answer, DisputeWord):
        if (answer.provider_reference, answer.idempotency_key) == (dispute.provider_reference, dispute.transaction_id):
            return Answered(answer, None, is_open=False)
        return _unanswered("bad_answer", "The provider spoke of another dispute.")
    if isinstance(answer, ProviderError):
        error = {"class": str(answer.error_class), "code": answer.code, "message": answer.message}
        return Answered(None, error, is_open=answer.error_class in AGAIN)
    return _unanswered("bad_answer", "The provider's plugin answered something else than a word.")


def _unanswered(code: str, message: str) -> Answered:
    return Answered(None, {"class": str(ErrorClass.UNKNOWN), "code": code, "message": message}, is_open=True)

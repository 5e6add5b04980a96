"""The acquirer's words, read into results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from platform_core.contracts.payments import (
    ALREADY_PAID,
    CUSTOMER_PAYING,
    NOT_FOUND,
    PAYOUT_RETURNED,
    PAYOUT_SENT,
    DisputeStatus,
    DisputeWord,
    ErrorClass,
    ProviderError,
    ProviderResult,
    RefundBounce,
    ShowQr,
    Wait,
)
from plugins.simulated_acquirer.client import AnswerLost
from plugins.simulated_acquirer.codes import CLASS_OF

POLL_AFTER_S = 5.0
Amount = Annotated[int, Field(strict=True, ge=0)]


class BounceBody(BaseModel):
    """Money of a refund that came back."""

    model_config = ConfigDict(frozen=True)

    reference: str
    amount_minor: Amount
    occurred_at: AwareDatetime


class AnswerBody(BaseModel):
    """What the acquirer says about one key. Fields it adds later are tolerated."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    status: Literal["SUCCESS", "PENDING", "UNKNOWN", "FAILED", "CLOSED", "CANCELED"]
    key: str
    kind: str | None = None
    reference: str | None = None
    amount_minor: Amount | None = None
    currency: str | None = None
    occurred_at: AwareDatetime | None = None
    qr_code: str | None = None
    expires_at: AwareDatetime | None = None
    bounce: BounceBody | None = None


class NoticeBody(AnswerBody):
    """A notice is an answer nobody asked for, with an id."""

    notice_id: str = Field(min_length=1, max_length=64)
    kind: Literal["authorize", "sale", "capture", "void", "refund", "refund_bounce", "settle"]


class DisputeBody(BaseModel):
    """How a dispute stands, in an answer or notice. Fields that the acquirer adds later are tolerated."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["dispute"]
    reference: str = Field(min_length=1, max_length=64)
    key: str = Field(min_length=1)
    status: Literal["OPENED", "WON", "LOST"]
    is_withdrawn: bool
    amount_minor: Annotated[int, Field(strict=True, ge=1)]
    currency: str
    reason: str = Field(max_length=64)
    due_at: AwareDatetime
    occurred_at: AwareDatetime


class DisputeNoticeBody(DisputeBody):
    """A notice of a dispute."""

    notice_id: str = Field(min_length=1, max_length=64)


class BillRowBody(BaseModel):
    """One movement of the bill."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["sale", "capture", "cancel", "refund", "refund_bounce", "dispute_withdrawn", "dispute_won"]
    key: str
    reference: str
    amount_minor: Amount
    cost_minor: Amount
    currency: str
    occurred_at: AwareDatetime


class BillBody(BaseModel):
    """A day's bill."""

    model_config = ConfigDict(frozen=True)

    day: str
    rows: list[BillRowBody]
    count: int
    total_minor: dict[str, int]


def read_answer(raw: bytes, *, key: str, currency: str) -> AnswerBody:
    """A verified body as an answer to the key. Raises AnswerLost when it cannot be read or speaks of something else."""
    try:
        answer = AnswerBody.model_validate_json(raw)
    except ValidationError:
        raise AnswerLost("answer_unreadable", "The acquirer's answer is not of its protocol.") from None
    is_refusal = answer.status == "FAILED" and answer.key == ""
    if not is_refusal and (answer.key != key or answer.currency not in {None, currency}):
        raise AnswerLost("answer_unreadable", "The acquirer answered about another key or currency.")
    return answer


_STATUSES: Final[Mapping[str, DisputeStatus]] = {"OPENED": "opened", "WON": "won", "LOST": "lost"}


def word_of(body: DisputeBody) -> DisputeWord:
    """The word on a dispute that an answer or notice states. ValueError for one that contradicts itself."""
    return DisputeWord(
        provider_reference=body.reference,
        idempotency_key=body.key,
        status=_STATUSES[body.status],
        is_withdrawn=body.is_withdrawn,
        amount_minor=body.amount_minor,
        currency=body.currency,
        reason=body.reason,
        occurred_at=body.occurred_at,
        due_at=body.due_at,
    )


def read_dispute(raw: bytes, *, reference: str) -> DisputeWord | ProviderError:
    """A verified body as an answer about a dispute. Raises AnswerLost when it speaks of something else."""
    try:
        body = DisputeBody.model_validate_json(raw)
    except ValidationError:
        refusal = read_answer(raw, key="", currency="")
        if refusal.status != "FAILED":
            raise AnswerLost("answer_unreadable", "The acquirer's answer is not of its protocol.") from None
        return ProviderError(CLASS_OF.get(refusal.code, ErrorClass.UNKNOWN), refusal.code, refusal.message)
    if body.reference != reference:
        raise AnswerLost("answer_unreadable", "The acquirer answered about another dispute.")
    return word_of(body)


def result_of(answer: AnswerBody) -> ProviderResult:
    """The result that an answer or notice states."""
    if answer.status == "SUCCESS":
        return _success(answer)
    if answer.status == "PENDING":
        return ProviderResult.unknown(
            CUSTOMER_PAYING,
            answer.message,
            error_class=ErrorClass.CUSTOMER_ACTION,
            provider_reference=answer.reference,
            poll_after_s=POLL_AFTER_S,
            action=Wait(POLL_AFTER_S),
        )
    if answer.status == "UNKNOWN":
        code = NOT_FOUND if answer.code == "NOT_FOUND" else answer.code
        return ProviderResult.unknown(
            code, answer.message, provider_reference=answer.reference, poll_after_s=POLL_AFTER_S
        )
    error_class = CLASS_OF.get(answer.code, ErrorClass.UNKNOWN)
    if error_class in {ErrorClass.UNKNOWN, ErrorClass.DUPLICATE}:
        return ProviderResult.unknown(
            answer.code, answer.message, error_class=error_class, provider_reference=answer.reference
        )
    return ProviderResult.failed(error_class, answer.code, answer.message, provider_reference=answer.reference)


def created_of(answer: AnswerBody) -> ProviderResult:
    """The result of `create`: an order that waits for its scan stands, and that is success."""
    if answer.status not in {"PENDING", "SUCCESS"} or answer.qr_code is None or answer.expires_at is None:
        return result_of(answer)
    return _success(answer, ShowQr(answer.qr_code, answer.expires_at))


def paid_out_of(answer: AnswerBody) -> ProviderResult:
    """The result of a payout: the bank's answer is waited for, and what the bank sent back is a failure of its own."""
    if answer.status == "PENDING":
        return ProviderResult.unknown(
            PAYOUT_SENT, answer.message, provider_reference=answer.reference, poll_after_s=POLL_AFTER_S
        )
    if answer.status == "FAILED" and answer.code == "PAYOUT_RETURNED":
        return ProviderResult.failed(
            ErrorClass.DECLINED_FINAL, PAYOUT_RETURNED, answer.message, provider_reference=answer.reference
        )
    return result_of(answer)


def closed_of(answer: AnswerBody) -> ProviderResult:
    """The result of `close`: a paid order is refused by the acquirer's own word."""
    if answer.status == "FAILED" and answer.code == "ORDER_PAID":
        return ProviderResult.failed(
            ErrorClass.DUPLICATE, ALREADY_PAID, answer.message, provider_reference=answer.reference
        )
    return result_of(answer)


def _success(answer: AnswerBody, action: ShowQr | None = None) -> ProviderResult:
    if answer.amount_minor is None or answer.occurred_at is None:
        raise AnswerLost("answer_unreadable", "The acquirer's success names no amount or moment.")
    bounce = answer.bounce
    return ProviderResult.success(
        amount_minor=answer.amount_minor,
        occurred_at=answer.occurred_at,
        provider_reference=answer.reference,
        action=action,
        bounce=None
        if bounce is None
        else RefundBounce(
            provider_reference=bounce.reference, amount_minor=bounce.amount_minor, occurred_at=bounce.occurred_at
        ),
    )

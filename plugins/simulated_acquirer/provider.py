"""The provider `simulated_acquirer`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from typing import Final

from pydantic import ValidationError

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import (
    AmountLimit,
    Bill,
    BillRequest,
    BillRow,
    DisputeCall,
    DisputeNotice,
    DisputeWord,
    ErrorClass,
    Notice,
    NoticeAnswer,
    NoticeOutcome,
    NoticeRefused,
    PaymentProvider,
    PayoutCall,
    ProviderCall,
    ProviderDescription,
    ProviderError,
    ProviderResult,
)
from plugins.simulated_acquirer.answers import (
    AnswerBody,
    BillBody,
    DisputeNoticeBody,
    NoticeBody,
    closed_of,
    created_of,
    paid_out_of,
    read_answer,
    read_dispute,
    result_of,
    word_of,
)
from plugins.simulated_acquirer.client import WINDOW_S, AcquirerClient, AnswerLost, Channel, NotSent

_DESCRIPTION: Final = ProviderDescription(
    id="simulated_acquirer",
    forms=frozenset({"merchant_scan", "customer_scan", "preauth"}),
    limits=(AmountLimit("CNY", amount_minor_min=1, amount_minor_max=10_000_000_000),),
    features=frozenset({"partial_capture", "partial_refund", "cancel", "split", "bill", "dispute", "payout"}),
    auth_code_pattern=r"(?:2[5-9]|30)[0-9]{14,22}|sim:[a-z_]+(?:-[0-9]{1,5})?(?::[0-9A-Za-z_.-]{1,64})?",
    cost_bp=38,
    settings_schema=json.loads(files(__package__).joinpath("config.schema.json").read_bytes()),
)
_ACKNOWLEDGED: Final = NoticeAnswer(body=b"success")


class SimulatedAcquirerProvider:
    """Speaks to one acquirer for all merchants; what differs between them rides in the call."""

    __slots__ = ("_client",)

    def __init__(self, client: AcquirerClient | None = None) -> None:
        """`client`: one with a nonce source of its own, for tests."""
        self._client = AcquirerClient() if client is None else client

    def describe(self) -> ProviderDescription:
        """Scans in both directions and pre-authorisation by code, CNY."""
        return _DESCRIPTION

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Open an order and show its QR code."""
        return await self._ask(call, "precreate", _order(call), created_of)

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """Take the money by the customer's code."""
        return await self._ask(call, "pay", _order(call) | {"auth_code": call.auth_code or ""}, result_of)

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Freeze the money by the customer's code."""
        return await self._ask(call, "authorize", _order(call) | {"auth_code": call.auth_code or ""}, result_of)

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Take frozen money; the last capture releases the rest."""
        return await self._ask(call, "capture", _part(call) | {"is_final": call.is_final}, result_of)

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Release frozen money."""
        return await self._ask(call, "void", _part(call), result_of)

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """Return money of a sale or capture."""
        return await self._ask(call, "refund", _part(call) | {"reason": call.reason}, result_of)

    async def settle(self, call: ProviderCall) -> ProviderResult:
        """Give shares of a sale or capture to their receivers."""
        shares = [{"account": share.account, "amount_minor": share.amount_minor} for share in call.shares]
        return await self._ask(call, "settle", _part(call) | {"shares": shares}, result_of)

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """Undo the original whatever became of it."""
        return await self._ask(call, "cancel", _follow_up(call), result_of)

    async def close(self, call: ProviderCall) -> ProviderResult:
        """End the original if it is unpaid."""
        return await self._ask(call, "close", _follow_up(call), closed_of)

    async def query(self, call: ProviderCall) -> ProviderResult:
        """The acquirer's word on one transaction."""
        read = closed_of if call.kind == "close" else result_of
        return await self._ask(call, "query", {"key": call.idempotency_key}, read)

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """The acquirer's word on one refund."""
        return await self._ask(call, "query_refund", {"key": call.idempotency_key}, result_of)

    async def payout(self, call: PayoutCall) -> ProviderResult:
        """Send money to a merchant's bank account."""
        sent: dict[str, object] = {
            "key": call.idempotency_key,
            "out_payout_no": call.out_payout_no,
            "amount_minor": call.amount_minor,
            "currency": call.currency,
            "holder": call.payee.holder,
            "bank": call.payee.bank,
            "account": call.payee.account,
            "note": call.note,
        }
        return await self._ask(call, "payout", sent, paid_out_of)

    async def query_payout(self, call: PayoutCall) -> ProviderResult:
        """The acquirer's word on one payout."""
        return await self._ask(call, "query_payout", {"key": call.idempotency_key}, paid_out_of)

    async def query_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """How a dispute stands."""
        return await self._ask_about("query_dispute", call, {})

    async def submit_evidence(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Hand one document over."""
        if call.evidence is None:
            raise ValueError("submit_evidence brings a document")
        sent: dict[str, object] = {
            "key": call.idempotency_key,
            "name": call.evidence.name,
            "media_type": call.evidence.media_type,
            "sha256": call.evidence.sha256,
            "content": base64.b64encode(call.evidence.content).decode(),
        }
        return await self._ask_about("submit_evidence", call, sent)

    async def accept_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Tell that the merchant gives in."""
        return await self._ask_about("accept_dispute", call, {"key": call.idempotency_key})

    async def _ask_about(
        self, operation: str, call: DisputeCall, sent: dict[str, object]
    ) -> DisputeWord | ProviderError:
        channel, body = Channel(account=call.channel_account, ctx=call.ctx), {"reference": call.provider_reference}
        try:
            raw = await self._client.post(channel, operation, body | sent, now=call.now, deadline_s=call.deadline_s)
            return read_dispute(raw, reference=call.provider_reference)
        except NotSent as error:
            return ProviderError(ErrorClass.NOT_SENT, "not_sent", str(error))
        except AnswerLost as error:
            return ProviderError(ErrorClass.UNKNOWN, error.code, str(error))

    async def _ask(
        self,
        call: ProviderCall | PayoutCall,
        operation: str,
        body: dict[str, object],
        read: Callable[[AnswerBody], ProviderResult],
    ) -> ProviderResult:
        channel = Channel(account=call.channel_account, ctx=call.ctx)
        try:
            raw = await self._client.post(channel, operation, body, now=call.now, deadline_s=call.deadline_s)
            return read(read_answer(raw, key=call.idempotency_key, currency=call.currency))
        except NotSent as error:
            return ProviderResult.failed(ErrorClass.NOT_SENT, "not_sent", str(error))
        except AnswerLost as error:
            return ProviderResult.unknown(error.code, str(error))

    async def parse_notice(self, notice: Notice) -> NoticeOutcome | DisputeNotice:
        """Check signature and age, then read. The acquirer repeats its notice until it hears `success`."""
        heads = notice.headers
        timestamp, nonce = heads.get("x-acquirer-timestamp", ""), heads.get("x-acquirer-nonce", "")
        text = "\n".join(("notice", notice.method, notice.path, timestamp, nonce, "")).encode() + notice.raw_body
        channel = Channel(account=notice.channel_account, ctx=notice.ctx)
        if not channel.is_signed(text, heads.get("x-acquirer-signature", "")):
            raise NoticeRefused("bad_signature", "The notice has no valid signature.")
        if not timestamp.isdecimal() or abs(notice.now.timestamp() - int(timestamp)) > WINDOW_S:
            raise NoticeRefused("stale", f"The notice was signed more than {WINDOW_S} s ago or ahead.")
        return notice_of(notice.raw_body)

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """The bill of a day in Asia/Shanghai. LookupError before it is ready, ConnectionError when it cannot be had."""
        channel = Channel(account=request.channel_account, ctx=request.ctx)
        asked: dict[str, object] = {"day": request.day.isoformat()}
        try:
            raw = await self._client.post(channel, "bill", asked, now=request.now, deadline_s=request.deadline_s)
        except (NotSent, AnswerLost) as error:
            raise ConnectionError(str(error)) from error
        return _bill(raw)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._client.aclose()


def notice_of(raw: bytes) -> NoticeOutcome | DisputeNotice:
    """What a verified notice says. Raises NoticeRefused for one that is not of the protocol."""
    try:
        if json.loads(raw).get("kind") == "dispute":
            dispute = DisputeNoticeBody.model_validate_json(raw)
            return DisputeNotice(notice_id=dispute.notice_id, word=word_of(dispute), answer=_ACKNOWLEDGED)
        body = NoticeBody.model_validate_json(raw)
        result = result_of(body)
    except (ValueError, AttributeError, AnswerLost):  # pydantic's ValidationError is a ValueError
        raise NoticeRefused("malformed", "The notice is not of the acquirer's protocol.") from None
    return NoticeOutcome(
        notice_id=body.notice_id, idempotency_key=body.key, kind=body.kind, result=result, answer=_ACKNOWLEDGED
    )


def _order(call: ProviderCall) -> dict[str, object]:
    asked: dict[str, object] = {
        "key": call.idempotency_key,
        "amount_minor": call.amount_minor,
        "currency": call.currency,
        "out_trade_no": call.out_trade_no,
        "subject": call.subject,
        "notify_url": call.notify_url or "",
        "scenario": str(call.channel_account.settings.get("scenario", "")),
    }
    if call.expires_at is not None:
        asked["expires_at"] = call.expires_at.isoformat()
    return asked


def _follow_up(call: ProviderCall) -> dict[str, object]:
    if call.original is None:
        raise ValueError(f"a {call.kind} names its original")
    return {"key": call.idempotency_key, "original_key": call.original.idempotency_key}


def _part(call: ProviderCall) -> dict[str, object]:
    return _follow_up(call) | {
        "amount_minor": call.amount_minor,
        "currency": call.currency,
        "notify_url": call.notify_url or "",
    }


def _bill(raw: bytes) -> Bill:
    try:
        body = BillBody.model_validate_json(raw)
    except ValidationError:
        refusal = read_answer(raw, key="", currency="")
        if refusal.code == "BILL_NOT_READY":
            raise LookupError(refusal.message) from None
        raise ConnectionError(f"The acquirer refused the bill: {refusal.code}.") from None
    rows = tuple(
        BillRow(
            kind=row.kind,
            idempotency_key=row.key,
            provider_reference=row.reference,
            amount_minor=row.amount_minor,
            cost_minor=row.cost_minor,
            currency=row.currency,
            occurred_at=row.occurred_at,
        )
        for row in body.rows
    )
    day = date.fromisoformat(body.day)
    return Bill(day=day, rows=rows, count=body.count, total_minor=body.total_minor, raw=raw)


@hookimpl
def register_payment_provider() -> PaymentProvider:
    """Hand over the provider `simulated_acquirer`."""
    return SimulatedAcquirerProvider()

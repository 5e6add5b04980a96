"""Payments as a plugin sees them: what a payment provider is asked, and what it may answer.

Money is an integer of minor units with an ISO 4217 code; moments are aware and UTC. The rules behind these types are
payments.md section 6: an answer is success, failed or *unknown*; unknown is never guessed away; the same
`idempotency_key` moves money once, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from platform_core.contracts.blobs import Blob
from platform_core.contracts.hooks import hook
from platform_core.contracts.payments.disputes import DisputeMove, DisputeWord

if TYPE_CHECKING:
    from platform_core.contracts.plugin import PluginContext

Form = Literal["merchant_scan", "customer_scan", "sticker", "page", "wap", "app", "mini_program", "preauth", "local"]
"""How a customer pays (payments.md section 3)."""
Feature = Literal["partial_capture", "partial_refund", "cancel", "split", "dispute", "bill", "payout"]
"""What a provider can do beyond its forms; what is not declared is never called."""
TransactionKind = Literal[
    "authorize", "sale", "capture", "void", "cancel", "close", "refund", "refund_bounce", "settle"
]
"""One thing asked of a provider. `create` and `pay` begin a sale; a bounce is only ever told, never asked for."""

CUSTOMER_PAYING: Final = "customer_paying"
"""Error code of an unknown outcome: the customer has not finished yet; ask `query` again after `poll_after_s`."""
NOT_FOUND: Final = "not_found"
"""Error code of an unknown outcome: the provider never saw the transaction, but a late request may still reach it."""
AMOUNT_DIFFERS: Final = "amount_differs"
"""Error code of an unknown outcome: the provider speaks of another amount than was asked."""
ALREADY_PAID: Final = "already_paid"
"""Error code of a refused `close`, class `duplicate`: ask `query`, the money is there."""
NOT_SUPPORTED: Final = "not_supported"
"""Error code of an operation that the provider has not declared."""


class ErrorClass(StrEnum):
    """What a failure means for the next step. A plugin maps its own codes by a table; unlisted is `unknown`."""

    NOT_SENT = "not_sent"
    BUSY = "busy"
    DECLINED_TRY_OTHER = "declined_try_other"
    DECLINED_FINAL = "declined_final"
    CUSTOMER_ACTION = "customer_action"
    INVALID_REQUEST = "invalid_request"
    CONFIGURATION = "configuration"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The next step after an error of one class."""

    same_after_s: tuple[float, ...] = ()
    """Waits before each repeat at the same provider with the same key; empty: not repeated."""
    asks: Literal["nothing", "query", "query_then_cancel"] = "nothing"
    """What the provider is asked to learn the truth."""
    may_try_other: bool = False
    """Whether another provider may then be asked for the payment, as a new attempt."""
    is_alert: bool = False
    """Whether a person must look: the request or the settings are wrong."""


RETRY_RULES: Final[Mapping[ErrorClass, RetryRule]] = MappingProxyType(
    {
        ErrorClass.NOT_SENT: RetryRule(same_after_s=(0.2, 1.0), may_try_other=True),
        ErrorClass.BUSY: RetryRule(same_after_s=(0.2, 1.0), may_try_other=True),
        ErrorClass.DECLINED_TRY_OTHER: RetryRule(may_try_other=True),
        ErrorClass.DECLINED_FINAL: RetryRule(),
        ErrorClass.CUSTOMER_ACTION: RetryRule(),
        ErrorClass.INVALID_REQUEST: RetryRule(is_alert=True),
        ErrorClass.CONFIGURATION: RetryRule(may_try_other=True, is_alert=True),
        ErrorClass.DUPLICATE: RetryRule(asks="query"),
        ErrorClass.UNKNOWN: RetryRule(asks="query_then_cancel"),
    }
)
"""The table of payments.md section 6."""

_POSSIBLE_WITH_UNKNOWN: Final = frozenset({ErrorClass.UNKNOWN, ErrorClass.DUPLICATE, ErrorClass.CUSTOMER_ACTION})


class Outcome(StrEnum):
    """A provider's word on one transaction."""

    SUCCESS = "success"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProviderError:
    """Why an outcome is not success."""

    error_class: ErrorClass
    code: str
    """The provider's own code, or one of this module's."""
    message: str
    """For the merchant's staff, in English; nothing secret or personal."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Next action: the customer is busy at their phone; ask again after `poll_after_s` seconds."""

    poll_after_s: float
    type: Literal["wait"] = "wait"


@dataclass(frozen=True, slots=True)
class ShowQr:
    """Next action: show `code` as a QR code for the customer to scan, until `expires_at`."""

    code: str
    expires_at: datetime
    type: Literal["show_qr"] = "show_qr"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Next action: send the customer's browser to `url`, with `fields` in a form when the method is POST."""

    url: str
    expires_at: datetime
    method: Literal["GET", "POST"] = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    type: Literal["redirect"] = "redirect"


@dataclass(frozen=True, slots=True)
class InvokeApp:
    """Next action: hand `payload` (an order string or prepay id with its signature) to the wallet's SDK."""

    payload: str
    expires_at: datetime
    type: Literal["invoke_app"] = "invoke_app"


NextAction = Wait | ShowQr | Redirect | InvokeApp
"""What the customer or the till must do now; told apart by `type`."""


@dataclass(frozen=True, slots=True)
class AmountLimit:
    """Smallest and largest amount of one transaction in one currency, both inclusive, minor units."""

    currency: str
    amount_minor_min: int
    amount_minor_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescription:
    """What a provider is and can do. It does not change while the plugin is loaded."""

    id: str
    forms: frozenset[Form]
    limits: tuple[AmountLimit, ...]
    """One for each currency it takes; a currency that is not listed is never offered."""
    features: frozenset[Feature] = frozenset()
    auth_code_pattern: str | None = None
    """Regular expression that matches the whole `auth_code` of this wallet; None: no `merchant_scan`."""
    cost_bp: int = 0
    """What the acquirer charges, basis points, for routing."""
    is_local: bool = False
    """No network: the answer is always final, so intent and outcome are one commit."""
    settings_schema: Mapping[str, object] = field(default_factory=dict)
    """JSON Schema 2020-12 of `ChannelAccount.settings`."""

    @property
    def currencies(self) -> frozenset[str]:
        """The currencies it takes."""
        return frozenset(limit.currency for limit in self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAccount:
    """One contract with an acquirer."""

    id: str
    settings: Mapping[str, object] = field(default_factory=dict)
    secret_names: Mapping[str, str] = field(default_factory=dict)
    """The manifest's name of a secret > the name to give to `ctx.secrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The transaction that a follow-up is about: what is captured, voided, refunded, canceled or closed."""

    idempotency_key: str
    amount_minor: int
    provider_reference: str | None = None
    """None while the provider's answer is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverShare:
    """One receiver's share of a `settle`."""

    receiver_id: str
    receiver_type: str
    """platform_merchant, channel_merchant, channel_user, channel_login or channel_open_id."""
    account: str = field(repr=False)
    """As the channel names it; a merchant's id for platform_merchant."""
    name: str = field(repr=False)
    amount_minor: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """One question to a provider.

    `query` and `query_refund` ask about the transaction whose `idempotency_key` they carry; all others do what the
    key stands for, once. Follow-ups name their `original`.
    """

    idempotency_key: str
    """The transaction's id, the same on every repeat."""
    kind: TransactionKind
    payment_id: str
    attempt_id: str
    amount_minor: int
    """Of this transaction; for cancel and close that of the original."""
    currency: str
    form: Form
    channel_account: ChannelAccount
    deadline_s: float
    """Seconds for the whole call; what has not answered by then is unknown."""
    now: datetime
    ctx: PluginContext = field(repr=False, compare=False)
    original: Original | None = None
    provider_reference: str | None = None
    """What the provider called this very transaction, where known: for queries."""
    out_trade_no: str = ""
    subject: str = ""
    auth_code: str | None = field(default=None, repr=False)
    """One-use code from the customer's wallet: for `pay` and `authorize`."""
    expires_at: datetime | None = None
    notify_url: str | None = None
    """Where the provider sends its notices."""
    return_url: str | None = None
    reason: str = ""
    """Why money goes back: for `refund`."""
    is_final: bool = True
    """For `capture`: whether the rest of the authorisation is released."""
    store_id: str | None = None
    terminal_id: str | None = None
    operator_id: str | None = None
    shares: tuple[ReceiverShare, ...] = ()
    """For `settle`: who gets how much; they add up to `amount_minor`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundBounce:
    """Money of a successful refund that came back to the acquirer, because the customer's account refused it."""

    provider_reference: str
    amount_minor: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResult:
    """A provider's answer about one transaction. Make it with `success`, `failed` or `unknown`."""

    outcome: Outcome
    provider_reference: str | None = None
    amount_minor: int | None = None
    """What moved, in the call's currency. `create`: the order's amount, nothing has moved yet. `cancel`: what went
    back to the customer, 0 when nothing was paid. `void`: what was released. `close`: 0."""
    occurred_at: datetime | None = None
    """By the provider's clock."""
    error: ProviderError | None = None
    action: NextAction | None = None
    poll_after_s: float | None = None
    bounce: RefundBounce | None = None
    """`query_refund` only."""

    def __post_init__(self) -> None:
        """Raise ValueError for an answer that says too little or contradicts itself."""
        if self.outcome is Outcome.SUCCESS:
            if self.amount_minor is None or self.amount_minor < 0 or self.occurred_at is None or self.error is not None:
                raise ValueError("success names its amount, not below zero, and its moment, and has no error")
        elif self.error is None:
            raise ValueError(f"an outcome {self.outcome} names its error")
        elif self.outcome is Outcome.FAILED and self.error.error_class is ErrorClass.UNKNOWN:
            raise ValueError("an error of class unknown is not a failure; answer unknown")
        elif self.outcome is Outcome.UNKNOWN and self.error.error_class not in _POSSIBLE_WITH_UNKNOWN:
            raise ValueError(f"an error of class {self.error.error_class} is a failure, not unknown")
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError("occurred_at is aware")

    @classmethod
    def success(
        cls,
        *,
        amount_minor: int,
        occurred_at: datetime,
        provider_reference: str | None = None,
        action: NextAction | None = None,
        bounce: RefundBounce | None = None,
    ) -> ProviderResult:
        """The provider did it, for this amount."""
        return cls(
            outcome=Outcome.SUCCESS,
            amount_minor=amount_minor,
            occurred_at=occurred_at,
            provider_reference=provider_reference,
            action=action,
            bounce=bounce,
        )

    @classmethod
    def failed(
        cls, error_class: ErrorClass, code: str, message: str, *, provider_reference: str | None = None
    ) -> ProviderResult:
        """The provider did not do it and never will under this key, by its own word (or nothing was sent)."""
        error = ProviderError(error_class, code, message)
        return cls(outcome=Outcome.FAILED, error=error, provider_reference=provider_reference)

    @classmethod
    def unknown(
        cls,
        code: str,
        message: str,
        *,
        error_class: ErrorClass = ErrorClass.UNKNOWN,
        provider_reference: str | None = None,
        poll_after_s: float | None = None,
        action: NextAction | None = None,
    ) -> ProviderResult:
        """Nobody can say yet whether it happened."""
        return cls(
            outcome=Outcome.UNKNOWN,
            error=ProviderError(error_class, code, message),
            provider_reference=provider_reference,
            poll_after_s=poll_after_s,
            action=action,
        )

    def checked(self, *, amount_minor: int) -> ProviderResult:
        """This result, or unknown with code `amount_differs` when it is a success for another amount.

        For every kind but cancel and close, whose amount only the provider knows.
        """
        if self.outcome is not Outcome.SUCCESS or self.amount_minor == amount_minor:
            return self
        message = f"The provider speaks of {self.amount_minor} minor units; {amount_minor} were asked."
        return ProviderResult.unknown(AMOUNT_DIFFERS, message, provider_reference=self.provider_reference)


def not_supported(operation: str) -> ProviderResult:
    """The answer to an operation that the provider has not declared; the host never asks for one."""
    return ProviderResult.failed(
        ErrorClass.INVALID_REQUEST, NOT_SUPPORTED, f"This provider has no {operation}; its description says so."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What came in at `/v1/notices/{provider_id}/{channel_account}`, as it came."""

    method: str
    path: str
    query: str
    """Raw query string without `?`."""
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last."""
    raw_body: Blob
    channel_account: ChannelAccount
    now: datetime
    ctx: PluginContext = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeAnswer:
    """What the provider wants to hear so that it stops repeating its notice."""

    body: Blob
    media_type: str = "text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeOutcome:
    """What a genuine notice says."""

    notice_id: str
    """The provider's id of this notice; the host stores it and applies it once."""
    idempotency_key: str
    """Our transaction's id; for kind `refund_bounce` that of the refund, and the result's amount is what came back."""
    kind: TransactionKind
    result: ProviderResult
    answer: NoticeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeNotice:
    """What a genuine notice says of a dispute."""

    notice_id: str
    word: DisputeWord
    answer: NoticeAnswer


class NoticeRefused(Exception):
    """The notice is not genuine, is stale, or cannot be read: nothing of it may be believed."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: bad_signature, stale, malformed or not_supported. Neither text quotes the notice."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRequest:
    """Which day's bill to fetch: a calendar day in the channel account's zone."""

    day: date
    channel_account: ChannelAccount
    deadline_s: float
    now: datetime
    ctx: PluginContext = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """One movement of money by the provider's book; what goes back is a positive amount of its kind."""

    kind: TransactionKind | DisputeMove
    idempotency_key: str
    """The transaction's; for a dispute's money that of the disputed one, and the reference is the dispute's."""
    provider_reference: str
    amount_minor: int
    cost_minor: int
    currency: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A provider's bill of one day. The totals are the provider's own, not sums of the rows."""

    day: date
    rows: tuple[BillRow, ...]
    count: int
    total_minor: Mapping[str, int]
    """Net by currency: sales and captures less refunds, cancels and withdrawals; bounces and won disputes added."""
    raw: Blob


@runtime_checkable
class PaymentProvider(Protocol):
    """Does payments at one acquirer. All methods but `describe` are async and return within `deadline_s`.

    Every method that moves money does so once per `idempotency_key`: a repeat gets the first answer. A lost, late or
    broken answer is returned as unknown; an exception counts as unknown too. Only a failure before the first byte
    left is `not_sent`. Which methods are called follows from forms and features: `pay` from merchant_scan and local,
    `create` from the forms that show something, `authorize`, `capture` and `void` from preauth, `cancel` and
    `fetch_bill` from the features of those names (bill), those of `DisputeProvider` from dispute, those of
    `PayoutProvider` from payout, `settle` of `SplitProvider` from split; the rest always. Others answer
    `not_supported`.
    """

    def describe(self) -> ProviderDescription:
        """What this provider is and can do."""
        ...

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Put an order there and return what the customer needs as `action`. Success: the order stands, unpaid."""
        ...

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """Take the money now, by `auth_code` where the form has one.

        While the customer types a password: unknown, code `customer_paying`, action `Wait`.
        """
        ...

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Freeze the amount for later captures."""
        ...

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Take the amount, or a part of it, of the authorisation in `original`."""
        ...

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Release the amount, or a part of it, of the authorisation in `original`."""
        ...

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """Return money of the sale or capture in `original`; never more than it took, all refunds together."""
        ...

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """Undo `original` whatever became of it: unpaid it is closed, paid it is returned, unseen it is barred."""
        ...

    async def close(self, call: ProviderCall) -> ProviderResult:
        """End `original` if it is unpaid; if it is paid: failed, class `duplicate`, code `already_paid`."""
        ...

    async def query(self, call: ProviderCall) -> ProviderResult:
        """The provider's word on the transaction `idempotency_key` of kind `kind`, refunds excepted. Moves nothing.

        Not seen there: unknown, code `not_found`. Not finished by the customer: unknown, code `customer_paying`.
        """
        ...

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """The provider's word on the refund `idempotency_key`. Moves nothing."""
        ...

    async def parse_notice(self, notice: Notice) -> NoticeOutcome | DisputeNotice:
        """Verify and read a notice; one of a dispute only with the feature `dispute`. Raises NoticeRefused; sends
        nothing.
        """
        ...

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """The provider's bill of one day, rows in the order of its book. LookupError while there is none yet."""
        ...


@hook("register", version=1, since="1.0")
def register_payment_provider() -> PaymentProvider:
    """Hand over a payment provider. Called once, when the plugin is loaded; the object serves all merchants.

    Its id (`describe().id`) is unique in the installation; a second one with the same id is refused. A raising
    implementation is reported against its plugin and loses no other plugin's provider.

    >>> import asyncio
    >>> from datetime import UTC, datetime
    >>> from platform_core.contracts.hooks import hookimpl
    >>> from platform_core.contracts.payments import AmountLimit, ProviderDescription, ProviderResult
    >>> class Vouchers:
    ...     def describe(self):
    ...         limit = AmountLimit("CNY", amount_minor_min=1, amount_minor_max=50_000)
    ...         return ProviderDescription(id="vouchers", forms=frozenset({"local"}), limits=(limit,), is_local=True)
    ...
    ...     async def pay(self, call):
    ...         return ProviderResult.success(amount_minor=call.amount_minor, occurred_at=call.now)
    ...
    ...     # ... and the other methods of PaymentProvider
    >>> @hookimpl
    ... def register_payment_provider():
    ...     return Vouchers()
    >>> sorted(register_payment_provider().describe().currencies)
    ['CNY']
    >>> paid = ProviderResult.success(amount_minor=1200, occurred_at=datetime(2026, 11, 22, tzinfo=UTC))
    >>> str(paid.checked(amount_minor=1200).outcome), str(paid.checked(amount_minor=1300).outcome)
    ('success', 'unknown')
    """
    raise AssertionError("pluggy calls the implementations, never the hookspec")

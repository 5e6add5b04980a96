"""What every translator is handed, and what all of them do alike: act once, and read afresh."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
from pydantic import BaseModel

from platform_core.capabilities.payments import errors
from platform_core.capabilities.payments.answers import payment_answer
from platform_core.capabilities.payments.assembly import Payments
from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import PlanRefused, Replayed
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.body import validated
from platform_core.kernel.http.expand import parse_expand
from platform_core.kernel.http.idempotency import IdempotentRequest, canonical, fingerprint
from platform_core.ledger.service import LedgerService
from sandbox.simulators.alipay_gateway.bill_desk import BillDesk
from sandbox.simulators.alipay_gateway.fields import Asked
from sandbox.simulators.alipay_gateway.numbers import Numbers
from sandbox.simulators.alipay_gateway.seams import OpenAuth

Node = Mapping[str, Any]
"""The fields of an answer, `code` and `msg` included: see `envelope.answered`."""
Read = dict[str, Any]
"""An object as the native API answers it: amounts in fen, moments as datetimes."""
A = TypeVar("A", bound=Asked)
M = TypeVar("M", bound=BaseModel)
EXPANDED: Final = "refunds,transactions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What translators call: the same services as the native routes."""

    payments: Payments
    ledger: LedgerService
    numbers: Numbers
    bills: BillDesk
    clock: Clock
    open_auth: OpenAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that passed all checks. `order`: what the parameter arsenal_order adds to a payment.

    `auth_app_number`: the pseudo app of the merchant whose app_auth_token was sent; blank for the app's own merchant.
    """

    services: Services
    principal: Principal
    method: str
    app_number: str
    auth_app_number: str = ""
    digest: str
    sign_type: str = "RSA2"
    notify_url: str = ""
    return_url: str = ""
    order: Mapping[str, Any]

    @property
    def merchant_id(self) -> str:
        """Whom the caller acts for."""
        return str(self.principal.merchant_id)

    def key(self, natural: str) -> IdempotentRequest:
        """The native idempotency key: of app, method, natural key and everything that was asked."""
        mark = fingerprint(method="POST", path=f"/gateway.do/{self.method}", body=self.digest.encode())
        return IdempotentRequest(self.principal.client_id, f"{self.method}:{natural}:{self.digest[:32]}", mark)

    async def once(self, natural: str, act: Callable[[IdempotentRequest], Awaitable[object]]) -> bool:
        """Do it, unless this very request was done before or is under way. Whether it was done now.

        Either way the answer is made from what a fresh read says, so that a repeat shows the present state.
        """
        key = self.key(natural)
        service = self.services.payments.service
        if await service.replay(self.principal, key) is not None:
            return False
        try:
            await act(key)
        except PlanRefused as refused:
            if not isinstance(refused.refusal, Replayed):
                raise
            return False
        except PlatformError:
            if await service.replay(self.principal, key) is None:
                raise
            return False
        return True

    async def payment(self, reference: str) -> Read:
        """A payment with its refunds and transactions, by id or `out_trade_no:<value>`; what is open is asked about.

        Raises `payments.not_found`.
        """
        payments = self.services.payments
        answer = payment_answer((await payments.service.read(self.principal, reference)).model_dump())
        await parse_expand(EXPANDED, payments.expansion.payments).fill(self.principal, [answer])
        return answer

    async def payment_if_any(self, out_trade_no: str) -> Read | None:
        """The payment with the merchant's number, if there is one."""
        try:
            return await self.payment(f"out_trade_no:{out_trade_no}")
        except PlatformError as error:
            if error.declared is not errors.NOT_FOUND:
                raise
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[A]):
    """One row of a family's table: a method, what it asks, and who translates it.

    Without `translate` the method is not here yet; `waits_for` says what it waits for, and callers are answered as for
    a method that does not exist. `scope`: of the native operation. `native`: that operation, for the reference page.
    """

    name: str
    scope: str | None
    native: str
    asks: type[A] | None = None
    translate: Callable[[Call, A], Awaitable[Node]] | None = None
    waits_for: str = ""
    is_flat: bool = False

    @property
    def is_trade(self) -> bool:
        """Whether wrong fields are told as ACQ.INVALID_PARAMETER."""
        return self.name.startswith("alipay.trade.")


def digest_of(*documents: object) -> str:
    """SHA-256 of what was asked, however it was spaced and ordered."""
    return hashlib.sha256(b"\n".join(map(canonical, documents))).hexdigest()


def native_request(model: type[M], document: Mapping[str, Any]) -> M:
    """A request of the native API, validated as its route would. Raises `kernel.validation_failed`."""
    given = {name: value for name, value in document.items() if value is not None}
    return validated(model, _ENCODER.encode(given), given)


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

"""The acquirer's HTTP face. Merchants' requests are signed; the buyer's phone and the `/_` controls are not."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.simulators.acquirer.bills import ZONE, bill_of_day
from sandbox.simulators.acquirer.book import TOLD_ONLY, Book
from sandbox.simulators.acquirer.buyers import Buyer
from sandbox.simulators.acquirer.disputes import view
from sandbox.simulators.acquirer.notices import BACKOFF_S, NoticeSender
from sandbox.simulators.acquirer.replies import Payload, Reply, encoded
from sandbox.simulators.acquirer.requests import (
    BillOfDay,
    BuyerSetting,
    Claim,
    ClockSetting,
    DisputeAct,
    DisputeQuestion,
    DisputeStep,
    Evidence,
    FollowUp,
    Merchant,
    Order,
    Part,
    PayoutOrder,
    PayoutReturn,
    Question,
    Scan,
    Script,
    Settle,
)
from sandbox.simulators.acquirer.scenarios import SUCCESS, UnknownScenario, named
from sandbox.simulators.acquirer.signing import (
    MERCHANT,
    NONCE,
    SIGNATURE,
    TIMESTAMP,
    WINDOW_S,
    answer_text,
    is_signed,
    request_text,
    sign,
)
from sandbox.simulators.acquirer.wallet import Wallet

_BUYER_ID: Final = re.compile(r"[a-z0-9_-]{1,32}")
BODY_MAX: Final = 64 * 1024
EVIDENCE_BODY_MAX: Final = 7 * 1024 * 1024 + BODY_MAX
DROP: Final = "acquirer.drop"
"""In the scope, put there by the server: a function that cuts the connection."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquirerConfig:
    """What an acquirer starts with."""

    merchants: Mapping[str, bytes]
    """Signing keys by merchant number, added to those that the book holds."""
    book_path: Path | None = None
    """A file that survives a restart; None: in memory."""
    notice_backoff_s: Sequence[float] = BACKOFF_S


class _Refused(Exception):
    """A request that is answered with an error of the protocol."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.payload: Payload = {"code": code, "message": message, "status": "FAILED", "key": ""}


class Acquirer:
    """The running service: book, wallet and notices on one event loop."""

    def __init__(self, config: AcquirerConfig, clock: Callable[[], datetime]) -> None:
        """Open the book; `clock` gives aware moments. Make it on the loop's thread."""
        self._clock = clock
        self._ahead = timedelta(0)
        self.book = Book(config.book_path)
        for merchant_no, key in config.merchants.items():
            self.book.add_merchant(merchant_no, key)
        self.wallet = Wallet(self.book, self.now)
        self.sender = NoticeSender(self.book, self.now, backoff_s=config.notice_backoff_s)
        self._operations: Mapping[str, Callable[[str, bytes], Reply]] = {
            "pay": lambda who, body: self.wallet.pay(who, _read(Order, body)),
            "authorize": lambda who, body: self.wallet.authorize(who, _read(Order, body)),
            "precreate": lambda who, body: self.wallet.precreate(who, _read(Order, body)),
            "capture": lambda who, body: self.wallet.capture(who, _read(Part, body)),
            "void": lambda who, body: self.wallet.void(who, _read(Part, body)),
            "refund": lambda who, body: self.wallet.refund(who, _read(Part, body)),
            "settle": lambda who, body: self.wallet.settle(who, _read(Settle, body)),
            "cancel": lambda who, body: self.wallet.cancel(who, _read(FollowUp, body)),
            "close": lambda who, body: self.wallet.close(who, _read(FollowUp, body)),
            "query": lambda who, body: self.wallet.query(who, _read(Question, body)),
            "query_refund": lambda who, body: self.wallet.query(who, _read(Question, body)),
            "query_dispute": lambda who, body: self.wallet.disputes.query(who, _read(DisputeQuestion, body)),
            "submit_evidence": lambda who, body: self.wallet.disputes.submit(who, _read(Evidence, body)),
            "accept_dispute": lambda who, body: self.wallet.disputes.accept(who, _read(DisputeAct, body)),
            "payout": lambda who, body: self.wallet.payout(who, _read(PayoutOrder, body)),
            "query_payout": lambda who, body: self.wallet.query(who, _read(Question, body)),
            "bill": lambda who, body: self._bill(who, _read(BillOfDay, body)),
        }

    def now(self) -> datetime:
        """The acquirer's clock."""
        return self._clock() + self._ahead

    async def operate(self, request: Request) -> Response:
        """`POST /v1/{operation}`: verify, do, answer; the scenario may spoil the answer on its way out."""
        is_evidence = request.path_params["operation"] == "submit_evidence"
        body = await _body_of(request, EVIDENCE_BODY_MAX if is_evidence else BODY_MAX)
        merchant_no = request.headers.get(MERCHANT, "")
        key = self.book.merchants().get(merchant_no)
        if key is None:
            return _json(_Refused(401, "SIGNATURE_INVALID", "Unknown merchant.").payload, 401)
        try:
            self._authenticate(request, body, key=key)
            operation = self._operations.get(request.path_params["operation"])
            if operation is None:
                raise _Refused(404, "UNKNOWN_OPERATION", "There is no such operation.")
            with self.book.transaction():
                reply = operation(merchant_no, body)
        except _Refused as refused:
            reply = Reply(refused.payload, SUCCESS, refused.status)
        except UnknownScenario as unknown:
            reply = Reply(_Refused(400, "INVALID_PARAMETER", str(unknown)).payload, SUCCESS, 400)
        self.sender.wake()
        return await self._answered(request, reply, key)

    async def _answered(self, request: Request, reply: Reply, key: bytes) -> Response:
        if reply.scenario.delay_ms:
            await asyncio.sleep(reply.scenario.delay_ms / 1000)
        mode = reply.scenario.answer
        if mode == "dropped":
            request.scope[DROP]()
            return Response(status_code=502)
        payload = dict(reply.payload)
        if mode == "wrong_amount" and isinstance(payload.get("amount_minor"), int):
            payload["amount_minor"] = int(str(payload["amount_minor"])) + 1
        body = encoded(payload)
        if mode == "broken":
            body = body[: len(body) // 2]
        timestamp = str(int(self.now().timestamp()))
        text = answer_text(
            request_nonce=request.headers.get(NONCE, ""), status=reply.status, timestamp=timestamp, body=body
        )
        signing_key = secrets.token_bytes(32) if mode == "forged" else key
        headers = {TIMESTAMP: timestamp, SIGNATURE: sign(signing_key, text)}
        return Response(body, reply.status, headers, media_type="application/json")

    def _authenticate(self, request: Request, body: bytes, *, key: bytes) -> None:
        """Refuse a forged, stale or replayed request before it is read."""
        heads = request.headers
        timestamp, nonce = heads.get(TIMESTAMP, ""), heads.get(NONCE, "")
        text = request_text(method=request.method, path=request.url.path, timestamp=timestamp, nonce=nonce, body=body)
        if not is_signed(key, text, heads.get(SIGNATURE, "")):
            raise _Refused(401, "SIGNATURE_INVALID", "The signature does not match.")
        now = self.now()
        if not timestamp.isdecimal() or abs(now.timestamp() - int(timestamp)) > WINDOW_S:
            raise _Refused(401, "TIMESTAMP_STALE", f"The timestamp is more than {WINDOW_S} s from our clock.")
        if not 16 <= len(nonce) <= 64:
            raise _Refused(401, "NONCE_INVALID", "A nonce has 16 to 64 characters.")
        if not self.book.is_fresh_nonce(heads[MERCHANT], nonce, now=now, keep_s=2 * WINDOW_S):
            raise _Refused(401, "NONCE_REUSED", "This nonce was used before.")

    def _bill(self, merchant_no: str, ask: BillOfDay) -> Reply:
        try:
            day = date.fromisoformat(ask.day)
        except ValueError:
            raise _Refused(400, "INVALID_PARAMETER", "No such day.") from None
        if day >= self.now().astimezone(ZONE).date():
            raise _Refused(404, "BILL_NOT_READY", "A day's bill is ready when the day is over in Asia/Shanghai.")
        return Reply(bill_of_day(self.book, merchant_no=merchant_no, day=day))

    async def scan(self, request: Request) -> Response:
        """`POST /buyer/scan`: the buyer's phone."""
        scan = _read(Scan, await _body_of(request))
        with self.book.transaction():
            reply = self.wallet.scan(scan)
        self.sender.wake()
        return _json(reply.payload)

    async def list_buyers(self, _: Request) -> Response:
        """`GET /_buyers`: everybody with a wallet here."""
        return _json({"buyers": self.wallet.buyers.listed()})

    async def set_buyer(self, request: Request) -> Response:
        """`POST /_buyers/{buyer}`: balance and temper; a new id adds a buyer."""
        setting = _read(BuyerSetting, await _body_of(request))
        buyer_id = request.path_params["buyer"]
        if _BUYER_ID.fullmatch(buyer_id) is None:
            raise _Refused(400, "INVALID_PARAMETER", "A buyer's id has 1 to 32 of a-z, 0-9, - and _.")
        with self.book.transaction():
            before = self.wallet.buyers.find(buyer_id) or Buyer(buyer_id, buyer_id.capitalize(), "ready", 0)
            self.wallet.buyers.put(replace(before, **setting.model_dump(exclude_none=True)))
        return _json({"buyers": self.wallet.buyers.listed()})

    async def show_code(self, request: Request) -> Response:
        """`POST /_buyers/{buyer}/codes`: a fresh one-use payment code."""
        buyer = self.wallet.buyers.find(request.path_params["buyer"])
        if buyer is None:
            raise _Refused(404, "NOT_FOUND", "There is no such buyer.")
        with self.book.transaction():
            code, expires_at = self.wallet.buyers.show_code(buyer.id)
        return _json({"auth_code": code, "expires_at": expires_at, "buyer": buyer.id})

    async def script(self, request: Request) -> Response:
        """`POST /_script`: the next calls go by a scenario."""
        script = _read(Script, await _body_of(request))
        named(script.scenario)
        self.book.add_script(**script.model_dump())
        return _json({"code": "OK"})

    async def dispute(self, request: Request) -> Response:
        """`POST /_disputes`: a buyer's bank disputes what was paid."""
        claim = _read(Claim, await _body_of(request))
        entry = self.book.entry(claim.merchant_no, claim.key)
        if entry is None:
            raise _Refused(404, "NOT_FOUND", "Nothing is known under this key.")
        with self.book.transaction():
            opened = self.wallet.disputes.open(
                entry, amount_minor=claim.amount_minor, reason=claim.reason, decides=claim.decides
            )
        if not opened:
            raise _Refused(409, "AMOUNT_EXCEEDED", "It was not paid, or less of it is left.")
        self.sender.wake()
        return _json({"code": "OK", "reference": opened})

    async def step_dispute(self, request: Request) -> Response:
        """`POST /_disputes/{reference}`: the acquirer takes the money, or decides."""
        step = _read(DisputeStep, await _body_of(request))
        dispute = self.book.dispute(step.merchant_no, request.path_params["reference"])
        if dispute is None:
            raise _Refused(404, "DISPUTE_UNKNOWN", "There is no dispute of this reference.")
        with self.book.transaction():
            self.wallet.disputes.step(dispute, step.step)
        self.sender.wake()
        return _json(view(dispute))

    async def register(self, request: Request) -> Response:
        """`POST /_merchants`: a merchant and its key."""
        merchant = _read(Merchant, await _body_of(request))
        self.book.add_merchant(merchant.merchant_no, bytes.fromhex(merchant.key))
        return _json({"code": "OK"})

    async def give_back_payout(self, request: Request) -> Response:
        """`POST /_payout_returns`: a merchant's bank sends a payout back."""
        back = _read(PayoutReturn, await _body_of(request))
        with self.book.transaction():
            is_back = self.wallet.payouts.give_back(back.merchant_no, back.key)
        if not is_back:
            raise _Refused(404, "NOT_FOUND", "No payout was paid under this key.")
        return _json({"code": "OK"})

    async def set_clock(self, request: Request) -> Response:
        """`POST /_clock`: put the clock somewhere."""
        setting = _read(ClockSetting, await _body_of(request))
        self._ahead = setting.now.astimezone(UTC) - self._clock()
        return _json({"code": "OK"})

    async def show(self, _: Request) -> Response:
        """`GET /_book`: all there is, and how often each key moved money."""
        moved: dict[str, int] = {}
        movements = self.book.movements()
        for movement in movements:
            if movement.kind not in TOLD_ONLY:
                moved[movement.key] = moved.get(movement.key, 0) + 1
        return _json(
            {
                "entries": [asdict(entry) for entry in self.book.entries()],
                "movements": [asdict(movement) for movement in movements],
                "moved": moved,
                "disputes": [asdict(dispute) for dispute in self.book.disputes()],
                "notices_open": len(self.book.open_notices()),
            }
        )

    async def aclose(self) -> None:
        """Stop sending and release the book."""
        await self.sender.aclose()
        self.book.close()


def create_app(
    config: AcquirerConfig, clock: Callable[[], datetime], *, on_ready: Callable[[], None] = lambda: None
) -> Starlette:
    """The ASGI application. It opens the book when it starts and closes it when it stops."""
    running: list[Acquirer] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        acquirer = Acquirer(config, clock)
        running.append(acquirer)
        acquirer.sender.wake()
        on_ready()
        yield
        await acquirer.aclose()

    def route(path: str, handler: Callable[[Acquirer, Request], Awaitable[Response]], method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(running[0], request)
            except _Refused as refused:
                return _json(refused.payload, refused.status)
            except UnknownScenario as unknown:
                return _json({"code": "INVALID_PARAMETER", "message": str(unknown)}, 400)

        return Route(path, endpoint, methods=[method])

    return Starlette(
        lifespan=lifespan,
        routes=[
            route("/v1/{operation}", Acquirer.operate, "POST"),
            route("/buyer/scan", Acquirer.scan, "POST"),
            route("/_script", Acquirer.script, "POST"),
            route("/_disputes", Acquirer.dispute, "POST"),
            route("/_disputes/{reference}", Acquirer.step_dispute, "POST"),
            route("/_merchants", Acquirer.register, "POST"),
            route("/_buyers", Acquirer.list_buyers, "GET"),
            route("/_buyers/{buyer}", Acquirer.set_buyer, "POST"),
            route("/_buyers/{buyer}/codes", Acquirer.show_code, "POST"),
            route("/_payout_returns", Acquirer.give_back_payout, "POST"),
            route("/_clock", Acquirer.set_clock, "POST"),
            route("/_book", Acquirer.show, "GET"),
        ],
    )


async def _body_of(request: Request, bytes_max: int = BODY_MAX) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise _Refused(413, "TOO_LARGE", f"A body has at most {bytes_max} bytes.")
    return body


def _read(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise _Refused(400, "INVALID_PARAMETER", f"{where}: {first['msg']}") from None


def _json(payload: Payload, status: int = 200) -> Response:
    return Response(encoded(payload), status, media_type="application/json")

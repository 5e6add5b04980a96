"""The acquirer's decisions: what each operation does to the book, and what is answered.

Every operation that moves money does so once for its key; a repeat is answered from the book.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sandbox.simulators.acquirer.book import Book, Entry, stamp
from sandbox.simulators.acquirer.buyers import Buyer, Buyers
from sandbox.simulators.acquirer.disputes import Disputes
from sandbox.simulators.acquirer.payouts import Payouts
from sandbox.simulators.acquirer.replies import Payload, Reply, encoded, words
from sandbox.simulators.acquirer.requests import FollowUp, Order, Part, PayoutOrder, Question, Scan, Settle
from sandbox.simulators.acquirer.scenarios import (
    MAGIC_AMOUNTS,
    NEVER,
    SUCCESS,
    Scenario,
    in_auth_code,
    named,
)

ORDER_LIFE: Final = timedelta(hours=2)


class Wallet:
    """Decides on one book."""

    def __init__(self, book: Book, now: Callable[[], datetime]) -> None:
        """`now` gives aware moments."""
        self._book = book
        self._now = now
        self.buyers = Buyers(book.connection, now)
        self.payouts = Payouts(book, now)
        self.disputes = Disputes(book, now, self._left_of)

    def pay(self, merchant_no: str, order: Order) -> Reply:
        """Take the money with the customer's one-use code."""
        return self._order(merchant_no, order, operation="pay", kind="sale")

    def authorize(self, merchant_no: str, order: Order) -> Reply:
        """Freeze the money with the customer's one-use code."""
        return self._order(merchant_no, order, operation="authorize", kind="authorize")

    def precreate(self, merchant_no: str, order: Order) -> Reply:
        """Open an order that waits for a scan of its QR code."""
        return self._order(merchant_no, order, operation="precreate", kind="sale")

    def capture(self, merchant_no: str, part: Part) -> Reply:
        """Take frozen money."""
        return self._part(merchant_no, part, operation="capture")

    def void(self, merchant_no: str, part: Part) -> Reply:
        """Release frozen money."""
        return self._part(merchant_no, part, operation="void")

    def refund(self, merchant_no: str, part: Part) -> Reply:
        """Return money."""
        return self._part(merchant_no, part, operation="refund")

    def settle(self, merchant_no: str, settle: Settle) -> Reply:
        """Give shares of what was taken to receivers."""
        return self._part(merchant_no, settle, operation="settle")

    def _order(self, merchant_no: str, order: Order, *, operation: str, kind: str) -> Reply:
        repeated = self._repeat(merchant_no, order)
        if repeated is not None:
            return repeated
        scenario = self._scenario(
            operation,
            subjects=(order.key, order.out_trade_no),
            auth_code=order.auth_code,
            amount_minor=order.amount_minor,
            asked=order.scenario,
        )
        if scenario.effect == "nothing":
            return self._nothing(scenario, order.key)
        entry = self._entry(merchant_no, order, kind=kind, amount_minor=order.amount_minor, currency=order.currency)
        entry.out_trade_no = order.out_trade_no
        entry.notify_url = order.notify_url
        refusal = ""
        if operation == "precreate":
            entry.qr_code = f"simqr:{entry.reference}"
            entry.expires_at = stamp(order.expires_at or self._now() + ORDER_LIFE)
        elif not order.auth_code or self._book.entry_of_auth_code(order.auth_code) is not None:
            refusal = "AUTH_CODE_INVALID"
        else:
            entry.auth_code = order.auth_code
            buyer, is_fresh = self.buyers.of_code(order.auth_code)
            refusal = "" if is_fresh else "AUTH_CODE_INVALID"
            if buyer is not None and is_fresh:
                scenario, refusal = self._of_buyer(buyer, entry, scenario)
        if operation == "precreate" and scenario.effect == "done":
            entry.status, entry.queries_left, entry.notices = "PENDING", NEVER, ",".join(scenario.notices)
        else:
            self._begin(entry, scenario, refusal)
        self._book.save(entry)
        return self._reply(entry, scenario)

    def _of_buyer(self, buyer: Buyer, entry: Entry, scenario: Scenario) -> tuple[Scenario, str]:
        """How it goes with this buyer, unless something else was scripted; and what keeps the buyer from paying."""
        self.buyers.pays(entry, buyer)
        if buyer.temper == "slow" and scenario == SUCCESS:
            scenario = named("paying")
        return scenario, self.buyers.refusal(buyer, entry.amount_minor)

    def _part(self, merchant_no: str, part: Part, *, operation: str) -> Reply:
        repeated = self._repeat(merchant_no, part)
        if repeated is not None:
            return repeated
        original = self._book.entry(merchant_no, part.original_key)
        scenario = self._scenario(
            operation,
            subjects=(part.key, part.original_key),
            auth_code="",
            amount_minor=part.amount_minor,
            asked=part.scenario,
        )
        if scenario.effect == "nothing":
            return self._nothing(scenario, part.key)
        entry = self._entry(merchant_no, part, kind=operation, amount_minor=part.amount_minor, currency=part.currency)
        entry.original_key = part.original_key
        entry.notify_url = part.notify_url
        entry.is_final = int(part.is_final and operation == "capture")
        self._begin(entry, scenario, self._refusal_of_part(entry, original, part))
        self._book.save(entry)
        return self._reply(entry, scenario)

    def payout(self, merchant_no: str, order: PayoutOrder) -> Reply:
        """Send money to a merchant's bank account."""
        repeated = self._repeat(merchant_no, order)
        if repeated is not None:
            return repeated
        subjects = (order.key, order.out_payout_no)
        asked, amount = order.scenario, order.amount_minor
        scenario = self._scenario("payout", subjects=subjects, auth_code="", amount_minor=amount, asked=asked)
        if scenario.effect == "nothing":
            return self._nothing(scenario, order.key)
        entry = self._entry(merchant_no, order, kind="payout", amount_minor=amount, currency=order.currency)
        entry.out_trade_no = order.out_payout_no
        self._begin(entry, scenario, "")
        self._book.save(entry)
        return self._reply(entry, scenario)

    def cancel(self, merchant_no: str, ask: FollowUp) -> Reply:
        """Undo the original: unpaid it is closed, paid it is returned, unseen it is barred."""
        return self._end(merchant_no, ask, operation="cancel")

    def close(self, merchant_no: str, ask: FollowUp) -> Reply:
        """Close the original if it is unpaid."""
        return self._end(merchant_no, ask, operation="close")

    def _end(self, merchant_no: str, ask: FollowUp, *, operation: str) -> Reply:
        repeated = self._repeat(merchant_no, ask)
        if repeated is not None:
            return repeated
        scenario = self._scenario(
            operation, subjects=(ask.key, ask.original_key), auth_code="", amount_minor=0, asked=ask.scenario
        )
        if scenario.effect == "nothing":
            return self._nothing(scenario, ask.key)
        original = self._book.entry(merchant_no, ask.original_key) or self._barred(merchant_no, ask)
        entry = self._entry(merchant_no, ask, kind=operation, amount_minor=0, currency=original.currency)
        entry.original_key = original.key
        self._begin(entry, scenario, self._refusal_of_end(operation, original))
        self._book.save(entry)
        return self._reply(entry, scenario)

    def _refusal_of_end(self, operation: str, original: Entry) -> str:
        """Closing ends only what is unpaid; a captured authorisation is refunded, not canceled."""
        is_paid = original.status == "SUCCESS" and operation == "close"
        is_captured = original.kind == "authorize" and any(
            e.kind == "capture" and e.status in {"SUCCESS", "PENDING"} for e in self._book.follow_ups(original)
        )
        return "ORDER_PAID" if is_paid or is_captured else ""

    def _undo(self, entry: Entry) -> None:
        """Close or return the original of a cancel or close; the entry's amount becomes what is returned."""
        original = self._book.entry(entry.merchant_no, entry.original_key)
        assert original is not None, entry.original_key
        if original.status == "PENDING":
            original.status, original.code, original.settled_at = "CLOSED", "ORDER_CLOSED", stamp(self._now())
        elif original.status == "SUCCESS" and entry.kind == "cancel":
            entry.amount_minor = self._left_of(original)
            original.status, original.code = "CANCELED", "ORDER_CANCELED"
        original.queries_left = 0
        self._book.save(original)

    def _barred(self, merchant_no: str, ask: FollowUp) -> Entry:
        """An entry for an order never seen, closed, so that a late request under its key is refused."""
        tombstone = self._entry(
            merchant_no, Question(key=ask.original_key), kind="sale", amount_minor=0, currency="CNY"
        )
        tombstone.fingerprint = ""
        tombstone.status, tombstone.code, tombstone.settled_at = "CLOSED", "ORDER_CLOSED", stamp(self._now())
        self._book.save(tombstone)
        return tombstone

    def query(self, merchant_no: str, ask: Question) -> Reply:
        """The word on one key. A pending one comes nearer to its end with every question."""
        entry = self._book.entry(merchant_no, ask.key)
        scripted = self._book.take_script(operation="query", subjects=(ask.key,))
        scenario = SUCCESS if scripted is None else named(scripted)
        if scenario.effect == "nothing":
            return self._nothing(scenario, ask.key)
        if entry is None:
            return Reply(words("NOT_FOUND", "UNKNOWN", ask.key), scenario)
        if entry.queries_left > 0:
            entry.queries_left -= 1
            if entry.queries_left == 0 and entry.status == "PENDING":
                self._settle(entry)
        if entry.status == "PENDING" and entry.expires_at and stamp(self._now()) >= entry.expires_at:
            entry.status, entry.code, entry.queries_left = "CLOSED", "ORDER_EXPIRED", 0
        self._book.save(entry)
        return self._reply(entry, scenario)

    def scan(self, scan: Scan) -> Reply:
        """The buyer scans and pays. A refusal leaves the order open for another try."""
        entry = self._book.entry_of_qr(scan.qr_code)
        if entry is None:
            return Reply(words("NOT_FOUND", "FAILED", ""))
        if entry.status != "PENDING":
            return Reply(words("ORDER_PAID" if entry.status == "SUCCESS" else "ORDER_CLOSED", "FAILED", entry.key))
        if stamp(self._now()) >= entry.expires_at:
            return Reply(words("ORDER_EXPIRED", "FAILED", entry.key))
        scenario = named(scan.scenario)
        if scan.buyer:
            buyer = self.buyers.find(scan.buyer)
            if buyer is None:
                return Reply(words("NOT_FOUND", "FAILED", entry.key))
            scenario, refusal = self._of_buyer(buyer, entry, scenario)
            if refusal:
                return Reply(words(refusal, "FAILED", entry.key))
        if scenario.effect in {"refused", "nothing"}:
            return Reply(words(scenario.code, "FAILED", entry.key))
        self._begin(entry, scenario, "")
        self._book.save(entry)
        return Reply(_view(entry))

    def _begin(self, entry: Entry, scenario: Scenario, refusal: str) -> None:
        """Let a new or scanned entry go as the scenario says, unless a rule refuses it."""
        code = refusal or (scenario.code if scenario.effect == "refused" else "")
        entry.notices = ",".join(scenario.notices)
        if code:
            entry.status, entry.code, entry.settled_at = "FAILED", code, stamp(self._now())
            return
        entry.queries_left = scenario.queries
        entry.shown_as, entry.ends, entry.end_code = scenario.shown_as, scenario.ends, scenario.code
        entry.is_bounced = int(scenario.is_bounced)
        entry.disputed = scenario.disputed
        if scenario.effect == "done":
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Bring a pending entry to its end; this is where money moves, and nowhere else."""
        now = self._now()
        entry.settled_at = stamp(now)
        if entry.ends == "FAILED":
            entry.status, entry.code = "FAILED", entry.end_code
        else:
            entry.status, entry.code = "SUCCESS", "OK"
            if entry.kind in {"cancel", "close"}:
                self._undo(entry)
            if entry.amount_minor:
                self._book.move(entry, kind=entry.kind, amount_minor=entry.amount_minor, now=now)
                self.buyers.moved(entry, self._into_wallet(entry))
            if entry.is_bounced:
                self._book.move(
                    entry, kind="refund_bounce", amount_minor=entry.amount_minor, now=now, reference=_bounce(entry)
                )
        self._tell(entry)
        if entry.disputed and entry.status == "SUCCESS":
            self._book.save(entry)
            self.disputes.open(entry, decides=entry.disputed.removeprefix("open").removeprefix("_"))

    def _into_wallet(self, entry: Entry) -> int:
        """What a buyer gets by an entry that has just moved money; negative what is taken."""
        if entry.kind in {"sale", "authorize"}:
            return -entry.amount_minor
        if entry.kind != "capture":
            return 0 if entry.is_bounced else entry.amount_minor
        original = self._book.entry(entry.merchant_no, entry.original_key)
        if original is None or not entry.is_final:
            return 0
        before = [
            each for each in self._book.follow_ups(original) if each.key != entry.key and each.status == "SUCCESS"
        ]
        return original.amount_minor - entry.amount_minor - sum(each.amount_minor for each in before)

    def _tell(self, entry: Entry) -> None:
        if not entry.notify_url:
            return
        told = [word for word in entry.notices.split(",") if word]
        final_id = f"ntc{self._book.next_serial('notice'):010d}"
        for word in told:
            body = _view(entry) | {"notice_id": final_id}
            if word == "PENDING":
                body |= words("CUSTOMER_PAYING", "PENDING", entry.key) | {"notice_id": f"{final_id}s"}
            self._store_notice(entry, body)
        if entry.is_bounced and entry.status == "SUCCESS":
            body = _view(entry) | {"notice_id": f"{final_id}b", "kind": "refund_bounce", "reference": _bounce(entry)}
            self._store_notice(entry, body)

    def _store_notice(self, entry: Entry, body: Payload) -> None:
        self._book.add_notice(merchant_no=entry.merchant_no, url=entry.notify_url, body=encoded(body))

    def _refusal_of_part(self, entry: Entry, original: Entry | None, part: Part) -> str:
        kinds = {"authorize"} if entry.kind in {"capture", "void"} else {"sale", "capture"}
        if original is None or original.kind not in kinds:
            return "NOT_FOUND"
        if original.status != "SUCCESS":
            return "ORDER_CLOSED"
        if original.currency != entry.currency:
            return "INVALID_PARAMETER"
        if isinstance(part, Settle) and sum(share.amount_minor for share in part.shares) != part.amount_minor:
            return "INVALID_PARAMETER"
        left = self._unshared(original) if entry.kind == "settle" else self._left_of(original)
        return "AMOUNT_EXCEEDED" if entry.amount_minor > left else ""

    def _unshared(self, original: Entry) -> int:
        """What may still be shared: shares leave what can be refunded as it is, the merchant answers for both."""
        shared = [
            e for e in self._book.follow_ups(original) if e.kind == "settle" and e.status in {"SUCCESS", "PENDING"}
        ]
        return original.amount_minor - sum(e.amount_minor for e in shared)

    def _left_of(self, original: Entry) -> int:
        """What is not yet captured, voided, refunded or disputed; what is pending counts as gone."""
        used = [e for e in self._book.follow_ups(original) if e.status in {"SUCCESS", "PENDING"} and e.kind != "settle"]
        if any(e.is_final for e in used):
            return 0
        disputed = self._book.disputed_minor(original)
        return original.amount_minor - disputed - sum(e.amount_minor for e in used if not e.is_bounced)

    def _repeat(self, merchant_no: str, request: Question) -> Reply | None:
        """The answer to a key that is known; None for a new one."""
        entry = self._book.entry(merchant_no, request.key)
        if entry is None:
            return None
        if entry.fingerprint and entry.fingerprint != _fingerprint(request):
            return Reply(words("KEY_REUSED", "FAILED", entry.key), status=409)
        return self._reply(entry, SUCCESS)

    def _scenario(
        self, operation: str, *, subjects: tuple[str, ...], auth_code: str, amount_minor: int, asked: str
    ) -> Scenario:
        scripted = self._book.take_script(operation=operation, subjects=subjects)
        if scripted is not None:
            return named(scripted)
        magic = in_auth_code(auth_code)
        if magic is not None:
            return magic
        if amount_minor in MAGIC_AMOUNTS:
            return named(MAGIC_AMOUNTS[amount_minor])
        return named(asked) if asked else SUCCESS

    def _entry(self, merchant_no: str, request: Question, *, kind: str, amount_minor: int, currency: str) -> Entry:
        now = self._now()
        serial = self._book.next_serial("reference")
        return Entry(
            merchant_no=merchant_no,
            key=request.key,
            kind=kind,
            status="PENDING",
            amount_minor=amount_minor,
            currency=currency,
            reference=f"{now.astimezone(UTC):%Y%m%d}{serial:012d}",
            fingerprint=_fingerprint(request),
            created_at=stamp(now),
        )

    def _nothing(self, scenario: Scenario, key: str) -> Reply:
        return Reply(words(scenario.code, "FAILED", key), scenario, scenario.http_status)

    def _reply(self, entry: Entry, scenario: Scenario) -> Reply:
        return Reply(_view(entry), scenario)


def _bounce(entry: Entry) -> str:
    return f"{entry.reference}B"


def _view(entry: Entry) -> Payload:
    """An entry in the protocol's words; while queries are left the truth stays hidden."""
    status = entry.status if entry.queries_left == 0 else entry.shown_as
    code = {"PENDING": "CUSTOMER_PAYING", "UNKNOWN": "SYSTEM_UNSURE"}.get(status, entry.code)
    shown: Payload = words(code, status, entry.key) | {
        "kind": entry.kind,
        "reference": entry.reference,
        "amount_minor": entry.amount_minor,
        "currency": entry.currency,
        "occurred_at": entry.settled_at or entry.created_at,
    }
    if entry.qr_code:
        shown |= {"qr_code": entry.qr_code, "expires_at": entry.expires_at}
    if entry.is_bounced and status == "SUCCESS":
        shown["bounce"] = {
            "reference": _bounce(entry),
            "amount_minor": entry.amount_minor,
            "occurred_at": entry.settled_at,
        }
    return shown


def _fingerprint(request: Question) -> str:
    return hashlib.sha256(request.model_dump_json(exclude={"scenario"}).encode()).hexdigest()

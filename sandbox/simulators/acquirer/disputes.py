"""Disputes at the acquirer: a buyer's claim, the money taken and given back, the merchant's evidence, the decision."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from sandbox.simulators.acquirer.book import Book, DisputeEntry, Entry, stamp
from sandbox.simulators.acquirer.replies import Payload, Reply, encoded, words
from sandbox.simulators.acquirer.requests import DisputeAct, DisputeQuestion, Evidence

ANSWER_WITHIN: Final = timedelta(days=7)
EVIDENCE_MAX: Final = 10
Step = Literal["withdrawn", "won", "lost"]


class Disputes:
    """Decides on one book."""

    def __init__(self, book: Book, now: Callable[[], datetime], left_of: Callable[[Entry], int]) -> None:
        """`now` gives aware moments; `left_of`: what of a sale or capture has not gone back."""
        self._book = book
        self._now = now
        self._left_of = left_of

    def open(self, entry: Entry, *, amount_minor: int = 0, reason: str = "not_received", decides: str = "") -> str:
        """The buyer claims an amount, all that is left by default; returns the reference, empty if nothing is left.

        `decides`: what the acquirer says as soon as evidence came; empty: it waits for an operator.
        """
        left = self._left_of(entry) if entry.kind in {"sale", "capture"} and entry.status == "SUCCESS" else 0
        wanted = amount_minor or left
        if not 0 < wanted <= left:
            return ""
        now = self._now()
        dispute = DisputeEntry(
            merchant_no=entry.merchant_no,
            reference=f"D{now:%Y%m%d}{self._book.next_serial('dispute'):08d}",
            key=entry.key,
            status="OPENED",
            is_withdrawn=0,
            amount_minor=wanted,
            currency=entry.currency,
            reason=reason,
            due_at=stamp(now + ANSWER_WITHIN),
            changed_at=stamp(now),
            notify_url=entry.notify_url,
            decides=decides,
        )
        self._book.save_dispute(dispute)
        self._tell(dispute)
        return dispute.reference

    def step(self, dispute: DisputeEntry, step: Step) -> None:
        """What the acquirer does next; what is decided stays."""
        if dispute.status != "OPENED":
            return
        if step in {"withdrawn", "lost"}:
            self._withdraw(dispute)
        if step == "won" and dispute.is_withdrawn:
            self._move(dispute, "dispute_won")
        dispute.status = {"won": "WON", "lost": "LOST"}.get(step, "OPENED")
        dispute.changed_at = stamp(self._now())
        self._book.save_dispute(dispute)
        self._tell(dispute)

    def query(self, merchant_no: str, ask: DisputeQuestion) -> Reply:
        """How it stands. One whose time is over without evidence is lost."""
        dispute = self._book.dispute(merchant_no, ask.reference)
        if dispute is None:
            return _refused("DISPUTE_UNKNOWN", ask.reference)
        if dispute.status == "OPENED" and not dispute.evidence and stamp(self._now()) > dispute.due_at:
            self.step(dispute, "lost")
        return Reply(view(dispute))

    def submit(self, merchant_no: str, ask: Evidence) -> Reply:
        """Take a document, once for its key; then decide, if that was scripted."""
        dispute = self._book.dispute(merchant_no, ask.reference)
        if dispute is None:
            return _refused("DISPUTE_UNKNOWN", ask.reference)
        keys = [key for key in dispute.evidence.split(",") if key]
        if ask.key in keys:
            return Reply(view(dispute))
        if dispute.status != "OPENED" or stamp(self._now()) > dispute.due_at or len(keys) >= EVIDENCE_MAX:
            return _refused("EVIDENCE_REFUSED", ask.reference)
        if not _is_whole(ask):
            return _refused("INVALID_PARAMETER", ask.reference)
        dispute.evidence = ",".join((*keys, ask.key))
        self._book.save_dispute(dispute)
        if dispute.decides == "won":
            self.step(dispute, "won")
        elif dispute.decides == "lost":
            self.step(dispute, "lost")
        return Reply(view(dispute))

    def accept(self, merchant_no: str, ask: DisputeAct) -> Reply:
        """The merchant gives in."""
        dispute = self._book.dispute(merchant_no, ask.reference)
        if dispute is None:
            return _refused("DISPUTE_UNKNOWN", ask.reference)
        self.step(dispute, "lost")
        return Reply(view(dispute))

    def _withdraw(self, dispute: DisputeEntry) -> None:
        if not dispute.is_withdrawn:
            dispute.is_withdrawn = 1
            self._move(dispute, "dispute_withdrawn")

    def _move(self, dispute: DisputeEntry, kind: str) -> None:
        entry = self._book.entry(dispute.merchant_no, dispute.key)
        assert entry is not None, dispute.key
        amount, reference = dispute.amount_minor, dispute.reference
        self._book.move(entry, kind=kind, amount_minor=amount, now=self._now(), reference=reference)

    def _tell(self, dispute: DisputeEntry) -> None:
        if dispute.notify_url:
            body = view(dispute) | {"notice_id": f"ntc{self._book.next_serial('notice'):010d}d"}
            self._book.add_notice(merchant_no=dispute.merchant_no, url=dispute.notify_url, body=encoded(body))


def view(dispute: DisputeEntry) -> Payload:
    """A dispute in the protocol's words."""
    return words("OK", dispute.status, dispute.key) | {
        "kind": "dispute",
        "reference": dispute.reference,
        "is_withdrawn": bool(dispute.is_withdrawn),
        "amount_minor": dispute.amount_minor,
        "currency": dispute.currency,
        "reason": dispute.reason,
        "due_at": dispute.due_at,
        "occurred_at": dispute.changed_at,
    }


def _is_whole(ask: Evidence) -> bool:
    try:
        content = base64.b64decode(ask.content, validate=True)
    except binascii.Error:
        return False
    return hashlib.sha256(content).hexdigest() == ask.sha256


def _refused(code: str, reference: str) -> Reply:
    return Reply(words(code, "FAILED", "") | {"reference": reference})

"""What one decision changes on a payment's splits, gathered until it becomes part of the payment's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec

from platform_core.capabilities.payments.draft import Draft, settle_due
from platform_core.capabilities.payments.splits.amounts import Judged, Piece, share_state, split_state, told
from platform_core.capabilities.payments.splits.answers import split_answer
from platform_core.capabilities.payments.splits.books import SplitBooks
from platform_core.capabilities.payments.splits.models import SHARES, SPLITS, Split, SplitShare
from platform_core.kernel.commit import Change, Due, DueDone, Insert
from platform_core.ledger.accounts import Account

GIVE_BACK: Final = "payments.split_give_back"  # due: what stayed frozen goes back to the merchant
ORDER: Final = "payments.split_order"  # due: make the splits that the order wished for
SETTLE_AGAIN: Final = "payments.split_settle"  # due: settle a booking day anew, for shares that came to it late
FROZEN_FOR: Final = timedelta(days=30)
LATER: Final = timedelta(hours=1)
ORDER_NUMBER: Final = "order.splits"  # out_request_no of the order's own split; no client can send it
IN_FLIGHT: Final = ("pending", "unknown")
_SHARE_COLUMNS: Final = ("state", "frozen_minor", "settled_minor", "returned_minor", "given_back_minor", "day", "error")
_SUMS: Final = ("frozen_minor", "settled_minor", "returned_minor", "given_back_minor")
_SPLIT_COLUMNS: Final = ("state", *_SUMS, "amount_minor", "transaction_id", "last_error", "updated_at", "gives_back_at")
_JSON: Final = ("error", "last_error")
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
Row = dict[str, Any]  # columns by name, of the column types


def encoded(row: Mapping[str, Any]) -> Row:
    """The row as the writer wants it: JSON as text."""
    written = dict(row)
    for name in _JSON:
        if written.get(name) is not None:
            written[name] = msgspec.json.encode(written[name]).decode()
    return written


class SplitWork:
    """The splits of the draft's payment, and what they become. Transfers go to the draft at once, all else by
    `finish`.
    """

    def __init__(self, draft: Draft, splits: Sequence[Split], shares: Sequence[SplitShare]) -> None:
        self.draft = draft
        self.splits: dict[str, Row] = {split.id: split.model_dump() for split in splits}
        self.shares: dict[str, Row] = {share.id: share.model_dump() for share in shares}
        self._new: set[str] = set()
        self._touched: set[str] = set()
        self._news: list[tuple[str, str]] = []

    def books(self, split_id: str) -> SplitBooks:
        """Transfers of one split."""
        return SplitBooks(self.draft["merchant_id"], self.draft["currency"], split_id, self.draft.ids)

    def shares_of(self, split_id: str) -> list[Row]:
        """In their order."""
        return sorted((s for s in self.shares.values() if s["split_id"] == split_id), key=lambda share: share["number"])

    def begin(self, judged: Sequence[Judged], *, out_request_no: str, fingerprint: bytes, mode: str) -> Row:
        """A new split with its shares, of which nothing has moved yet; those that are refused are failed."""
        draft = self.draft
        split: Row = {
            "id": draft.ids.mint("spl"),
            "merchant_id": draft["merchant_id"],
            "payment_id": draft["id"],
            "out_request_no": out_request_no,
            "fingerprint": fingerprint,
            "mode": mode,
            "state": "failed",
            "currency": draft["currency"],
            "amount_minor": 0,
            **dict.fromkeys(_SUMS, 0),
            "refunded_before_minor": draft["refunded_minor"] + draft["refunding_minor"],
            "transaction_id": None,
            "last_error": None,
            "version": 1,
            "created_at": draft.now,
            "updated_at": draft.now,
            "gives_back_at": None,
        }
        self.splits[split["id"]] = split
        for number, each in enumerate(judged, start=1):
            share = self._share(split, each, number)
            self.shares[share["id"]] = share
            self._new.add(share["id"])
        self._new.add(split["id"])
        self._touched.add(split["id"])
        draft.set(split_mode=draft["split_mode"] or mode)
        return split

    def _share(self, split: Row, judged: Judged, number: int) -> Row:
        return {
            "id": self.draft.ids.mint("shr"),
            "merchant_id": split["merchant_id"],
            "payment_id": split["payment_id"],
            "split_id": split["id"],
            "number": number,
            "receiver_id": judged.wanted.receiver_id,
            "state": "pending" if judged.error is None else "failed",
            "percent_bp": judged.wanted.percent_bp,
            "amount_minor": judged.amount_minor,
            **dict.fromkeys(_SUMS, 0),
            "day": None,
            "note": judged.wanted.note,
            "error": None if judged.error is None else told(judged.error),
            "created_at": split["created_at"],
        }

    def settle(self, split: Row, source: Account, *, day: date | None) -> None:
        """Row 9, at once: every share that fits goes to its receiver; `day` as of `SplitBooks.receiver`."""
        books = self.books(split["id"])
        for share in self._pending_of(split):
            credit = books.receiver(share["receiver_id"], day)
            self.draft.add(books.move(source, credit, share["amount_minor"], code="split"))
            share.update(settled_minor=share["amount_minor"], day=day, state="settled")
        self.announce(split, "split.settled")

    def freeze(self, split: Row, source: Account) -> None:
        """Row 10: every share that fits waits in the hold, for 30 days at most."""
        books = self.books(split["id"])
        for share in self._pending_of(split):
            self.draft.add(books.move(source, books.hold, share["amount_minor"], code="split_hold"))
            share.update(frozen_minor=share["amount_minor"], state="frozen")
        split["gives_back_at"] = self.draft.now + FROZEN_FOR
        self.draft.add(Due(GIVE_BACK, split["id"], split["gives_back_at"]))
        self.announce(split, "split.frozen")

    def hold(self, split: Row, source: Account, *, day: date | None) -> list[Row]:
        """Row 9 as pending transfers, until the provider has its say; returns what the transaction keeps of them."""
        books = self.books(split["id"])
        parts = []
        for share in self._pending_of(split):
            credit = books.receiver(share["receiver_id"], day)
            held = books.move(source, credit, share["amount_minor"], code="split", is_pending=True)
            self.draft.add(held)
            share["day"] = day
            parts.append(_part(share, share["amount_minor"], held.id, code="split"))
        return parts

    def _pending_of(self, split: Row) -> list[Row]:
        return [share for share in self.shares_of(split["id"]) if share["state"] == "pending"]

    def hold_release(self, split: Row, amounts: Mapping[str, int], *, day: date | None) -> list[Row]:
        """Row 10, released, as pending transfers, until the provider has its say; `amounts` by share."""
        books, parts = self.books(split["id"]), []
        for share_id, amount in amounts.items():
            share = self.shares[share_id]
            credit = books.receiver(share["receiver_id"], day)
            held = books.move(books.hold, credit, amount, code="split_release", is_pending=True)
            self.draft.add(held)
            share["day"] = share["day"] or day
            parts.append(_part(share, amount, held.id, code="split_release"))
        self.touch(split)
        return parts

    def release(self, split: Row, amounts: Mapping[str, int], *, day: date | None) -> None:
        """Row 10, released, at once; `amounts` by share."""
        books = self.books(split["id"])
        for share_id, amount in amounts.items():
            share = self.shares[share_id]
            credit = books.receiver(share["receiver_id"], day)
            self.draft.add(books.move(books.hold, credit, amount, code="split_release"))
            share["day"] = share["day"] or day
            self._released(share, amount)
        self.announce(split, "split.released")

    def _released(self, share: Row, amount: int) -> None:
        share["frozen_minor"] -= amount
        share["settled_minor"] += amount
        share["state"] = share_state(share)

    def give_back(self, split: Row, target: Account, *, kept: Mapping[str, int] = NOTHING) -> int:
        """Row 10, given back: what is still frozen returns to the merchant, but for what is `kept` of each share.
        Returns how much that was.
        """
        books, total = self.books(split["id"]), 0
        for share in self.shares_of(split["id"]):
            spare = share["frozen_minor"] - kept.get(share["id"], 0)
            if spare:
                self.draft.add(books.move(books.hold, target, spare, code="split_give_back"))
                share["frozen_minor"] -= spare
                share["given_back_minor"] += spare
                share["state"] = share_state(share)
                total += spare
        if total:
            self.announce(split, "split.returned")
        return total

    def posted(self, parts: Sequence[Mapping[str, Any]]) -> Row:
        """The provider did it: what was held moves. Returns the split."""
        split = self._split_of(parts)
        books = self.books(split["id"])
        is_release = parts[0]["code"] == "split_release"
        for part in parts:
            share = self.shares[part["share_id"]]
            self.draft.add(books.post(part["hold_id"], part["code"]))
            if is_release:
                self._released(share, part["amount"])
            else:
                share.update(settled_minor=part["amount"], state="settled")
        split["last_error"] = None
        if not is_release:
            split["refunded_before_minor"] = self.draft["refunded_minor"] + self.draft["refunding_minor"]
        self.announce(split, "split.released" if is_release else "split.settled")
        return split

    def refused(self, parts: Sequence[Mapping[str, Any]], error: Mapping[str, Any] | None) -> Row:
        """The provider did not do it: what was held is free again. A release's shares stay frozen."""
        split = self._split_of(parts)
        books = self.books(split["id"])
        for part in parts:
            share = self.shares[part["share_id"]]
            self.draft.add(books.void(part["hold_id"]))
            if share["state"] in IN_FLIGHT:
                said = {"code": error["code"], "message": error["message"]} if error else None
                share.update(state="failed", day=None, error=said)
        split["last_error"] = error
        self.announce(split, "split.failed")
        return split

    def doubted(self, parts: Sequence[Mapping[str, Any]], error: Mapping[str, Any] | None) -> None:
        """Nobody knows yet whether the provider did it."""
        split = self._split_of(parts)
        for part in parts:
            share = self.shares[part["share_id"]]
            if share["state"] == "pending":
                share["state"] = "unknown"
        split["last_error"] = error
        self.touch(split)

    def _split_of(self, parts: Sequence[Mapping[str, Any]]) -> Row:
        return self.splits[self.shares[parts[0]["share_id"]]["split_id"]]

    def take_back(self, back: Sequence[Piece], target: Account, *, settled_days: frozenset[date]) -> list[Row]:
        """Row 11, and of frozen money row 10: shares return to `target` for a refund; returns what its transaction
        keeps of them.
        """
        parts, split_ids = [], []
        for piece in back:
            share, amount = self.shares[piece.share.id], piece.amount_minor
            books = self.books(share["split_id"])
            day = share["day"] if share["day"] not in settled_days else None
            source = books.hold if piece.is_frozen else books.receiver(share["receiver_id"], day)
            code = "split_give_back" if piece.is_frozen else "split_return"
            moved = books.move(source, target, amount, code=code)
            self.draft.add(moved)
            share["frozen_minor" if piece.is_frozen else "settled_minor"] -= amount
            share["returned_minor"] += amount
            share["state"] = share_state(share)
            parts.append(
                {
                    "share_id": share["id"],
                    "split_id": share["split_id"],
                    "receiver_id": share["receiver_id"],
                    "amount": amount,
                    "is_frozen": piece.is_frozen,
                    "day": None if day is None else day.isoformat(),
                    "moved_id": moved.id,
                    "role": target.role,
                    "bucket": target.bucket,
                }
            )
            split_ids.append(share["split_id"])
        for split_id in dict.fromkeys(split_ids):
            self.announce(self.splits[split_id], "split.returned")
        return parts

    def secure(self, parts: Sequence[Row], target: Account, *, held_minor: int) -> None:
        """Keep what came back beyond the refund's own hold from being spent until its outcome is known, so that a
        failed refund can always give it again. `held_minor`: what the refund holds on `target` itself.
        """
        beyond = sum(part["amount"] for part in parts) - held_minor
        if beyond <= 0:
            return
        books = self.books(parts[0]["split_id"])
        held = books.move(target, books.hold, beyond, code="split_return", is_pending=True)
        self.draft.add(held)
        parts[0]["secured_id"] = held.id

    def unsecure(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """The refund's outcome is known."""
        secured = parts[0].get("secured_id")
        if secured is not None:
            self.draft.add(self.books(parts[0]["split_id"]).void(secured))

    def restore(self, parts: Sequence[Mapping[str, Any]], *, time_zone: str) -> None:
        """The refund failed: what it took back is given again, by new transfers that name the old ones."""
        split_ids = []
        for part in parts:
            share = self.shares[part["share_id"]]
            split = self.splits[share["split_id"]]
            books = self.books(split["id"])
            day = None if part["day"] is None else date.fromisoformat(part["day"])
            credit = books.hold if part["is_frozen"] else books.receiver(part["receiver_id"], day)
            debit = books.account(part["role"], part["bucket"])
            code = "split_hold" if part["is_frozen"] else "split"
            self.draft.add(books.move(debit, credit, part["amount"], code=code, reverses=part["moved_id"]))
            share["frozen_minor" if part["is_frozen"] else "settled_minor"] += part["amount"]
            share["returned_minor"] -= part["amount"]
            share["state"] = share_state(share)
            self.settle_again(None if part["is_frozen"] else day, time_zone)
            if part["is_frozen"] and split["gives_back_at"] is not None:
                self.draft.add(Due(GIVE_BACK, split["id"], max(split["gives_back_at"], self.draft.now)))
            split_ids.append(split["id"])
        for split_id in dict.fromkeys(split_ids):
            split = self.splits[split_id]
            state = split_state(self.shares_of(split_id))
            self.announce(split, "split.frozen" if state == "frozen" else "split.settled")

    def settle_again(self, day: date | None, time_zone: str) -> None:
        """Have a booking day settled once more, an hour after its time or from now: its settlement may be under way at
        this very moment, and must not miss what this plan brings to the day.
        """
        if day is None:
            return
        draft = self.draft
        due = settle_due(draft["merchant_id"], draft["currency"], day, time_zone)
        draft.add(Due(SETTLE_AGAIN, due.subject_id, max(due.due_at, draft.now) + LATER))

    def touch(self, split: Row) -> None:
        """It has changed, without news."""
        self._touched.add(split["id"])

    def announce(self, split: Row, type_: str) -> None:
        """It has changed, and is told as it stands after this decision."""
        self.touch(split)
        self._news.append((type_, split["id"]))

    def finish(self) -> None:
        """Put the documents, the payment's own sums and the events to the draft; once, after everything else."""
        draft = self.draft
        if not self._touched:
            return
        for split_id in sorted(self._touched):
            self._write(self.splits[split_id], draft.now)
        shares = self.shares.values()
        draft.set(
            split_minor=sum(share["frozen_minor"] + share["settled_minor"] for share in shares),
            splitting_minor=sum(share["amount_minor"] for share in shares if share["state"] in IN_FLIGHT),
            split_count=len(self.splits),
        )
        for type_, split_id in self._news:
            draft.emit(type_, self.answer(split_id))
        draft.splits |= {split_id: self.answer(split_id) for split_id in self._touched}

    def answer(self, split_id: str) -> dict[str, Any]:
        """`SplitRead` as it will stand."""
        return split_answer(self.splits[split_id], self.shares_of(split_id))

    def _write(self, split: Row, now: datetime) -> None:
        shares = self.shares_of(split["id"])
        for name in _SUMS:
            split[name] = sum(share[name] for share in shares)
        split["amount_minor"] = sum(share["amount_minor"] for share in shares if share["state"] != "failed")
        split["state"] = split_state(shares)
        split["updated_at"] = now
        if split["id"] in self._new:
            self.draft.add(Insert(SPLITS, encoded(split)))
            self.draft.add(*(Insert(SHARES, encoded(share)) for share in shares))
            return
        if split["gives_back_at"] is not None and not split["frozen_minor"]:
            self.draft.add(DueDone(GIVE_BACK, split["id"]))
        changed = encoded({name: split[name] for name in (*_SPLIT_COLUMNS, "refunded_before_minor")})
        self.draft.add(Change(SPLITS, split["id"], changed, expected=split["version"]))
        self.draft.add(*(Change(SHARES, s["id"], encoded({name: s[name] for name in _SHARE_COLUMNS})) for s in shares))


def _part(share: Row, amount: int, hold_id: str, *, code: str) -> Row:
    return {"share_id": share["id"], "amount": amount, "hold_id": hold_id, "code": code}

"""The acquirer's book: what it was asked, what moved, and what it still has to tell. SQLite, in memory or in a file.

One event loop owns a book. Every method is one transaction, and a request is handled without a pause in between, so
requests never interleave.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final


@dataclass(slots=True, kw_only=True)
class Entry:
    """One thing a merchant asked for under one key."""

    merchant_no: str
    key: str
    kind: str
    """sale, authorize, capture, void, refund, cancel or close."""
    status: str
    """PENDING, SUCCESS, FAILED, CLOSED (ended unpaid) or CANCELED (undone)."""
    amount_minor: int
    currency: str
    reference: str
    fingerprint: str
    """Digest of the request: the same key with other words is refused."""
    created_at: str
    """ISO 8601 in UTC, like every moment here."""
    settled_at: str = ""
    original_key: str = ""
    code: str = "OK"
    out_trade_no: str = ""
    notify_url: str = ""
    auth_code: str = ""
    qr_code: str = ""
    expires_at: str = ""
    queries_left: int = 0
    shown_as: str = "PENDING"
    ends: str = "SUCCESS"
    end_code: str = "OK"
    notices: str = ""
    """What is still to be sent once the status is final, separated by commas."""
    is_final: int = 0
    is_bounced: int = 0
    disputed: str = ""
    """Whether the buyer disputes it as soon as it is paid: open, or how the acquirer decides then: won, lost."""


@dataclass(slots=True, kw_only=True)
class DisputeEntry:
    """One dispute about one sale or capture."""

    merchant_no: str
    reference: str
    key: str
    status: str
    """OPENED, WON or LOST, seen from the merchant's side."""
    is_withdrawn: int
    amount_minor: int
    currency: str
    reason: str
    due_at: str
    changed_at: str
    notify_url: str
    decides: str
    evidence: str = ""
    """Keys of the documents that came, separated by commas."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that moved, or was frozen (authorize) or released (void), under one key."""

    number: int
    merchant_no: str
    key: str
    kind: str
    amount_minor: int
    currency: str
    reference: str
    moved_at: str


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A notice not yet acknowledged."""

    number: int
    merchant_no: str
    url: str
    body: bytes


TOLD_ONLY: Final = frozenset({"payout_return", "refund_bounce", "dispute_withdrawn", "dispute_won"})
"""Kinds of movements that no merchant asked for."""
_ENTRY_COLUMNS: Final = tuple(field.name for field in fields(Entry))
_DISPUTE_COLUMNS: Final = tuple(field.name for field in fields(DisputeEntry))
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS dispute ({", ".join(_DISPUTE_COLUMNS)}, PRIMARY KEY (merchant_no, reference));
CREATE INDEX IF NOT EXISTS dispute_key ON dispute (merchant_no, key);
CREATE TABLE IF NOT EXISTS merchant (merchant_no TEXT PRIMARY KEY, signing_key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entry ({", ".join(_ENTRY_COLUMNS)}, PRIMARY KEY (merchant_no, key));
CREATE INDEX IF NOT EXISTS entry_original ON entry (merchant_no, original_key);
CREATE INDEX IF NOT EXISTS entry_auth_code ON entry (auth_code) WHERE auth_code <> '';
CREATE INDEX IF NOT EXISTS entry_qr_code ON entry (qr_code) WHERE qr_code <> '';
CREATE TABLE IF NOT EXISTS movement (number INTEGER PRIMARY KEY, merchant_no, key, kind, amount_minor INTEGER,
    currency, reference, moved_at);
CREATE TABLE IF NOT EXISTS nonce (merchant_no TEXT, nonce TEXT, forget_at TEXT, PRIMARY KEY (merchant_no, nonce));
CREATE INDEX IF NOT EXISTS nonce_forget ON nonce (forget_at);
CREATE TABLE IF NOT EXISTS script (number INTEGER PRIMARY KEY, operation TEXT, subject TEXT, scenario TEXT,
    times_left INTEGER);
CREATE TABLE IF NOT EXISTS notice (number INTEGER PRIMARY KEY, merchant_no, url, body BLOB, is_done INTEGER DEFAULT 0);
CREATE INDEX IF NOT EXISTS notice_open ON notice (number) WHERE is_done = 0;
CREATE TABLE IF NOT EXISTS serial (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Book:
    """The store. Use it on one thread and close it there."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: a file that survives a restart; None keeps the book in memory."""
        self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; only a power cut might
        self._db.executescript(_SCHEMA)

    @property
    def connection(self) -> sqlite3.Connection:
        """For what keeps tables of its own in the book."""
        return self._db

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is kept together, or not at all when it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield

    def add_merchant(self, merchant_no: str, key: bytes) -> None:
        """Register a merchant, or give it another key."""
        self._db.execute("INSERT OR REPLACE INTO merchant VALUES (?, ?)", (merchant_no, key))

    def merchants(self) -> Mapping[str, bytes]:
        """Signing keys by merchant number."""
        return dict(self._db.execute("SELECT merchant_no, signing_key FROM merchant ORDER BY merchant_no"))

    def is_fresh_nonce(self, merchant_no: str, nonce: str, *, now: datetime, keep_s: int) -> bool:
        """Remember a nonce for `keep_s` seconds; False when it is remembered already."""
        self._db.execute("DELETE FROM nonce WHERE forget_at < ?", (stamp(now),))
        forget_at = stamp(now + timedelta(seconds=keep_s))
        row = self._db.execute("INSERT OR IGNORE INTO nonce VALUES (?, ?, ?)", (merchant_no, nonce, forget_at))
        return row.rowcount == 1

    def next_serial(self, name: str) -> int:
        """1, 2, 3 and so on for each name."""
        sql = (
            "INSERT INTO serial VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = serial.value + 1 RETURNING value"
        )
        return int(self._db.execute(sql, (name,)).fetchone()[0])

    def save(self, entry: Entry) -> None:
        """Write an entry, new or changed."""
        places = ", ".join("?" * len(_ENTRY_COLUMNS))
        self._db.execute(f"INSERT OR REPLACE INTO entry VALUES ({places})", astuple(entry))

    def entry(self, merchant_no: str, key: str) -> Entry | None:
        """The entry under a key."""
        return self._first("merchant_no = ? AND key = ?", (merchant_no, key))

    def entry_of_auth_code(self, auth_code: str) -> Entry | None:
        """Who used a one-use code."""
        return self._first("auth_code = ?", (auth_code,))

    def entry_of_qr(self, qr_code: str) -> Entry | None:
        """The order behind a QR code."""
        return self._first("qr_code = ?", (qr_code,))

    def follow_ups(self, entry: Entry) -> list[Entry]:
        """What was asked about an entry, in order of arrival."""
        where = "merchant_no = ? AND original_key = ? ORDER BY rowid"
        return [_entry(row) for row in self._rows(where, (entry.merchant_no, entry.key))]

    def entries(self) -> list[Entry]:
        """All entries in order of arrival."""
        return [_entry(row) for row in self._rows("1 ORDER BY created_at, rowid", ())]

    def _first(self, where: str, values: tuple[str, ...]) -> Entry | None:
        row = next(iter(self._rows(where, values)), None)
        return None if row is None else _entry(row)

    def _rows(self, where: str, values: tuple[str, ...]) -> list[tuple[object, ...]]:
        return self._db.execute(f"SELECT {', '.join(_ENTRY_COLUMNS)} FROM entry WHERE {where}", values).fetchall()

    def move(self, entry: Entry, *, kind: str, amount_minor: int, now: datetime, reference: str = "") -> None:
        """Record that money moved under the entry's key."""
        self._db.execute(
            "INSERT INTO movement (merchant_no, key, kind, amount_minor, currency, reference, moved_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                entry.merchant_no,
                entry.key,
                kind,
                amount_minor,
                entry.currency,
                reference or entry.reference,
                stamp(now),
            ),
        )

    def movements(self) -> list[Movement]:
        """All movements in order."""
        return [Movement(*row) for row in self._db.execute("SELECT * FROM movement ORDER BY number")]

    def save_dispute(self, dispute: DisputeEntry) -> None:
        """Write a dispute, new or changed."""
        places = ", ".join("?" * len(_DISPUTE_COLUMNS))
        self._db.execute(f"INSERT OR REPLACE INTO dispute VALUES ({places})", astuple(dispute))

    def dispute(self, merchant_no: str, reference: str) -> DisputeEntry | None:
        """The dispute of a reference."""
        found = self._disputes("merchant_no = ? AND reference = ?", (merchant_no, reference))
        return found[0] if found else None

    def disputes(self) -> list[DisputeEntry]:
        """All disputes in order of arrival."""
        return self._disputes("1", ())

    def disputed_minor(self, entry: Entry) -> int:
        """What of an entry is claimed, or was lost."""
        found = self._disputes("merchant_no = ? AND key = ?", (entry.merchant_no, entry.key))
        return sum(dispute.amount_minor for dispute in found if dispute.status != "WON")

    def _disputes(self, where: str, values: tuple[str, ...]) -> list[DisputeEntry]:
        sql = f"SELECT {', '.join(_DISPUTE_COLUMNS)} FROM dispute WHERE {where} ORDER BY rowid"
        rows = self._db.execute(sql, values).fetchall()
        return [DisputeEntry(**dict(zip(_DISPUTE_COLUMNS, row, strict=True))) for row in rows]

    def add_script(self, *, operation: str, subject: str, scenario: str, times: int) -> None:
        """The next `times` calls of the operation (empty: any) about the subject (empty: any) go by the scenario."""
        sql = "INSERT INTO script (operation, subject, scenario, times_left) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (operation, subject, scenario, times))

    def take_script(self, *, operation: str, subjects: tuple[str, ...]) -> str | None:
        """The oldest script that fits, used up by one."""
        places = ", ".join("?" * len(subjects))
        row = self._db.execute(
            f"SELECT number, scenario FROM script WHERE times_left > 0 AND operation IN ('', ?) "
            f"AND subject IN ('', {places}) ORDER BY number LIMIT 1",
            (operation, *subjects),
        ).fetchone()
        if row is None:
            return None
        self._db.execute("UPDATE script SET times_left = times_left - 1 WHERE number = ?", (row[0],))
        return str(row[1])

    def add_notice(self, *, merchant_no: str, url: str, body: bytes) -> None:
        """A notice to be sent until it is acknowledged."""
        sql = "INSERT INTO notice (merchant_no, url, body) VALUES (?, ?, ?)"
        self._db.execute(sql, (merchant_no, url, body))

    def open_notices(self, *, after: int = 0) -> list[StoredNotice]:
        """What has not been acknowledged among the numbers above `after`, oldest first."""
        sql = "SELECT number, merchant_no, url, body FROM notice WHERE is_done = 0 AND number > ? ORDER BY number"
        return [StoredNotice(*row) for row in self._db.execute(sql, (after,))]

    def end_notice(self, number: int) -> None:
        """A notice is acknowledged, or given up."""
        self._db.execute("UPDATE notice SET is_done = 1 WHERE number = ?", (number,))


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds; sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _entry(row: tuple[object, ...]) -> Entry:
    made = Entry.__new__(Entry)
    for name, value in zip(_ENTRY_COLUMNS, row, strict=True):
        setattr(made, name, value)
    return made

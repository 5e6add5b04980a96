"""Buyers with wallets of their own: their balances, what keeps them from paying, and the payment codes they show.

A payment code without a buyer stands for a stranger who can always pay; docs/reference/simulated-acquirer.md lists the
buyers that every book begins with.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sandbox.simulators.acquirer.book import Entry, stamp

CODE_LIFE: Final = timedelta(seconds=60)
CODE_PREFIX: Final = "28"
Temper = Literal["ready", "slow", "blocked"]
"""ready: pays at once; slow: types a password until the second question; blocked: is refused."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS buyer (id TEXT PRIMARY KEY, name TEXT NOT NULL, temper TEXT NOT NULL,
    balance_minor INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS buyer_code (auth_code TEXT PRIMARY KEY, buyer_id TEXT NOT NULL, expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS buyer_entry (merchant_no TEXT, key TEXT, buyer_id TEXT NOT NULL,
    PRIMARY KEY (merchant_no, key));
"""


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who pays. `balance_minor` in CNY; authorisations are taken out of it as payments are."""

    id: str
    name: str
    temper: Temper
    balance_minor: int


BUYERS: Final = (
    Buyer("rich", "Rich", "ready", 100_000_000),
    Buyer("poor", "Poor", "ready", 100),
    Buyer("slow", "Slow", "slow", 1_000_000),
    Buyer("blocked", "Blocked", "blocked", 1_000_000),
)


class Buyers:
    """The buyers of one book. Use it on the book's thread, inside of its transactions."""

    def __init__(self, db: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        """Bring in the buyers that every book begins with; those that are there stay as they are."""
        self._db = db
        self._now = now
        db.executescript(_SCHEMA)
        for buyer in BUYERS:
            row = (buyer.id, buyer.name, buyer.temper, buyer.balance_minor)
            db.execute("INSERT OR IGNORE INTO buyer VALUES (?, ?, ?, ?)", row)

    def listed(self) -> list[dict[str, object]]:
        """All of them, by id."""
        rows = self._db.execute("SELECT id, name, temper, balance_minor FROM buyer ORDER BY id")
        return [asdict(Buyer(*row)) for row in rows]

    def find(self, buyer_id: str) -> Buyer | None:
        """One of them."""
        found = self._db.execute("SELECT id, name, temper, balance_minor FROM buyer WHERE id = ?", (buyer_id,))
        row = found.fetchone()
        return None if row is None else Buyer(*row)

    def put(self, buyer: Buyer) -> None:
        """Add a buyer, or put another in its place."""
        row = (buyer.id, buyer.name, buyer.temper, buyer.balance_minor)
        self._db.execute("INSERT OR REPLACE INTO buyer VALUES (?, ?, ?, ?)", row)

    def show_code(self, buyer_id: str) -> tuple[str, str]:
        """A fresh payment code of 18 digits from 28, and when it ends."""
        code = CODE_PREFIX + "".join(secrets.choice("0123456789") for _ in range(16))
        expires_at = stamp(self._now() + CODE_LIFE)
        self._db.execute("INSERT INTO buyer_code VALUES (?, ?, ?)", (code, buyer_id, expires_at))
        return code, expires_at

    def of_code(self, auth_code: str) -> tuple[Buyer | None, bool]:
        """Whose code it is, and whether it still counts; no buyer and True for a stranger's."""
        found = self._db.execute("SELECT buyer_id, expires_at FROM buyer_code WHERE auth_code = ?", (auth_code,))
        row = found.fetchone()
        return (None, True) if row is None else (self.find(row[0]), stamp(self._now()) < row[1])

    def refusal(self, buyer: Buyer, amount_minor: int) -> str:
        """Why this buyer cannot pay, empty if nothing keeps it."""
        if buyer.temper == "blocked":
            return "PAYER_BLOCKED"
        return "BALANCE_NOT_ENOUGH" if amount_minor > buyer.balance_minor else ""

    def pays(self, entry: Entry, buyer: Buyer) -> None:
        """From now on this entry's money is the buyer's."""
        values = (entry.merchant_no, entry.key, buyer.id)
        self._db.execute("INSERT OR REPLACE INTO buyer_entry VALUES (?, ?, ?)", values)

    def moved(self, entry: Entry, amount_minor: int) -> None:
        """Money of an entry went into the buyer's wallet, or with a negative amount out of it."""
        for key in (entry.key, entry.original_key):
            found = self._db.execute(
                "SELECT buyer_id FROM buyer_entry WHERE merchant_no = ? AND key = ?", (entry.merchant_no, key)
            )
            row = found.fetchone()
            if row is not None:
                change = "UPDATE buyer SET balance_minor = balance_minor + ? WHERE id = ?"
                self._db.execute(change, (amount_minor, row[0]))
                if entry.original_key:  # what undoes a capture undoes what the buyer paid
                    self.pays(entry, Buyer(row[0], "", "ready", 0))
                return

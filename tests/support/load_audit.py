"""What must hold after any number of crashes, read from tables, the acquirer's book and what was delivered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from tests.support.load import Act
from tests.support.processes_arsenal import Arrived

# Each query names what is half there; it answers no row.
HALF = {
    "a payment without its first attempt": """
        SELECT p.id FROM pay_payment AS p
        WHERE p.attempts <> (SELECT count(*) FROM pay_attempt AS a WHERE a.payment_id = p.id)
    """,
    "an attempt without a transaction": """
        SELECT a.id FROM pay_attempt AS a WHERE NOT EXISTS (SELECT FROM pay_transaction AS t WHERE t.attempt_id = a.id)
    """,
    "a transaction without a payment or an attempt": """
        SELECT t.id FROM pay_transaction AS t LEFT JOIN pay_payment AS p ON p.id = t.payment_id
        LEFT JOIN pay_attempt AS a ON a.id = t.attempt_id WHERE p.id IS NULL OR a.id IS NULL
    """,
    "a refund without its transaction": """
        SELECT r.id FROM pay_refund AS r LEFT JOIN pay_transaction AS t ON t.id = r.transaction_id AND t.kind = 'refund'
        WHERE t.id IS NULL OR (r.state = 'succeeded') <> (t.state = 'succeeded')
    """,
    "a payment whose events are not those of its sequence": """
        SELECT p.id FROM pay_payment AS p LEFT JOIN outbox AS o ON o.object_id = p.id
        GROUP BY p.id, p.sequence
        HAVING count(o.id) <> p.sequence OR min(o.sequence) <> 1 OR max(o.sequence) <> p.sequence
          OR count(DISTINCT o.sequence) <> p.sequence
    """,
    "an event of a payment that does not exist": """
        SELECT o.id FROM outbox AS o LEFT JOIN pay_payment AS p ON p.id = o.object_id
        WHERE o.object_id LIKE 'pay\\_%' AND p.id IS NULL
    """,
    "a transfer of a transaction that does not exist": """
        SELECT l.id FROM ledger_transfer AS l LEFT JOIN pay_transaction AS t ON t.id = l.reference
        WHERE l.reference LIKE 'txn\\_%' AND t.id IS NULL
    """,
    "an idempotency key that stands for nothing": """
        SELECT i.key FROM idempotency AS i LEFT JOIN pay_payment AS p ON p.id = i.object_id
        WHERE i.object_id LIKE 'pay\\_%' AND p.id IS NULL
    """,
    "a payment without the key that asked for it": """
        SELECT p.id FROM pay_payment AS p WHERE NOT EXISTS (SELECT FROM idempotency AS i WHERE i.object_id = p.id)
    """,
    "a payment whose amounts are not those of its transactions": """
        SELECT p.id FROM pay_payment AS p JOIN pay_transaction AS t ON t.payment_id = p.id
        GROUP BY p.id, p.captured_minor, p.refunded_minor, p.state
        HAVING p.state NOT IN ('canceled', 'closed') AND (
          p.captured_minor <> coalesce(
            sum(t.amount_minor) FILTER (WHERE t.kind IN ('sale', 'capture') AND t.state = 'succeeded'), 0)
          OR p.refunded_minor <> coalesce(
            sum(t.amount_minor) FILTER (WHERE t.kind = 'refund' AND t.state = 'succeeded'), 0))
    """,
    "a payment whose ledger is not its amounts": """
        WITH booked AS (
          SELECT t.payment_id, sum(CASE WHEN d.role = 'channel_receivable' THEN l.amount ELSE 0 END) AS taken,
                 sum(CASE WHEN c.role = 'channel_receivable' THEN l.amount ELSE 0 END) AS returned
          FROM ledger_transfer AS l JOIN pay_transaction AS t ON t.id = l.reference
          JOIN ledger_account AS d ON d.id = l.debit_account JOIN ledger_account AS c ON c.id = l.credit_account
          WHERE l.kind IN ('transfer', 'post') GROUP BY t.payment_id)
        SELECT p.id FROM pay_payment AS p LEFT JOIN booked AS b ON b.payment_id = p.id
        WHERE p.captured_minor - p.refunded_minor <> coalesce(b.taken - b.returned, 0)
    """,
    "a delivery without its event": """
        SELECT d.id FROM webhook_delivery AS d LEFT JOIN outbox AS o ON o.id = d.event_id WHERE o.id IS NULL
    """,
    "an open transaction that nobody will ask about": """
        SELECT t.id FROM pay_transaction AS t LEFT JOIN due AS d ON d.kind = 'payments.ask' AND d.subject_id = t.id
        WHERE t.state IN ('pending', 'unknown') AND d.subject_id IS NULL
    """,
}

_PAYMENTS = "SELECT id, out_trade_no, merchant_id FROM pay_payment"
_TRANSACTIONS = """
SELECT t.id, t.kind, t.state, t.amount_minor, p.state AS payment_state
FROM pay_transaction AS t JOIN pay_payment AS p ON p.id = t.payment_id WHERE t.provider_id = 'simulated_acquirer'
"""
_MOVES = frozenset({"sale", "authorize", "capture", "refund"})


async def half_there(connection: asyncpg.Connection[Any]) -> dict[str, list[str]]:
    """What is half there, by its description; empty when all is whole."""
    found = {name: [row[0] for row in await connection.fetch(query)] for name, query in HALF.items()}
    return {name: ids for name, ids in found.items() if ids}


async def check_acknowledged(connection: asyncpg.Connection[Any], acts: Iterable[Act]) -> Counter[str]:
    """Every acknowledged act exists exactly once; returns how many of each kind there are."""
    payments = {row["id"]: row["out_trade_no"] for row in await connection.fetch(_PAYMENTS)}
    numbers = Counter(payments.values())
    refunds = Counter(row[0] for row in await connection.fetch("SELECT out_request_no FROM pay_refund"))
    captures = Counter(
        row[0] for row in await connection.fetch("SELECT request_key FROM pay_transaction WHERE kind = 'capture'")
    )
    counted: Counter[str] = Counter()
    for act in acts:
        if not act.is_acknowledged:
            continue
        counted[act.kind] += 1
        if act.kind == "pay":
            assert payments.get(act.answer["id"]) == act.body["out_trade_no"], f"acknowledged and not there: {act}"
            assert numbers[act.body["out_trade_no"]] == 1, f"there more than once: {act}"
        else:
            there = refunds if act.kind == "refund" else captures
            assert there[act.body["out_request_no"]] == 1, (
                f"acknowledged, {there[act.body['out_request_no']]} times: {act}"
            )
    return counted


async def check_book(connection: asyncpg.Connection[Any], book: Mapping[str, Any]) -> int:
    """Our transactions are the acquirer's book: what succeeded moved money there once, what failed did not.

    Returns how many keys moved money.
    """
    moved: Mapping[str, int] = book["moved"]
    assert max(moved.values(), default=0) <= 1, f"moved money twice: {[key for key, n in moved.items() if n > 1]}"
    ours = {row["id"]: row for row in await connection.fetch(_TRANSACTIONS)}
    entries = {entry["key"]: entry for entry in book["entries"]}
    strangers = sorted(set(entries) - set(ours))
    assert not strangers, f"the acquirer was asked under keys that no transaction has: {strangers[:5]}"
    for id_, row in ours.items():
        if row["kind"] not in _MOVES:
            continue
        status = entries[id_]["status"] if id_ in entries else "ABSENT"
        if row["state"] == "succeeded":
            assert moved.get(id_) == 1, f"{dict(row)} succeeded here, moved nothing there ({status})"
            assert entries[id_]["amount_minor"] == row["amount_minor"], f"another amount there: {dict(row)}"
        else:
            assert row["state"] == "failed", f"still open: {dict(row)}"
            assert status in ("FAILED", "CANCELED", "CLOSED", "ABSENT"), f"{dict(row)} failed here, {status} there"
    return len(moved)


async def check_delivered(connection: asyncpg.Connection[Any], arrived: Iterable[Arrived]) -> tuple[int, int]:
    """Every event came at least once, always under its id and with the bytes stored for it.

    Returns how many events, and how many came again.
    """
    bodies: dict[str, set[bytes]] = defaultdict(set)
    count = 0
    for message in arrived:
        bodies[message.id].add(message.body)
        count += 1
    stored = {
        row["event_id"]: bytes(row["body"])
        for row in await connection.fetch("SELECT event_id, body FROM webhook_message")
    }
    events = {row[0] for row in await connection.fetch("SELECT id FROM outbox WHERE object_id LIKE 'pay\\_%'")}
    missing = sorted(events - set(bodies))
    assert not missing, f"{len(missing)} of {len(events)} events never came, such as {missing[:5]}"
    for id_, versions in bodies.items():
        assert versions == {stored[id_]}, f"{id_} came with {len(versions)} bodies"
    return len(bodies), count - len(bodies)


async def open_work(connection: asyncpg.Connection[Any]) -> dict[str, int]:
    """What is still to be done before everything has come to rest."""
    row = await connection.fetchrow("""
        SELECT (SELECT count(*) FROM pay_transaction WHERE state IN ('pending', 'unknown')) AS transactions,
               (SELECT count(*) FROM outbox WHERE relayed_at IS NULL) AS events,
               (SELECT count(*) FROM webhook_delivery WHERE state = 'pending') AS deliveries
    """)
    assert row is not None
    return {name: count for name, count in row.items() if count}


async def bring_forward(connection: asyncpg.Connection[Any]) -> None:
    """Make due what waits for its time: the janitor's questions, and work whose holder was killed with its lease.

    This is a test's way to let hours pass; the rows say when, and nothing else knows.
    """
    await connection.execute(
        "UPDATE due SET due_at = now(), leased_until = NULL "
        "WHERE kind = 'payments.ask' AND (due_at > now() OR leased_until > now())"
    )
    await connection.execute(
        "UPDATE webhook_delivery SET due_at = now(), wake_at = now(), leased_until = NULL "
        "WHERE state = 'pending' AND (wake_at > now() OR leased_until > now())"
    )

"""The floor: PostgreSQL's own pgbench, writing the same rows of a paid order to tables of the same shape.

The rows are copied from a real order of the measured application: every column but the ids, which are made anew, and
the moments, which are the database's now(). Running balances behind a transfer are constants here, so that the hot
accounts can be updated last, which is the fastest order (specs/performance.md section 2). No key is looked up, no
guard judged, no tenant compared; constraints and indexes are the application's own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.ground import Ground

KEY = "lpad(({number})::text, 25, '0')"  # with the last character that each use appends: as long as an id's body
FRESH = {  # columns that differ from order to order, as expressions of {key}
    "idempotency": {"key": "'key_' || {key} || '0'", "object_id": "'pay_' || {key} || '0'"},
    "pay_payment": {"id": "'pay_' || {key} || '0'", "out_trade_no": "'order_' || {key} || '0'"},
    "pay_attempt": {"id": "'att_' || {key} || '0'", "payment_id": "'pay_' || {key} || '0'"},
    "pay_transaction": {
        "id": "'txn_' || {key} || '0'",
        "payment_id": "'pay_' || {key} || '0'",
        "attempt_id": "'att_' || {key} || '0'",
        "request_key": "'att_' || {key} || '0'",
        "provider_reference": "'txn_' || {key} || '0'",
    },
    "ledger_transfer": {"id": "'tra_' || {key} || '{row}'", "reference": "'txn_' || {key} || '0'"},
    "outbox": {"id": "'evt_' || {key} || '{row}'", "object_id": "'pay_' || {key} || '0'"},
}
ORDER_OF_ROWS = {"ledger_transfer": "position", "outbox": "position"}
BATCH = 128
STRIDE = 1000  # of order numbers: clients of one run share a number and differ below it
_PERFORMED = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an order's row: its type, and its value as an SQL literal."""

    name: str
    type: str
    literal: str


Rows = dict[str, list[list[Column]]]  # by table


@dataclass(frozen=True, slots=True)
class Floor:
    """A database of its own with the order's accounts, functions and pgbench scripts."""

    ground: Ground
    name: str
    scripts: Path
    statements: int

    def run(self, script: str, *, clients: int, seconds: float, start: int) -> float:
        """Orders a second. `start`: of the order numbers, in steps of millions a run. RuntimeError if any failed."""
        url = urlsplit(self.ground.postgres.url(self.name))
        socket_folder = parse_qs(url.query)["host"][0]
        done = subprocess.run(
            [
                self.ground.postgres.bin_path / "pgbench",
                *("-n", "-M", "prepared", "-f", self.scripts / f"{script}.sql"),
                *("-c", str(clients), "-j", str(min(clients, 2)), "-T", str(max(1, round(seconds)))),
                *("-D", f"n={start}", self.name),
            ],
            env={**os.environ, "PGHOST": socket_folder, "PGUSER": url.username or ""},
            capture_output=True,
            text=True,
            check=False,
        )
        performed, tps = _PERFORMED.search(done.stdout), _TPS.search(done.stdout)
        failed = _FAILED.search(done.stdout)
        if done.returncode or performed is None or tps is None or (failed is not None and failed[1] != "0"):
            raise RuntimeError(f"pgbench: {done.stdout}{done.stderr}")
        return float(tps[1]) * (BATCH if script == "set_based" else 1)

    def orders(self) -> int:
        """How many orders stand in the floor's tables."""
        return int(self.ground.sql("SELECT count(*) FROM pay_payment", database=self.name))


def make_floor(ground: Ground, *, source: str, name: str = "floor") -> Floor:
    """A floor whose rows are those of the newest order in database `source`."""
    ground.database(name)
    rows = _rows_of_an_order(ground, source)
    accounts = _accounts(ground, source, rows)
    ground.sql("; ".join(_copy(ground, source, rows)), database=name)
    one = list(_statements(rows, accounts, number="$1", count="1"))
    ground.sql(_function("place_order", "n bigint", one), database=name)
    many = list(_statements(rows, accounts, number="$1 + g", count="$2", series="generate_series(0, $2 - 1) AS g"))
    ground.sql(_function("place_orders", "n bigint, orders bigint", many), database=name)
    scripts = Path(tempfile.mkdtemp(prefix="pgbench-", dir=ground.home))
    number = "\\set n :n + 1\n\\set k :n * 1000 + :client_id\n"
    single = [statement.replace("$1", ":k") for statement in one]
    (scripts / "multi_statement.sql").write_text(number + "".join(f"{s};\n" for s in ["BEGIN", *single, "COMMIT"]))
    (scripts / "one_call.sql").write_text(number + "SELECT place_order(:k);\n")
    batch = f"\\set n :n + 1\n\\set k (:n * {BATCH}) * 1000 + :client_id\nSELECT place_orders(:k, {BATCH});\n"
    (scripts / "set_based.sql").write_text(batch)
    return Floor(ground, name, scripts, len(single) + 2)


def _rows_of_an_order(ground: Ground, source: str) -> Rows:
    """The rows that the newest payment wrote, column by column."""
    newest = "(SELECT id FROM pay_payment ORDER BY id DESC LIMIT 1)"
    where = {
        "idempotency": f"object_id = {newest}",
        "pay_payment": f"id = {newest}",
        "pay_attempt": f"payment_id = {newest}",
        "pay_transaction": f"payment_id = {newest}",
        "ledger_transfer": f"reference = (SELECT id FROM pay_transaction WHERE payment_id = {newest})",
        "outbox": f"object_id = {newest}",
    }
    return {table: list(_literals(ground, source, table, condition)) for table, condition in where.items()}


def _literals(ground: Ground, source: str, table: str, condition: str) -> Iterator[list[Column]]:
    catalogue = ground.sql(
        "SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod)) ORDER BY attnum) "
        f"FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 "
        "AND NOT attisdropped AND attidentity = ''",
        database=source,
    )
    columns: list[tuple[str, str]] = json.loads(catalogue)
    quoted = ", ".join(f'quote_nullable("{name}"::text)' for name, _ in columns)
    order = ORDER_OF_ROWS.get(table, columns[0][0])
    found = ground.sql(
        f'SELECT json_agg(json_build_array({quoted}) ORDER BY "{order}") FROM {table} WHERE {condition}',
        database=source,
    )
    for values in json.loads(found):
        yield [Column(name, type_, _colonless(value)) for (name, type_), value in zip(columns, values, strict=True)]


def _colonless(literal: str) -> str:
    """The literal without a colon, which pgbench would take for the start of one of its variables."""
    if ":" not in literal:
        return literal
    assert "\\" not in literal, f"a literal with both colon and backslash: {literal[:80]}"
    return "U&" + literal.replace(":", "\\003A")


def _accounts(ground: Ground, source: str, rows: Rows) -> dict[int, tuple[int, int]]:
    """What one order debits and credits in all, by account."""
    sums: dict[int, tuple[int, int]] = {}
    for row in rows["ledger_transfer"]:
        values = {column.name: column.literal.strip("'") for column in row}
        amount = int(values["amount"])
        for side, share in (("debit_account", (amount, 0)), ("credit_account", (0, amount))):
            debits, credits = sums.get(int(values[side]), (0, 0))
            sums[int(values[side])] = (debits + share[0], credits + share[1])
    return sums


def _copy(ground: Ground, source: str, rows: Rows) -> Iterator[str]:
    """The accounts, empty, under their own ids."""
    ids = {c.literal.strip("'") for row in rows["ledger_transfer"] for c in row if c.name.endswith("_account")}
    listed = ground.sql(
        "SELECT json_agg(json_build_array(id, merchant_id, unit, owner, role, bucket, guard)) FROM ledger_account "
        f"WHERE id IN ({', '.join(sorted(ids))})",
        database=source,
    )
    for account in json.loads(listed):
        values = ", ".join(f"'{value}'" for value in account)
        yield (
            "INSERT INTO ledger_account (id, merchant_id, unit, owner, role, bucket, guard) "
            f"OVERRIDING SYSTEM VALUE VALUES ({values})"
        )


def _statements(
    rows: Rows, accounts: dict[int, tuple[int, int]], *, number: str, count: str, series: str | None = None
) -> Iterator[str]:
    """One insertion a table, one update an account, the hot accounts last."""
    key = KEY.format(number=number)
    for table, found in rows.items():
        names = ", ".join(f'"{column.name}"' for column in found[0])
        lines = [", ".join(_value(table, column, key, n) for column in row) for n, row in enumerate(found)]
        if series is None:
            yield f"INSERT INTO {table} ({names}) VALUES " + ", ".join(f"({line})" for line in lines)
        else:
            yield f"INSERT INTO {table} ({names}) " + " UNION ALL ".join(
                f"SELECT {line} FROM {series}" for line in lines
            )
    for id_, (debits, credits) in sorted(accounts.items()):
        yield (
            f"UPDATE ledger_account SET debits_posted = debits_posted + {debits} * {count}, "
            f"credits_posted = credits_posted + {credits} * {count}, moved_at = now() WHERE id = {id_}"
        )


def _value(table: str, column: Column, key: str, row: int) -> str:
    fresh = FRESH[table].get(column.name)
    if fresh is not None:
        return fresh.format(key=key, row=row)
    if column.type.startswith("timestamp") and column.literal != "NULL":
        return "now()"
    return f"{column.literal}::{column.type}"


def _function(name: str, arguments: str, statements: list[str]) -> str:
    body = "; ".join(statements)
    return f"CREATE FUNCTION {name}({arguments}) RETURNS void LANGUAGE plpgsql AS $body$ BEGIN {body}; END $body$"

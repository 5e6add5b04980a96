"""From transfers to rows, pure: every code has its entry, rows explain balances, and files read back as written."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.capabilities import payments
from platform_core.capabilities.payments.bills.archive import Deflater, Inflater, Member, deflated, framed
from platform_core.capabilities.payments.bills.calendar import bill_day, following, ready_at
from platform_core.capabilities.payments.bills.entries import ALONE, GROUPS, JOINED, UnknownMovement
from platform_core.capabilities.payments.bills.figures import (
    AccountBalance,
    figures_of,
    group_balances,
    summary_kept,
    summary_lines,
    summary_of,
    trailer,
)
from platform_core.capabilities.payments.bills.folding import Fold, Moved
from platform_core.capabilities.payments.bills.references import catalogue
from platform_core.capabilities.payments.bills.rows import (
    COLUMNS,
    BillRow,
    Names,
    Summary,
    cells,
    decimal,
    decoded,
    encoded,
    minor,
)

NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)
ZONE = ZoneInfo("Asia/Shanghai")
Leg = tuple[str, str, int, str]  # debit, credit, amount, code
FREE_SIDES = ("capture", "refund", "refund_bounce", "fee", "split", "split_return")

# The ledger's agreed codes: each is an entry of the bill, or says that it is none.
AGREED = [
    "authorize",
    "capture",
    "fee",
    "refund",
    "fee_return",
    "void",
    "refund_bounce",
    "late_money",
    "late_money_return",
    "cancel",
    "settlement",
    "split",
    "split_hold",
    "split_release",
    "split_give_back",
    "split_return",
    "funded",
    "debt",
    "reserve",
    "reserve_release",
    "withhold",
    "acquirer_payout",
    "acquirer_cost",
    "payout",
    "payout_paid",
    "payout_returned",
    "top_up",
    "dispute",
    "dispute_withdrawn",
    "dispute_won",
    "dispute_won_debt",
    "adjustment",
    "adjustment_cost",
    "reversal",
]


def test_every_agreed_code_has_its_place_and_no_other_has() -> None:
    assert sorted({*JOINED, *ALONE}) == sorted(AGREED)
    assert set(JOINED) & set(ALONE) == set()


def test_every_code_that_payments_write_has_its_place() -> None:
    folder = Path(payments.__path__[0])
    found = {code for path in folder.rglob("*.py") for code in codes_in(path.read_text(encoding="utf-8"))}
    assert {"capture", "refund", "settlement", "late_money"} <= found
    assert found - {*JOINED, *ALONE} == set()


def test_a_code_without_a_place_is_seen() -> None:
    source = 'Transfer(id_, a, b, 1, "novel", ref)\nbooks._transfer(a, b, 1, "new")\nPost(id_, p, code="fresh")\n'
    assert set(codes_in(source)) == {"novel", "new", "fresh"}


def codes_in(source: str) -> Iterator[str]:
    """The codes of movements that a module names where it makes them."""
    places = {"Transfer": 4, "_transfer": 3, "_move": 3, "Post": 3}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given_ = [word.value for word in node.keywords if word.arg == "code"] if name in places else []
            if name in places and len(node.args) > places[name]:
                given_.append(node.args[places[name]])
            yield from (one.value for one in given_ if isinstance(one, ast.Constant) and isinstance(one.value, str))


def moved(legs: Sequence[Leg], *, reference: str = "txn_1", start: int = 1, currency: str = "CNY") -> list[Moved]:
    return [
        Moved(n, f"tra_{n}", NOW + timedelta(seconds=n), currency, amount, code, reference, debit, credit)
        for n, (debit, credit, amount, code) in enumerate(legs, start=start)
    ]


def folded(transfers: Sequence[Moved]) -> list[BillRow]:
    fold = Fold()
    rows = [row for one in transfers for row in fold.feed(one, {})]
    return rows + fold.end({})


def test_an_unknown_code_or_role_makes_no_rows() -> None:
    with pytest.raises(UnknownMovement, match="novel"):
        folded(moved([("merchant_available", "bank", 1, "novel")]))
    with pytest.raises(UnknownMovement, match="merchant_purse"):
        folded(moved([("merchant_purse", "bank", 1, "payout")]))
    with pytest.raises(UnknownMovement, match="settlement moves"):
        folded(moved([("merchant_available", "bank", 1, "settlement")]))


def test_the_worked_example_is_three_rows() -> None:
    """payments.md section 4: platform coupon 1000 and points 300 pay a part, a split of 1000, then half goes back."""
    sale: list[Leg] = [
        ("channel_receivable", "customer_clearing", 8_200, "capture"),
        ("coupon_funder", "customer_clearing", 1_300, "funded"),
        ("customer_clearing", "merchant_pending", 9_500, "capture"),
        ("merchant_pending", "platform_fee", 57, "fee"),
    ]
    split: list[Leg] = [("merchant_pending", "receiver_pending", 1_000, "split")]
    back: list[Leg] = [("receiver_pending", "merchant_pending", 500, "split_return")]
    refund: list[Leg] = [
        ("merchant_pending", "customer_clearing", 4_722, "refund"),
        ("platform_fee", "customer_clearing", 28, "refund"),
        ("customer_clearing", "channel_receivable", 4_100, "refund"),
        ("customer_clearing", "coupon_funder", 650, "refund"),
    ]
    rows = folded(
        moved(sale)
        + moved(split, reference="spl_1", start=5)
        + moved(back, reference="spl_1", start=6)
        + moved(refund, reference="txn_2", start=7)
    )
    shown = [
        (
            row.entry,
            row.customer_paid_minor,
            row.funded_discount_minor,
            row.refund_minor,
            row.fee_minor,
            row.split_minor,
            row.net_minor,
        )
        for row in rows
    ]
    assert shown == [
        ("capture", 8_200, 1_300, 0, 57, 0, 9_443),
        ("split", 0, 0, 0, 0, 1_000, -1_000),
        ("split_return", 0, 0, 0, 0, -500, 500),
        ("refund", 0, -650, 4_100, -28, 0, -4_722),
    ]
    assert {row.account for row in rows} == {"balance"}


def test_what_a_cancel_found_paid_is_one_row_that_moves_nothing() -> None:
    legs: list[Leg] = [
        ("channel_receivable", "customer_clearing", 8_200, "capture"),
        ("customer_clearing", "channel_receivable", 8_200, "cancel"),
    ]
    [row] = folded(moved(legs))
    assert (row.entry, row.customer_paid_minor, row.refund_minor, row.net_minor) == ("refund", 8_200, 8_200, 0)
    assert (row.account, row.note, row.transfer_id) == ("", "paid and returned", "tra_1")


def test_a_refund_that_is_all_fee_is_a_row_of_nothing() -> None:
    legs: list[Leg] = [
        ("platform_fee", "customer_clearing", 1, "refund"),
        ("customer_clearing", "channel_receivable", 1, "refund"),
    ]
    [row] = folded(moved(legs))
    assert (row.entry, row.refund_minor, row.fee_minor, row.net_minor) == ("refund", 1, -1, 0)


# Every act that moves money, as payments.md section 4 writes it; amounts are drawn.
ACTS: dict[str, Any] = {
    "sale": lambda a, b: [
        ("channel_receivable", "customer_clearing", a + b, "capture"),
        ("customer_clearing", "merchant_pending", a + b, "capture"),
        ("merchant_pending", "platform_fee", b, "fee"),
    ],
    "funded sale": lambda a, b: [
        ("coupon_funder", "customer_clearing", b, "funded"),
        ("channel_receivable", "customer_clearing", a, "capture"),
        ("customer_clearing", "merchant_pending", a + b, "capture"),
    ],
    "cash": lambda a, b: [
        ("channel_receivable", "customer_clearing", a, "capture"),
        ("customer_clearing", "merchant_till", a, "capture"),
    ],
    "refund": lambda a, b: [
        ("merchant_pending", "customer_clearing", a, "refund"),
        ("platform_fee", "customer_clearing", b, "refund"),
        ("customer_clearing", "channel_receivable", a + b, "refund"),
    ],
    "bounce": lambda a, b: [
        ("channel_receivable", "customer_clearing", a, "refund_bounce"),
        ("customer_clearing", "merchant_available", a, "refund_bounce"),
    ],
    "canceled": lambda a, b: [
        ("channel_receivable", "customer_clearing", a, "capture"),
        ("customer_clearing", "channel_receivable", a, "cancel"),
    ],
    "late": lambda a, b: [("channel_receivable", "unapplied", a, "late_money")],
    "split": lambda a, b: [("merchant_pending", "receiver_pending", a, "split")],
    "frozen split": lambda a, b: [
        ("merchant_pending", "merchant_split_hold", a + b, "split_hold"),
        ("merchant_split_hold", "receiver_available", a, "split_release"),
        ("merchant_split_hold", "merchant_available", b, "split_give_back"),
    ],
    "split return": lambda a, b: [("receiver_pending", "merchant_pending", a, "split_return")],
    "settlement": lambda a, b: [
        ("merchant_pending", "merchant_available", a, "settlement"),
        ("receiver_pending", "receiver_available", b, "settlement"),
        ("merchant_available", "merchant_debt", b, "debt"),
        ("merchant_available", "merchant_reserve", a, "reserve"),
        ("merchant_reserve", "merchant_available", b, "reserve_release"),
        ("merchant_available", "lender_collections", b, "withhold"),
    ],
    "acquirer": lambda a, b: [
        ("bank", "channel_receivable", a, "acquirer_payout"),
        ("channel_cost", "channel_receivable", b, "acquirer_cost"),
    ],
    "payout": lambda a, b: [
        ("merchant_available", "merchant_payout", a + b, "payout"),
        ("merchant_payout", "bank", a, "payout_paid"),
        ("merchant_payout", "merchant_available", b, "payout_returned"),
        ("bank", "merchant_available", b, "top_up"),
    ],
    "dispute": lambda a, b: [
        ("merchant_available", "merchant_dispute", a, "dispute"),
        ("merchant_debt", "merchant_dispute", b, "dispute"),
        ("merchant_dispute", "channel_receivable", a + b, "dispute_withdrawn"),
        ("channel_receivable", "merchant_dispute", a + b, "dispute_won"),
        ("merchant_dispute", "merchant_debt", b, "dispute_won_debt"),
        ("merchant_dispute", "merchant_available", a, "dispute_won"),
    ],
    "difference": lambda a, b: [
        ("suspense", "channel_receivable", a, "adjustment"),
        ("channel_cost", "channel_receivable", b, "adjustment_cost"),
    ],
    "fee": lambda a, b: [("merchant_available", "platform_fee", a, "fee")],
}
AMOUNT = st.integers(1, 10**9)
DAYS = st.lists(st.tuples(st.sampled_from(sorted(ACTS)), AMOUNT, AMOUNT, st.sampled_from(["CNY", "JPY"])), max_size=25)


def day_of(acts: Sequence[tuple[str, int, int, str]]) -> list[Moved]:
    transfers: list[Moved] = []
    for n, (name, a, b, currency) in enumerate(acts):
        legs = ACTS[name](a, b)
        transfers += moved(legs, reference=f"txn_{n}", start=len(transfers) + 1, currency=currency)
    return transfers


def test_the_acts_use_every_code_that_moves() -> None:
    used = {code for act in ACTS.values() for _, _, _, code in act(1, 1)}
    assert set(AGREED) - used == {"authorize", "void", "fee_return", "late_money_return", "reversal"}


@given(DAYS)
def test_rows_explain_the_balances_of_every_group(acts: Sequence[tuple[str, int, int, str]]) -> None:
    transfers = day_of(acts)
    balances: dict[tuple[str, str], int] = {}
    for one in transfers:
        for role, amount in ((one.debit_role, -one.amount), (one.credit_role, one.amount)):
            balances[one.currency, role] = balances.get((one.currency, role), 0) + amount
    summary = Summary()
    rows = folded(transfers)
    for row in rows:
        summary.add(row)
        if row.entry in FREE_SIDES:
            explained = row.customer_paid_minor + row.funded_discount_minor
            explained -= row.refund_minor + row.fee_minor + row.split_minor
            assert row.net_minor == explained, row
    accounts = [
        AccountBalance(currency, role, 7, 7 + amount) for (currency, role), amount in balances.items() if role in GROUPS
    ]
    assert all(balance.is_tied for balance in group_balances(accounts, summary))
    assert summary_of(summary_kept(summary)) == summary
    assert summary.count() == len(rows)
    lines = [*trailer(figures_of(summary, group_balances(accounts, summary))), *summary_lines(summary, NOW.date())]
    assert {len(line) for line in lines} <= {len(COLUMNS), 14}


@given(DAYS, st.data())
def test_a_reading_that_rests_anywhere_gives_the_same_rows(
    acts: Sequence[tuple[str, int, int, str]], data: st.DataObject
) -> None:
    transfers = day_of(acts)
    cuts = data.draw(st.sets(st.integers(0, max(0, len(transfers) - 1))))
    rows: list[BillRow] = []
    fold, after, n = Fold(), None, 0
    while n < len(transfers):
        rows += fold.feed(transfers[n], {})
        n += 1
        if n in cuts and fold.can_rest and fold.resumes_after is not None and fold.resumes_after != after:
            after = fold.resumes_after
            n = 1 + next(i for i, one in enumerate(transfers) if one.key == after)
            fold = Fold()
    assert rows + fold.end({}) == folded(transfers)


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12)


@given(st.lists(st.builds(Names, out_trade_no=TEXTS, store_id=TEXTS, form=TEXTS), max_size=5), TEXTS)
def test_every_text_reads_back_and_is_no_formula(names: Sequence[Names], note: str) -> None:
    rows = [BillRow(NOW, "capture", "CNY", -1, "balance", "tra_1", names=each, note=note) for each in names]
    written = encoded([cells(row, n, ZONE) for n, row in enumerate(rows, start=1)])
    read = [dict(zip(COLUMNS, line, strict=True)) for line in decoded(written)]
    assert [line["row_no"] for line in read] == [str(n) for n in range(1, len(rows) + 1)]
    for row, line in zip(rows, read, strict=True):
        for column, text in (("out_trade_no", row.names.out_trade_no), ("note", note), ("form", row.names.form)):
            assert line[column] in (text, f"'{text}")
            assert not line[column].startswith(("=", "+", "-", "@"))
        assert line["net_amount"] == "-0.01"


@given(st.integers(-(10**15), 10**15), st.sampled_from(["CNY", "JPY", "KWD"]))
def test_amounts_read_back_in_every_exponent(amount: int, currency: str) -> None:
    assert minor(decimal(amount, currency), currency) == amount


def test_amounts_have_every_digit_of_the_minor_unit() -> None:
    shown = [decimal(*each) for each in ((5, "CNY"), (-5, "CNY"), (-1_200, "JPY"), (5, "KWD"), (-12_345, "KWD"))]
    assert shown == ["0.05", "-0.05", "-1200", "0.005", "-12.345"]
    with pytest.raises(ValueError, match="no amount of CNY"):
        minor("1.5", "CNY")


@given(st.lists(st.binary(max_size=2_000), max_size=5))
def test_pieces_are_one_stream_and_the_archive_opens(contents: Sequence[bytes]) -> None:
    pieces = []
    for n, content in enumerate(contents):
        deflater = Deflater()
        deflater.add(content)
        pieces.append(deflater.piece(is_last=n == len(contents) - 1))
    inflater = Inflater()
    assert [inflater.text_of(piece) for piece in pieces] == list(contents)
    whole = b"".join(contents)
    packed = b"".join(pieces) or deflated(b"")
    other = (Member.whole("b.json", b"{}", deflated(b"{}")), deflated(b"{}"))
    before, behind = framed(Member.whole("a.csv", whole, packed), [other], day=date(2026, 11, 22))
    with zipfile.ZipFile(io.BytesIO(before + packed + behind)) as archive:
        assert archive.testzip() is None
        assert (archive.read("a.csv"), archive.read("b.json")) == (whole, b"{}")
        assert archive.getinfo("a.csv").date_time == (2026, 11, 22, 0, 0, 0)


def test_days_follow_without_a_gap_when_the_zone_is_changed() -> None:
    first = bill_day(date(2026, 11, 22), "Asia/Shanghai", behind=None)
    assert (first.since, first.until) == (
        datetime(2026, 11, 21, 16, tzinfo=UTC),
        datetime(2026, 11, 22, 16, tzinfo=UTC),
    )
    west = following(first.day, "America/New_York", behind=first.until)
    assert (west.day, west.since, west.until) == (
        date(2026, 11, 23),
        first.until,
        datetime(2026, 11, 24, 5, tzinfo=UTC),
    )
    east = following(west.day, "Pacific/Kiritimati", behind=west.until)
    assert (east.since, east.until, east.day) == (
        west.until,
        datetime(2026, 11, 24, 10, tzinfo=UTC),
        date(2026, 11, 24),
    )
    assert ready_at(date(2026, 3, 8), "America/New_York") == datetime(2026, 3, 9, 13, tzinfo=UTC)


def test_references_of_transactions_are_known() -> None:
    assert "txn" in catalogue()

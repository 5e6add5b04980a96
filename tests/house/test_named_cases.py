"""What users of other payment systems suffered from is a test here, under the name that the specification gave it.

Sources, issues and pull requests read 2026-11-22: killbill/killbill 393, 508, 1015, 1097, 1107, 1324, 2107, 2227;
juspay/hyperswitch 319, 1324, 1471, 1475, 2380, 9278, 9895, 9898, 10533; juspay/hyperswitch-prism 1380; medusajs/medusa
3146, 6016, 12674, 13301, 14357; saleor/saleor 12652, 14358, 14926, 18063, 18079, 19811; saleor/apps 2446.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
CASES = frozenset(
    {
        "test_unknown_first_attempt_blocks_a_second",
        "test_crash_after_provider_success_charges_once",
        "test_notice_parser_gets_headers_and_raw_body",
        "test_retry_is_a_new_attempt_on_the_new_route",
        "test_failed_attempt_is_visible",
        "test_retry_policy_is_data",
        "test_provider_settings_change_without_restart",
        "test_refund_plus_dispute_stay_within_captured",
        "test_unknown_is_never_declared_failed",
        "test_duplicate_order_number_changes_nothing",
        "test_stuck_processing_heals_on_read",
        "test_event_carries_the_state_of_its_commit",
        "test_one_notice_address_form",
        "test_new_provider_edits_no_core_file",
        "test_losing_writer_never_cancels_the_winner",
        "test_event_outlives_a_crashed_consumer",
        "test_redelivered_refund_keeps_its_key",
        "test_slow_provider_blocks_no_other_checkout",
        "test_page_return_and_notice_capture_once",
        "test_page_refresh_pays_once",
        "test_worked_example_balances",
        "test_bill_equals_ledger_equals_api",
    }
)


def cases_in(folder: Path) -> Counter[str]:
    """How often each test function is defined."""
    found: Counter[str] = Counter()
    for path in folder.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in CASES:
                found[node.name] += 1
    return found


def test_every_named_case_is_a_test() -> None:
    assert len(CASES) == 22
    found = cases_in(TESTS)
    assert {name: found[name] for name in CASES if found[name] != 1} == {}


def test_a_missing_case_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("async def test_failed_attempt_is_visible(): ...\n", encoding="utf-8")
    assert cases_in(tmp_path) == {"test_failed_attempt_is_visible": 1}

"""The table of codes is whole: every error that the platform declares reads in one way in the protocol's words."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from datetime import date

import pytest

import platform_core
from platform_core.capabilities.payments import errors
from platform_core.kernel.errors import VALIDATION_FAILED, ErrorCode, catalogue
from plugins.simulated_acquirer.codes import CLASS_OF
from sandbox.simulators.alipay_gateway.codes import NATIVE, TABLE, WALLET, of_decline, of_native
from sandbox.simulators.alipay_gateway.protocol import MESSAGES

pytestmark = pytest.mark.unit
_SKIPPED = ("migrations", "__main__", ".alembic", ".commands", ".bootstrap")


def declared() -> set[str]:
    """The code of every error, once all modules that declare one are imported."""
    for module in pkgutil.walk_packages(platform_core.__path__, "platform_core."):
        if not any(part in module.name for part in _SKIPPED):
            importlib.import_module(module.name)
    return {code for code in catalogue() if not code.startswith("test")}


def test_every_native_error_has_a_row() -> None:
    areas = tuple(row.area for row in TABLE.area)
    assert len(declared()) > 150
    assert sorted(code for code in declared() if code not in NATIVE and not code.startswith(areas)) == []


def test_what_a_payment_or_refund_meets_is_in_no_area() -> None:
    """Nouns of payments that no method reaches are areas; taking, ending and returning money has rows."""
    areas = tuple(row.area for row in TABLE.area)
    met = {code.code for code in vars(errors).values() if isinstance(code, ErrorCode)}
    met -= {code for code in met if code.startswith(("payments.receipt_", "payments.notice_"))}
    assert len(met) > 15
    assert sorted(met - NATIVE.keys()) == []
    assert sorted(code for code in NATIVE if code.startswith("payments.") and code.startswith(areas)) == []


def test_every_decline_of_the_wallet_has_a_row() -> None:
    assert CLASS_OF.keys() <= WALLET.keys()


def test_rows_are_single_dated_and_of_the_protocol() -> None:
    counted = Counter([row.native for row in TABLE.native] + [row.wallet for row in TABLE.wallet])
    assert [code for code, times in counted.items() if times > 1] == []
    for row in TABLE.native:
        assert row.code in MESSAGES
        assert row.source
    for row in (*TABLE.native, *TABLE.area, *TABLE.wallet):
        assert date.fromisoformat(row.read) <= date(2100, 1, 1)


def test_a_refusal_names_its_field() -> None:
    fault = errors.SUMS_DIFFER.fault("/basket/lines/0/unit_minor", {"lines_minor": 1, "order_minor": 2})
    read = of_native(VALIDATION_FAILED.error({"count": 1}, faults=[fault]))
    assert (read.code, read.sub_code) == ("40004", "ACQ.INVALID_PARAMETER")
    assert read.sub_msg == "参数无效：basket.lines.0.unit_minor"


def test_what_has_no_row_is_not_declared_failed_by_guessing() -> None:
    read = of_native(errors.NOTICE_REFUSED.error({"reason": "x"}))
    assert (read.code, read.sub_code) == ("20000", "isp.unknow-error")
    assert of_decline("SOMETHING_NEW").sub_code == "ACQ.PAYMENT_FAIL"

"""A plugin that tells its version at two hooks of one order, so that a mix of versions would stand in the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.plugin_bundles import packed

TELLER: Final = "dev.arsenal.version-teller"
PUBLISHER: Final = "isv_arsenal"
OFF_MINOR: Final = 100
FIRST_S: Final = 0.01
"""How long its first hook takes: enough for many an order to be between its two hooks when a version changes."""
_NAME: Final = "version_teller"
_CODE: Final = """
import time

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.results import BasketOperations, Discount, Reason, Verdict

VERSION = "{version}"


@hookimpl
def amend_basket(ctx, basket):
    time.sleep({first_s})
    if basket.total.amount_minor <= {off}:
        return BasketOperations(operations=())
    return BasketOperations(operations=(Discount(amount_minor={off}, rule_id="teller", label=VERSION),))


@hookimpl
def check_payment(ctx, payment):
    return Verdict(decision="allow", reasons=(Reason(rule_id="teller", text=VERSION),))
"""
_MANIFEST: Final = """\
manifest = 1
hooks = [
  {{ name = "amend_basket", fields = ["total"] }},
  {{ name = "check_payment", fields = {fields} }},
]
scopes = [
  {{ name = "baskets:read", purpose = {{ zh = "读取购物篮", en = "To see the basket" }} }},
  {{ name = "payments:read", purpose = {{ zh = "读取付款", en = "To see the payment" }} }},
]

[plugin]
id = "{id}"
version = "{version}"
name = {{ zh = "版本", en = "Version teller" }}
summary = {{ zh = "告知自己的版本", en = "Tells which version it is" }}
publisher = "{publisher}"
license = "Apache-2.0"
support = "support@arsenal.example"
contract = ">=1.0,<2"
"""


def teller_bundle(folder: Path, version: str, *, is_wider: bool = False) -> Path:
    """One version as a bundle; `is_wider`: it sees one field more than the others do."""
    manifest = _MANIFEST.format(
        id=TELLER,
        version=version,
        publisher=PUBLISHER,
        fields=json.dumps(["amount", "form"] if is_wider else ["amount"]),
    )
    code = _CODE.format(version=version, off=OFF_MINOR, first_s=FIRST_S)
    files = {"__init__.py": code.encode(), "plugin.toml": manifest.encode()}
    return packed(_NAME, files, folder, version=version)


def versions_told(payment: Mapping[str, Any]) -> set[str]:
    """All versions that a payment's record names, as `PaymentRead` or as the columns of its row."""
    risk = payment["risk"] or {"reasons": []}
    said = {one["label"] for one in payment["discounts"] or () if one["rule_id"] == "teller"}
    said |= {one["text"] for one in risk["reasons"] if one["rule_id"] == "teller"}
    return said | {one["version"] for one in payment["degraded"] or () if one["version"]}


def hooks_told(payment: Mapping[str, Any]) -> int:
    """How many of its two hooks answered."""
    risk = payment["risk"] or {"reasons": []}
    has_discount = any(one["rule_id"] == "teller" for one in payment["discounts"] or ())
    return has_discount + any(one["rule_id"] == "teller" for one in risk["reasons"])

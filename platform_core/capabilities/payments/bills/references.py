"""Which object a transfer's `reference` names, and of which payment that is.

A folder of payments adds its objects with a file `bill_references.py` of its own that declares `REFERENCES`, a tuple of
`ReferenceTable`; `catalogue()` finds it. A reference of no declared kind stands in the bill's note alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from platform_core.capabilities import payments
from platform_core.capabilities.payments.models import Transaction
from platform_core.kernel.database.tables import table_of

_FILE: Final = "bill_references"


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """Objects whose ids begin with `prefix`. The other fields are SQL expressions over the table's own columns."""

    prefix: str
    table: str
    payment_id: str = "payment_id"
    out_request_no: str = "out_request_no"
    transaction_id: str = "NULL"
    provider: str = "NULL"
    provider_reference: str = "NULL"

    def sql(self) -> str:
        """What the objects with ids $2 of merchant $1 say, one row each."""
        return (
            f"SELECT id, {self.payment_id}, {self.transaction_id}, {self.out_request_no}, {self.provider}, "
            f"{self.provider_reference} FROM {self.table} WHERE merchant_id = $1 AND id = ANY ($2::text[])"
        )

    def ids_sql(self) -> str:
        """The objects of payment $2 of merchant $1."""
        return f"SELECT id FROM {self.table} WHERE merchant_id = $1 AND {self.payment_id} = $2"


# The number of a capture, void or refund is the client's up to the first dot; those of other kinds are the core's own.
TRANSACTIONS: Final = ReferenceTable(
    "txn",
    table_of(Transaction).name,
    out_request_no="CASE WHEN kind IN ('capture', 'void', 'refund') THEN split_part(request_key, '.', 1) END",
    transaction_id="id",
    provider="provider_id",
    provider_reference="provider_reference",
)


@cache
def catalogue() -> Mapping[str, ReferenceTable]:
    """Every kind of reference by its prefix. ValueError when two declare one."""
    found = {TRANSACTIONS.prefix: TRANSACTIONS}
    for folder in pkgutil.iter_modules(payments.__path__):
        if not folder.ispkg:
            continue
        package = importlib.import_module(f"{payments.__name__}.{folder.name}")
        if any(module.name == _FILE for module in pkgutil.iter_modules(package.__path__)):
            for table in importlib.import_module(f"{package.__name__}.{_FILE}").REFERENCES:
                if found.setdefault(table.prefix, table) is not table:
                    raise ValueError(f"the prefix {table.prefix} is declared twice")
    return MappingProxyType(found)

"""Methods whose native side is not here yet, and what each waits for.

They are answered as methods that do not exist (40002 isv.invalid-method): the protocol has one answer for both, and a
client that tests for it goes on working. A method comes by giving its row fields and a translator in its family.
"""

from __future__ import annotations

from typing import Any, Final

from sandbox.simulators.alipay_gateway.calls import Method

_ROWS: Final = (
    ("alipay.trade.create", "payments:write", "POST /v1/payments (mini_program)", "forms"),
    ("alipay.trade.page.pay", "payments:write", "POST /v1/payments (page)", "forms"),
    ("alipay.trade.wap.pay", "payments:write", "POST /v1/payments (wap)", "forms"),
    ("alipay.trade.app.pay", "payments:write", "POST /v1/payments (app)", "forms"),
    ("alipay.marketing.card.template.create", "programmes:write", "POST /v1/card-templates", "membership"),
    ("alipay.marketing.card.open", "members:write", "POST /v1/members", "membership"),
    ("alipay.marketing.card.query", "members:read", "POST /v1/members/lookup", "membership"),
    ("alipay.marketing.card.consume.sync", "points:write", "POST /v1/members/{id}/consumptions", "membership"),
    ("alipay.marketing.cashvoucher.template.create", "campaigns:write", "POST /v1/coupon-templates", "coupons"),
    ("alipay.marketing.voucher.send", "coupons:issue", "POST /v1/coupons", "coupons"),
    ("alipay.marketing.voucher.query", "coupons:read", "GET /v1/coupons/{id}", "coupons"),
    ("alipay.ebpp.invoice.apply", "invoices:request", "POST /v1/invoice-requests", "invoicing"),
    ("alipay.ebpp.invoice.title.list.get", "titles:read", "GET /v1/invoice-titles", "invoicing"),
    ("alipay.security.risk.detect", "risk:decide", "POST /v1/risk/decisions", "risk"),
    ("alipay.security.risk.complaint.info.batchquery", "disputes:read", "GET /v1/disputes", "disputes"),
)
METHODS: Final[tuple[Method[Any], ...]] = tuple(
    Method(name=name, scope=scope, native=native, waits_for=what, is_flat=name == "alipay.security.risk.detect")
    for name, scope, native, what in _ROWS
)

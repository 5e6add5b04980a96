"""The acquirer's cashier page: where the buyer of a page order confirms or refuses, in a real browser."""

from __future__ import annotations

from html import escape
from typing import Final

from sandbox.simulators.acquirer.book import Entry

PATH: Final = "/cashier/"
CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
HEADERS: Final = {"Content-Security-Policy": CSP, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0; font: 16px/1.5 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; background: #eef2ee;
  color: #17261c; }
header { background: #6b2fa0; color: #fff; padding: 6px 16px; text-align: center; font-size: 14px; }
main { max-width: 400px; margin: 24px auto; padding: 24px 20px; background: #fff; border-radius: 8px; }
h1 { font-size: 18px; margin: 0 0 16px; }
.amount { font-size: 34px; font-weight: 650; margin: 0; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 16px 0 24px; font-size: 14px; }
dt { color: #53645a; } dd { margin: 0; overflow-wrap: anywhere; }
button, a.back { display: block; box-sizing: border-box; width: 100%; min-height: 48px; margin-top: 12px; padding: 11px;
  font: inherit; font-weight: 600; text-align: center; border-radius: 8px; border: 1px solid #14623a; cursor: pointer; }
button.pay, a.back { background: #14623a; color: #fff; text-decoration: none; }
button.refuse { background: transparent; color: #14623a; }
@media (prefers-color-scheme: dark) {
  body { background: #10181a; color: #e7efe9; } main { background: #1a2523; } dt { color: #a8b8ae; }
  button.refuse { color: #8fd3ab; border-color: #8fd3ab; }
}
"""
_STATES: Final = {
    "SUCCESS": "Paid / 已支付",
    "FAILED": "Not paid / 未支付",
    "CLOSED": "This order is closed / 订单已关闭",
    "CANCELED": "This order was undone / 订单已撤销",
}


def page(entry: Entry) -> str:
    """The page of an order as it stands: with buttons while it waits, else with what became of it."""
    amount = f"{entry.amount_minor // 100}.{entry.amount_minor % 100:02d} {entry.currency}"
    act = "Freeze / 冻结" if entry.kind == "authorize" else "Pay / 付款"
    if entry.status == "PENDING":
        below = (
            '<form method="post">'
            f'<button class="pay" name="act" value="pay">{act}</button>'
            '<button class="refuse" name="act" value="refuse">Refuse / 拒绝</button></form>'
        )
    else:
        below = f'<p role="status"><strong>{_STATES.get(entry.status, "Please wait / 请稍候")}</strong></p>'
        if entry.return_url:
            below += f'<a class="back" href="{escape(entry.return_url)}">Back to the shop / 返回商户</a>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Simulated wallet</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><header>SIMULATED WALLET · no real money / 模拟钱包</header><main>"
        f'<h1>{act}</h1><p class="amount">{amount}</p><dl><dt>For / 商品</dt><dd>{escape(entry.subject)}</dd>'
        f"<dt>To / 商户</dt><dd>{escape(entry.merchant_no)}</dd>"
        f"<dt>No. / 单号</dt><dd>{escape(entry.reference)}</dd></dl>"
        f"{below}</main></body></html>"
    )

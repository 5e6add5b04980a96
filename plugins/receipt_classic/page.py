"""The receipt as one HTML page: no script, nothing loaded from elsewhere, readable aloud and in print."""

from __future__ import annotations

from html import escape
from typing import Final

import segno

from platform_core.contracts.payments import ReceiptToRender

from .money import amount, with_currency
from .words import Words

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;max-width:26rem;margin:1.5rem auto}"
    "main{padding:0 1rem}"
    "h1{font-size:1.25rem;margin:0}table{width:100%;border-collapse:collapse;margin:1rem 0}"
    "th,td{text-align:left;padding:.25rem 0;border-bottom:1px solid #ccc;font-weight:400;vertical-align:top}"
    "th:last-child,td:last-child{text-align:right}tfoot th,tfoot td{font-weight:700;border:0}"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem 1rem;margin:1rem 0}dd{margin:0;text-align:right}"
    "svg{display:block;margin:.5rem auto}figure{margin:1rem 0;text-align:center}"
)


def page(receipt: ReceiptToRender, *, words: Words, paid_at: str, footer: str) -> bytes:
    """UTF-8. Every word of the merchant's is escaped; the invoice's code leads to an https address or is left out."""
    card, currency = receipt.merchant_card, receipt.total.currency
    title = f"{words.title} {receipt.out_trade_no}"
    about = " · ".join(escape(part) for part in (card.store, card.phone) if part)
    lines = "".join(
        f"<tr><td>{escape(line.name)}</td><td>{line.quantity}</td><td>{amount(line.net_minor, currency)}</td></tr>"
        for line in receipt.lines
    )
    facts = [(words.order, receipt.out_trade_no), (words.paid_at, paid_at)]
    facts += [(words.form(tender.form), with_currency(tender.amount)) for tender in receipt.tenders]
    if receipt.points_earned is not None:
        facts.append((words.points, str(receipt.points_earned)))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    text = (
        f'<!doctype html><html lang="{words.language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><header><h1>{escape(card.name)}</h1><p>{about}</p></header>"
        f'<table><thead><tr><th scope="col">{words.item}</th><th scope="col">{words.quantity}</th>'
        f'<th scope="col">{words.amount}</th></tr></thead><tbody>{lines}</tbody><tfoot><tr>'
        f'<th scope="row" colspan="2">{words.total}</th><td>{with_currency(receipt.total)}</td></tr></tfoot></table>'
        f"<dl>{listed}</dl>{_invoice(receipt, words)}<p>{escape(footer)}</p></main></body></html>"
    )
    return text.encode()


def _invoice(receipt: ReceiptToRender, words: Words) -> str:
    url = invoice_url(receipt)
    if url is None:
        return ""
    drawn = segno.make(url, error="m", micro=False).svg_inline(scale=3, border=4, title=words.invoice)
    return f'<figure>{drawn}<figcaption><a href="{escape(url)}">{words.invoice}</a></figcaption></figure>'


def invoice_url(receipt: ReceiptToRender) -> str | None:
    """Where the customer asks for an invoice; only https, since it is made into a link and a code."""
    url = receipt.invoice_ticket_url
    return url if url is not None and url.startswith("https://") else None

"""The receipt as a PDF of one page."""

from __future__ import annotations

import segno

from platform_core.contracts.payments import ReceiptToRender

from .money import amount, with_currency
from .page import invoice_url
from .pdf import Sheet
from .words import Words


def document(receipt: ReceiptToRender, *, words: Words, paid_at: str, footer: str) -> bytes:
    """The same facts as the page, in the same order."""
    card, currency = receipt.merchant_card, receipt.total.currency
    sheet = Sheet()
    sheet.text(card.name, size=14)
    about = " · ".join(part for part in (card.store, card.phone) if part)
    if about:
        sheet.text(about, size=9)
    sheet.rule()
    for line in receipt.lines:
        sheet.text(f"{line.name} × {line.quantity}", size=10, right=amount(line.net_minor, currency))
    sheet.rule()
    sheet.text(words.total, size=12, right=with_currency(receipt.total))
    sheet.space(6)
    sheet.text(words.order, size=9, right=receipt.out_trade_no)
    sheet.text(words.paid_at, size=9, right=paid_at)
    for tender in receipt.tenders:
        sheet.text(words.form(tender.form), size=9, right=with_currency(tender.amount))
    if receipt.points_earned is not None:
        sheet.text(words.points, size=9, right=str(receipt.points_earned))
    url = invoice_url(receipt)
    if url is not None:
        sheet.space(8)
        rows = segno.make(url, error="m", micro=False).matrix_iter(border=4)
        sheet.squares([[bool(module) for module in row] for row in rows], side=2.5)
        sheet.text(words.invoice, size=9)
    sheet.space(6)
    sheet.text(footer, size=9)
    return sheet.document(title=f"{words.title} {receipt.out_trade_no}", language=words.language)

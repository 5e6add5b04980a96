"""The hook: the same receipt as a page or as a document."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import ReceiptToRender
from platform_core.contracts.plugin import HookContext
from platform_core.contracts.results import Rendered

from .document import document
from .page import page
from .words import ZH, words_for


@hookimpl
def render_receipt(ctx: HookContext, receipt: ReceiptToRender) -> Rendered:
    """Draw it in the receipt's language and the merchant's time zone. The total is stated as it was given."""
    words = words_for(receipt.locale)
    footer = str(ctx.config.get("footer_zh", "谢谢惠顾") if words is ZH else ctx.config.get("footer_en", "Thank you"))
    local = receipt.paid_at.astimezone(ZoneInfo(receipt.time_zone))
    paid_at = f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"
    if receipt.media_type == "application/pdf":
        blob = document(receipt, words=words, paid_at=paid_at, footer=footer)
        return Rendered(media_type="application/pdf", blob=blob, total=receipt.total)
    blob = page(receipt, words=words, paid_at=paid_at, footer=footer)
    return Rendered(media_type="text/html; charset=utf-8", blob=blob, total=receipt.total)

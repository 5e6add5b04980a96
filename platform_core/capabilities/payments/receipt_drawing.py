"""Having a receipt drawn: the merchant's plugin is asked, what it drew is judged, the built-in template stands behind.

Never inside a transaction; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from platform_core.capabilities.payments import receipt_template
from platform_core.capabilities.payments.receipt_facts import MediaType, ReceiptFacts, payload_of
from platform_core.capabilities.payments.screening import RENDER, Drawn, OrderPlugins
from platform_core.contracts.fields import Money
from platform_core.contracts.results import RENDERED_BYTES_MAX, Rendered
from platform_core.contracts.runtime import FaultKind
from platform_core.kernel.i18n import Language

log = structlog.get_logger(__name__)
HTML: Final[MediaType] = "text/html"
PDF_MAGIC: Final = b"%PDF-"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A document that may be shown, and what is to be remembered of how it came about."""

    media_type: MediaType
    content: bytes
    plugin_id: str | None
    plugin_version: str | None
    degraded: Sequence[Mapping[str, str]]
    parts: Sequence[object]
    """What the plugin's call left behind for the plan."""


async def draw(
    plugins: OrderPlugins | None, facts: ReceiptFacts, *, media_type: MediaType, language: Language
) -> Drawing:
    """The plugin's document; the built-in page if there is no plugin, it failed, or what it drew may not be shown.

    The built-in page is HTML whatever was asked for. `facts` bring the ledger's total, which the document must state.
    """
    if plugins is None or not plugins.asks(RENDER):
        return _built_in(facts, language)
    payload = payload_of(facts, locale=language, media_type=media_type)
    drawn = await plugins.render(
        RENDER, payload, media_type=media_type, total=payload.total, bytes_max=RENDERED_BYTES_MAX
    )
    if drawn.rendered is None:
        return _built_in(facts, language, degraded=drawn.degraded, parts=drawn.parts)
    fault = fault_of(drawn.rendered, media_type=media_type, total=payload.total)
    if fault is not None:
        return _built_in(facts, language, degraded=[*drawn.degraded, _refused(drawn, facts, fault)])
    content = drawn.rendered.blob
    return Drawing(media_type, content, drawn.plugin_id, drawn.version, drawn.degraded, drawn.parts)


def fault_of(rendered: Rendered, *, media_type: MediaType, total: Money) -> str | None:
    """Why a drawing may not be shown; None when it may. What the bytes say is the reader's risk, not ours: they are
    served as strangers' content.
    """
    if rendered.media_type.partition(";")[0] != media_type:
        return f"{rendered.media_type} came, {media_type} was asked for"
    if rendered.total != total:
        return f"it states the total {rendered.total}, the ledger's is {total}"
    if not 0 < len(rendered.blob) <= RENDERED_BYTES_MAX:
        return f"{len(rendered.blob)} bytes came, 1 to {RENDERED_BYTES_MAX} may be shown"
    if media_type == HTML:
        return None if _is_utf8(rendered.blob) else "it is not UTF-8"
    return None if rendered.blob.startswith(PDF_MAGIC) else "it does not begin like a PDF"


def _is_utf8(blob: bytes) -> bool:
    try:
        blob.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refused(drawn: Drawn, facts: ReceiptFacts, fault: str) -> Mapping[str, str]:
    plugin_id, version = drawn.plugin_id or "", drawn.version or ""
    log.warning("receipt.drawing_refused", receipt_id=facts.receipt_id, plugin=plugin_id, version=version, fault=fault)
    return {"plugin_id": plugin_id, "version": version, "hook": RENDER, "fault": str(FaultKind.BAD_RESULT)}


def _built_in(
    facts: ReceiptFacts,
    language: Language,
    *,
    degraded: Sequence[Mapping[str, str]] = (),
    parts: Sequence[object] = (),
) -> Drawing:
    return Drawing(HTML, receipt_template.draw(facts, language), None, None, degraded, parts)

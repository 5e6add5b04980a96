"""What the till or the customer must do now, as it is stored and shown."""

from __future__ import annotations

from typing import Any

from platform_core.contracts.payments import InvokeApp, NextAction, Redirect, ShowQr, Wait


def action_of(action: NextAction | None) -> dict[str, Any] | None:
    """What the till or the customer must do, as it is stored and shown."""
    if action is None:
        return None
    if isinstance(action, Wait):
        return {"type": "wait", "poll_after_s": int(action.poll_after_s) or 1}
    expiry = action.expires_at.isoformat().replace("+00:00", "Z")
    if isinstance(action, ShowQr):
        return {"type": "show_qr", "code": action.code, "expires_at": expiry}
    if isinstance(action, Redirect):
        fields = dict(action.fields)
        return {"type": "redirect", "url": action.url, "method": action.method, "fields": fields, "expires_at": expiry}
    assert isinstance(action, InvokeApp)
    return {"type": "invoke_app", "payload": action.payload, "expires_at": expiry}

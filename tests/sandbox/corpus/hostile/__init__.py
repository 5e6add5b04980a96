"""A plugin that does harm wherever it can: one mode for each behaviour, named by the call's `subject`.

It knows everything about its victim (`risk_context`: paths, process ids, ports, addresses): an attacker who has to
guess would prove less. All modes are bounded in time and size. A mode that the sandbox refuses ends in OSError, says so
in its log and answers like an honest plugin.
"""

import json
from pathlib import Path

from platform_core.contracts.hooks import hookimpl

from . import asks, boot, crashes, exhaustion, kernel, network, reads, tampering, values, wire
from .attack import At

MODES = {
    name: mode
    for module in (asks, crashes, exhaustion, kernel, network, reads, tampering, values, wire)
    for name, mode in module.MODES.items()
}
_BOOT = Path(__file__).with_name("boot.json")


def _attack(ctx, payload, mode, known):
    at = At(ctx, payload, known)
    if mode == "benign":
        return at.honest()
    try:
        value = MODES[mode](at)
    except OSError as refused:
        at.note(refused)
        value = None
    return at.honest() if value is None else value


@hookimpl
def check_payment(ctx, payment):
    return _attack(ctx, payment, payment.subject, payment.risk_context or {})


@hookimpl
def amend_basket(ctx, basket):
    return _attack(ctx, basket, basket.store_id, {})


@hookimpl
def render_receipt(ctx, receipt):
    return _attack(ctx, receipt, receipt.out_trade_no, {})


if _BOOT.exists():
    boot.run(json.loads(_BOOT.read_text()), globals())

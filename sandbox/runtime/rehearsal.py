"""Calls of a plugin that does nothing, in the zygote, before any worker is forked.

CPython 3.11 rewrites a function's code while it runs for the first times: it counts, then puts specialised instructions
in place (PEP 659). A worker in which that happens copies each page it happens on and keeps it for itself; where it has
happened before the fork, all workers share the result, and their first call is as quick as the others.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.results import Verdict
from sandbox.runtime import frames
from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.worker_line import HostGone, Line
from sandbox.runtime.worker_plugin import Loaded, leave, register

TIMES: Final = 64
"""More than the interpreter counts before it settles: 8 calls of a function, and 32 of an instruction that it could not
specialise at first (CPython 3.11, pycore_code.h)."""
_RELEASE: Final = WorkerRelease(
    plugin_id="arsenal.zygote.rehearsal",
    version="1.0.0",
    folder=Path("/nonexistent/tree"),
    module="rehearsal",
    tree_hash="0" * 64,
)
_CONTEXT: Final = (
    b'{"call_id":"cal_0","hook":"check_payment","contract":"1.0","store_id":null,"now":"2026-01-01T00:00:00Z",'
    b'"deadline_ms":150,"idempotency_key":"key_0"}'
)


def rehearse(serve: Callable[[Line, Loaded], None]) -> None:
    """Register a plugin that does nothing, and have `serve` answer calls of it until the channel ends; often."""
    plugin = ModuleType("rehearsal")
    vars(plugin)["check_payment"] = hookimpl(_check_payment)
    for _ in range(TIMES):
        loaded = register(plugin, _RELEASE)
        leave(plugin)
    host, worker = socket.socketpair()
    with host, worker:
        line = Line(worker)
        host.sendall(frames.configure_frame(merchant_id="mer_0", mode="test", locale="en", revision=1, config=b"{}"))
        for number in range(TIMES):
            host.sendall(_call(b"%032x" % number))
            host.sendall(_told(f"{number:032x}"))
        host.shutdown(socket.SHUT_WR)
        try:
            serve(line, loaded)
        except HostGone:
            return


def _check_payment(ctx: Any, payment: Any) -> Verdict:  # Any: a HookContext and the payload; annotations are not read
    ctx.state.get("velocity")
    return Verdict.review("rehearsal", f"Asked at {ctx.now:%H:%M} about {payment.withheld}.")


_check_payment.__name__ = "check_payment"


def _call(call_id: bytes) -> bytes:
    body = b'%b%b","handle":"%b","deadline_ms":150,"ctx":%b,"args":{"subject":"-"}}' % (
        frames.call_prefix("check_payment", 1),
        call_id,
        call_id,
        _CONTEXT,
    )
    return frames.frame(body)


def _told(call_id: str) -> bytes:
    return frames.told_frame(call_id=call_id, sequence=1, value=b"null", code=None, hint="", blobs=())

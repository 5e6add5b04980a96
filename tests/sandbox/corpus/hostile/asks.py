"""Capabilities: asking for what is not given, by `ctx` and past it."""

import gc
import json
import math
import threading

from platform_core.contracts.plugin import Refused

from .attack import KEPT, collect, park
from .wire import OTHER_ID, begun, pack, result, send

MODES, mode = collect()


def ask(at, **changed):
    """A capability frame."""
    return pack(ask_text(at, **changed))


def ask_text(at, **changed):
    """Its JSON."""
    call = begun()
    frame = {
        "t": "capability",
        "id": call.id,
        "sequence": 1,
        "handle": call.handle,
        "operation": "payments.get",
        "arguments": {"id": at.own_payment},
    }
    return json.dumps(frame | changed).encode()


def asks(name, make):
    """A mode that writes what `make` gives past the clients and never comes back."""

    def writes(at):
        parts = make(at)
        send(*(parts if isinstance(parts, tuple) else (parts,)))
        park()

    writes.__name__ = name
    mode(writes)


asks("invented_handle", lambda at: ask(at, handle="f" * 32))
asks("short_handle", lambda at: ask(at, handle="f"))
asks("forged_ask_id", lambda at: ask(at, id=OTHER_ID))
asks("sequence_ahead", lambda at: ask(at, sequence=50))
asks("sequence_zero", lambda at: ask(at, sequence=0))
asks("sequence_huge", lambda at: ask(at, sequence=1 << 70))
asks("arguments_array", lambda at: ask(at, arguments=[1]))
asks("arguments_nan", lambda at: ask(at, arguments={"id": math.nan}))
asks("arguments_overflow", lambda at: pack(ask_text(at, arguments={"id": "many"}).replace(b'"many"', b"1e999")))
asks(
    "arguments_underflow", lambda at: pack(ask_text(at, arguments={"x": [{"y": "many"}]}).replace(b'"many"', b"-1e999"))
)
asks("ask_extra_key", lambda at: ask(at, merchant_id="mer_b"))
asks("ask_too_large", lambda at: ask(at, arguments={"id": "x" * 70_000}))
asks("operation_empty", lambda at: ask(at, operation=""))
asks("operation_long", lambda at: ask(at, operation="x" * 5_000))
asks("ask_with_blobs", lambda at: (ask(at, blobs=[3]), pack(b"abc", kind=2)))
asks("ask_ahead", lambda at: tuple(ask(at, sequence=number) for number in range(1, 51)))
asks("ask_with_answer", lambda at: (ask(at), pack(result(at))))
asks("half_ask", lambda at: ask(at)[:30])


@mode
def stale_token(at):
    """Step 2 shows the handle of step 1."""
    handle = begun().handle
    if at.step == 1:
        KEPT["handle"] = handle
        return
    send(ask(at, handle=KEPT["handle"]))
    park()


@mode
def kept_context(at):
    """Step 2 uses the `ctx` of step 1."""
    if at.step == 1:
        KEPT["ctx"] = at.ctx
        return
    try:
        at.loot(KEPT["ctx"].call("payments.get", id=at.own_payment))
    except RuntimeError:
        return


@mode
def revived_context(at):
    """Step 2 takes the `ctx` of step 1 and sets back what says that it is over."""
    if at.step == 1:
        KEPT["ctx"] = at.ctx
        begun()
        return
    clients = KEPT["ctx"].clients
    clients._is_over = False
    clients.call("payments.get", {"id": at.own_payment})


@mode
def thread_asks_late(at):
    """A thread that outlives the call asks on."""
    ctx = at.ctx

    def on():
        for _ in range(20):
            try:
                ctx.call("payments.refund", id=at.own_payment)
            except (Refused, RuntimeError):
                continue

    if at.step == 1:
        threading.Timer(0.05, on).start()


def _tries(at, operation, **arguments):
    try:
        at.loot(at.ctx.call(operation, **arguments))
    except Refused as refused:
        at.loot(f"refused {refused.code}")


@mode
def scope(at):
    """An operation that was not granted; where the host's objects are within reach, past the gate."""
    _tries(at, "payments.refund", id=at.own_payment)
    for each in gc.get_objects():
        if type(each).__name__ == "Books":
            each.refund(at.own_payment)


@mode
def other_merchants_payment(at):
    _tries(at, "payments.get", id=at.other_payment)
    for each in gc.get_objects():
        if type(each).__name__ == "Books":
            at.loot(each.payments[at.other_payment])


@mode
def merchant_in_arguments(at):
    _tries(at, "payments.get", id=at.other_payment, merchant_id="mer_b")


@mode
def operation_injected(at):
    _tries(at, "payments.get'; drop table payments; --\n\x1b[2J", id=at.own_payment)


@mode
def internal_operation(at):
    for operation in ("__class__", "tell", "books.refund", "../payments.refund", "payments.refund\0"):
        _tries(at, operation, id=at.own_payment)


@mode
def capflood(at):
    """A hundred thousand, or as many as the host allows."""
    for _ in range(100_000 if at.level > 0 else 500):
        at.ctx.call("payments.get", id=at.own_payment)


@mode
def egress_in_decision(at):
    try:
        at.loot(at.ctx.egress.fetch("GET", f"http://127.0.0.1:{at.tcp_port}/").body)
    except Refused as refused:
        at.loot(f"refused {refused.code}")


@mode
def huge_arguments(at):
    """By the clients, which know the limit."""
    _tries(at, "payments.get", id="x" * 70_000)

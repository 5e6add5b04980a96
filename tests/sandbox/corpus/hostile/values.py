"""What a hook returns, and what it writes: values that are not what they seem, text that is more than text."""

import asyncio
import os
import sys

from platform_core.contracts.results import BasketOperations, Discount, Rendered, Verdict

from .attack import KEPT, LIBC, collect

MODES, mode = collect()


def returns(name, make):
    def gives(at):
        return make(at)

    gives.__name__ = name
    mode(gives)


class Liar:
    """Says that it is whatever it is asked for, and equal to everything."""

    __class__ = Verdict
    decision = "allow"
    score = 10**9
    reasons = ()

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __bool__(self):
        raise RuntimeError("neither")

    def __reduce__(self):
        return os.system, ("mkdir /tmp/arsenal-corpus-reduced",)


class LoudVerdict(Verdict):
    """A verdict of its own kind with more than a verdict has."""

    model_config = {"extra": "allow"}

    def model_dump(self, **_):
        return {"decision": "allow", "approved_by": "operator"}


async def _later():
    return Verdict.allow()


def _generator():
    yield Verdict.allow()


class Text(str):
    """Text that changes with every look."""

    def __str__(self):
        return "deny"

    def __len__(self):
        return 1


returns("bad_verdict", lambda at: {"decision": "approve", "score": 1, "reasons": []})
returns("plain_dict", lambda at: {"decision": "allow", "score": 1, "reasons": [], "approved_by": "operator"})
returns("nothing_at_all", lambda at: False)
returns("awaitable", lambda at: _later())
returns("future", lambda at: asyncio.new_event_loop().create_future())
returns("generator", lambda at: _generator())
returns("liar", lambda at: Liar())
returns("subclass", lambda at: LoudVerdict(decision="allow", score=3, approved_by="operator"))
returns("unchecked_score", lambda at: Verdict.model_construct(decision="allow", score=10**9, reasons=()))
returns("negative_score", lambda at: Verdict.model_construct(decision="allow", score=-1, reasons=()))
returns("float_score", lambda at: Verdict.model_construct(decision="allow", score=float("nan"), reasons=()))
returns("unchecked_decision", lambda at: Verdict.model_construct(decision="approve", score=1, reasons=()))
returns("deny_without_reason", lambda at: Verdict.model_construct(decision="deny", score=1, reasons=()))
returns("wrong_result_type", lambda at: BasketOperations())
returns("text_of_its_own", lambda at: Verdict.model_construct(decision=Text("allow"), score=1, reasons=()))
returns("own_class", lambda at: Verdict)
returns("module", lambda at: sys)
returns("big_value", lambda at: {"decision": "allow", "score": 1, "reasons": ["x" * 1000] * 1000})


@mode
def ring(at):
    """A value that contains itself."""
    held = []
    held.append(held)
    return Verdict.model_construct(decision="allow", score=1, reasons=held)


@mode
def negative_discount(at):
    discount = Discount.model_construct(type="discount", line_id=None, amount_minor=-100, funder="merchant",
                                        rule_id="r", label="l")  # fmt: skip
    return BasketOperations.model_construct(operations=(discount,))


@mode
def many_discounts(at):
    one = Discount(amount_minor=1, rule_id="r", label="l")
    return BasketOperations.model_construct(operations=(one,) * 1000)


@mode
def huge_blob(at):
    return Rendered.model_construct(media_type="text/html", blob=b"x" * (3 * 1024 * 1024), total=None, number=None)


@mode
def media_type_injected(at):
    return Rendered.model_construct(media_type="text/html\r\nSet-Cookie: a=b", blob=b"x", total=None, number=None)


@mode
def patched_serializer(at):
    """Pydantic's own tools in this process say something else from now on."""
    honest = Verdict.__pydantic_serializer__

    class Other:
        def to_json(self, *_, **__):
            return b'{"decision":"allow","score":1,"reasons":[],"approved_by":"operator"}'

        def to_python(self, *_, **__):
            return {"decision": "allow"}

        def __getattr__(self, name):
            return getattr(honest, name)

    frame = sys._getframe()
    while frame is not None:
        result = getattr(frame.f_locals.get("target"), "result", None)
        if result is not None:
            result.serializer = Other()
        frame = frame.f_back


@mode
def log_injection(at):
    """Lines that look like the host's own, and orders to the terminal of whoever reads them."""
    os.write(2, b'ok\r\n{"event": "refund approved", "level": "info"}\n\x1b[2J\x1b]0;owned\x07\n')
    os.write(2, "\u202eright to left\u2028line\u0085\x00\n".encode())


@mode
def log_binary(at):
    os.write(2, bytes(range(256)) * 8)


@mode
def log_closed(at):
    """The log is gone; what is printed later has nowhere to go."""
    os.close(1)
    os.close(2)
    print("nobody hears this")


@mode
def log_through_c(at):
    """Past Python's own streams."""
    for number in range(200):
        LIBC.puts(f"line {number} of libc".encode())
    LIBC.fflush(None)


@mode
def patched_streams(at):
    sys.stdout = sys.stderr = sys.stdin = None
    KEPT["streams"] = True

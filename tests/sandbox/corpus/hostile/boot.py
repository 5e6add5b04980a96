"""What a plugin does while it is imported; the mode and what it knows come in `boot.json` beside it."""

import json
import os
import sys
import threading
import time
from types import SimpleNamespace

from platform_core.contracts.hooks import hookimpl

from . import crashes, exhaustion, kernel, network, reads, tampering
from .wire import CHANNEL, pack, park

MODES = {}
_READY = {"t": "ready", "hooks": ["amend_basket", "check_payment", "render_receipt"], "providers": [], "import_ms": 1.0}
_LOCKED = {
    "t": "locked", "level": 4, "landlock_abi": 9, "has_seccomp": True, "namespaces": [], "uid": 1, "holes": [],
    "lock_ms": 0.1,
}  # fmt: skip


class _At(SimpleNamespace):
    """As far as the other modules need it without a call."""

    def loot(self, *things):
        from .attack import At

        At.loot(self, *things)

    def note(self, error):
        os.write(2, f"refused: {error}\n".encode())


def run(told, names):
    """Do it; `names` are those of the plugin's module."""
    mode, at = told["mode"], _At(**told["known"])
    if mode in MODES:
        MODES[mode](at, names)
        return
    for module in (reads, tampering, network, kernel, exhaustion, crashes):
        if mode in module.MODES:
            try:
                module.MODES[mode](at)
            except OSError as refused:
                at.note(refused)
            return
    raise LookupError(mode)


def boot(function):
    MODES[function.__name__] = function
    return function


def _write(*frames):
    if "sandbox.runtime.worker" in sys.modules:  # Elsewhere there is no channel.
        os.write(CHANNEL, b"".join(frames))


def _write_and_stay(*frames):
    if "sandbox.runtime.worker" in sys.modules:
        _write(*frames)
        park()


@boot
def boot_locked(at, names):
    _write(pack(_LOCKED))


@boot
def boot_ready(at, names):
    """A report before the real one, which then comes as well."""
    _write(pack(_READY))


@boot
def boot_ready_alone(at, names):
    """A report, and the loop that would send the real one never goes on."""
    _write_and_stay(pack(_READY))


@boot
def boot_garbage(at, names):
    _write(b"\xff" * 100)


@boot
def boot_lenbomb(at, names):
    _write(b"\x01\xff\xff\xff\xff")


@boot
def boot_result(at, names):
    _write(pack({"t": "result", "id": "0" * 32, "value": None}))


@boot
def boot_ansi(at, names):
    raise RuntimeError("no\n[info] plugin approved\x1b[2J\u202e")


@boot
def boot_ansi_raw(at, names):
    """The same without the worker's help."""
    _write_and_stay(
        pack({"t": "failed", "error_type": "E\x1b[2J", "detail": "no\n[info] plugin approved\x1b[2J\u202e"})
    )


@boot
def boot_ansi_hooks(at, names):
    _write_and_stay(pack(_READY | {"hooks": ["check_payment\n\x1b[2J[info] plugin approved"]}))


@boot
def boot_overflow(at, names):
    _write_and_stay(pack(json.dumps(_READY).replace("1.0", "1e999").encode()))


@boot
def boot_sleep(at, names):
    time.sleep(at.seconds)


@boot
def boot_fewer_hooks(at, names):
    del names["render_receipt"]


@boot
def boot_more_hooks(at, names):
    @hookimpl
    def check_refund(ctx, refund):
        return None

    names["check_refund"] = check_refund


@boot
def boot_coroutine(at, names):
    @hookimpl
    async def check_payment(ctx, payment):
        return None

    names["check_payment"] = check_payment


@boot
def boot_generator(at, names):
    @hookimpl
    def check_payment(ctx, payment):
        yield None

    names["check_payment"] = check_payment


@boot
def boot_wrapper(at, names):
    @hookimpl(wrapper=True)
    def check_payment(ctx, payment):
        return (yield)

    names["check_payment"] = check_payment


@boot
def boot_tryfirst(at, names):
    @hookimpl(tryfirst=True)
    def check_payment(ctx, payment):
        return None

    names["check_payment"] = check_payment


@boot
def boot_arguments(at, names):
    @hookimpl
    def check_payment(ctx, payment, database):
        return None

    names["check_payment"] = check_payment


@boot
def boot_getattr(at, names):
    """A module whose every attribute is a lie, or an error."""

    def getattr_(name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise KeyError("nothing is what it seems")

    names["__getattr__"] = getattr_
    names["__dir__"] = lambda: ["check_payment", "check_refund", "surprise"]


@boot
def boot_replaced_module(at, names):
    """An object of its own stands where the module should."""

    class Module:
        def __getattr__(self, name):
            raise RuntimeError(f"no {name}")

    sys.modules[names["__name__"]] = Module()


@boot
def boot_thread(at, names):
    """A thread that burns from the import on."""

    def burn():
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            pass

    threading.Thread(target=burn, daemon=True).start()


@boot
def boot_shadow(at, names):
    """Another json for whoever imports it later."""
    sys.modules["json"] = sys.modules["pluggy"] = SimpleNamespace(dumps=lambda *_: "{}", loads=lambda *_: {})


@boot
def boot_meta_path(at, names):
    """Whatever is imported from now on passes here."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            raise ImportError(f"{name} is not for you")

    sys.meta_path.insert(0, Finder())


@boot
def boot_hide_contracts(at, names):
    from platform_core.contracts import hooks

    hooks._catalogue.clear()


@boot
def boot_audit_hook(at, names):
    """Be told of everything this interpreter does, for ever."""
    sys.addaudithook(lambda name, arguments: None)


@boot
def boot_patched_worker(at, names):
    """The worker's own report says what the plugin wants."""
    module = sys.modules.get("sandbox.runtime.worker_line")
    if module is not None:
        module.Line.send = lambda self, body: _write(pack(_READY | {"hooks": ["*"]}))

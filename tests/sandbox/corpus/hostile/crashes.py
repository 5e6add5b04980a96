"""Ending the process, or its thread, in every way."""

import ctypes
import faulthandler
import gc
import os
import signal
import sys
import threading

from .attack import collect

MODES, mode = collect()


@mode
def raise_error(at):
    raise ValueError("the plugin is broken")


@mode
def raise_base(at):
    class Special(BaseException):
        pass

    raise Special("past every except Exception")


@mode
def keyboard_interrupt(at):
    raise KeyboardInterrupt


@mode
def sysexit(at):
    sys.exit(3)


@mode
def raise_host_gone(at):
    """The very exception by which the worker's loop learns that nobody listens any more."""
    found = sys.modules.get("sandbox.runtime.worker_line")
    raise (found.HostGone if found else SystemExit)()


@mode
def recursion(at):
    def deeper(depth):
        return deeper(depth + 1) + 1

    deeper(0)


@mode
def big_exception(at):
    raise ValueError("x" * (10 * 1024 * 1024))


@mode
def hostile_exception(at):
    """An exception that raises when it is looked at."""

    class Meta(type):
        @property
        def __name__(cls):
            raise RuntimeError("no name")

    class Hostile(Exception, metaclass=Meta):
        def __str__(self):
            raise RuntimeError("no text")

        def __getattribute__(self, name):
            raise RuntimeError("no attribute")

    raise Hostile


@mode
def long_name(at):
    """Its name is far longer than any field for it, and no text."""
    raise type("N\x1b[31m" + "\n" * 300 + "é" * 5000, (Exception,), {})("a\nb\x1b[2J\u202e\ud800" + "c" * 500)


@mode
def error_chain(at):
    """Exceptions that cause each other, in a ring."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise ExceptionGroup("many", [one, two] * 1000)


@mode
def osexit(at):
    os._exit(7)


@mode
def thread_exit(at):
    threading.Thread(target=os._exit, args=(9,)).start()
    threading.Event().wait(5)


@mode
def segv(at):
    faulthandler.disable()
    ctypes.string_at(1)


@mode
def abort(at):
    faulthandler.disable()
    os.abort()


@mode
def stack_overflow(at):
    """Recursion in C, until the stack is gone."""
    sys.setrecursionlimit(10**9)
    nested = []
    for _ in range(2_000_000):
        nested = [nested]
    repr_of = type("R", (), {"__repr__": lambda self: repr(self)})
    repr(repr_of())


@mode
def corrupt_interpreter(at):
    """Make None mean something else."""
    ctypes.memset(id(None), 0, 16)
    gc.collect()


@mode
def signal_self(at):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


@mode
def kill_self(at):
    signal.raise_signal(signal.SIGKILL)


@mode
def stop_self(at):
    signal.raise_signal(signal.SIGSTOP)


@mode
def close_everything(at):
    """Close every descriptor, the channel among them."""
    os.closerange(0, 64)

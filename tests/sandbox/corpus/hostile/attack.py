"""What all modes share."""

import base64
import contextlib
import ctypes
import os
import time

from platform_core.contracts.results import Verdict

LIBC = ctypes.CDLL(None, use_errno=True)
KEPT = {}
"""What one call leaves for the next."""


class At:
    """One attack."""

    def __init__(self, ctx, payload, known):
        self.ctx = ctx
        self.payload = payload
        self.known = known

    def __getattr__(self, name):
        return self.known[name]

    def honest(self):
        """What this plugin answers when it behaves: a figure that depends on the call and on the merchant."""
        return Verdict.allow(score=(self.payload.amount.amount_minor + self.ctx.config["salt"]) % 101)

    def loot(self, *things):
        """Carry things out by the log, the plugin's rightful output."""
        for thing in things:
            raw = thing if isinstance(thing, bytes) else str(thing).encode("utf-8", "replace")
            os.write(2, b"LOOT " + base64.b64encode(raw[:2400]) + b"\n")

    def note(self, error):
        """Say what was refused."""
        with contextlib.suppress(OSError):
            os.write(2, f"refused: {type(error).__name__} {error.errno}\n".encode())


def collect():
    """A table of modes and the decorator that fills it."""
    modes = {}

    def mode(function):
        modes[function.__name__] = function
        return function

    return modes, mode


def syscall(number, *arguments):
    """A kernel call by its number; OSError as `os` raises it."""
    if os.uname().machine != "x86_64":
        raise OSError(38, "no number is known here")
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *given)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def park():
    """Never come back; the host ends it."""
    while True:
        time.sleep(60)


def read(path):
    """The first bytes of a file, by plain calls."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 2400)
    finally:
        os.close(descriptor)

"""Using up what others need. Each ends by itself: a host without a sandbox has to survive the proof."""

import hashlib
import itertools
import os
import re
import socket
import sys
import threading
import time

from .attack import KEPT, collect

MODES, mode = collect()
MIB = 1024 * 1024


@mode
def loop(at):
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        pass


@mode
def deaf_loop(at):
    """The same with every exception swallowed and every signal ignored that can be."""
    import signal

    for number in set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        try:
            while time.monotonic() < until:
                pass
        except BaseException:
            continue


@mode
def cloop(at):
    """In C, deaf to anything of Python's."""
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        sum(itertools.repeat(1, 20_000_000))


@mode
def regex(at):
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        re.match(r"(a+)+$", "a" * 21 + "!")


@mode
def hashing(at):
    """In C, without the interpreter's lock."""
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 200_000)


@mode
def sleep(at):
    time.sleep(at.seconds)


@mode
def deadlock(at):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=at.seconds)


@mode
def membomb(at):
    held = [bytearray(os.urandom(1) * (16 * MIB)) for _ in range(24)]
    time.sleep(0.1)
    del held


@mode
def memory_in_c(at):
    """Past Python's own accounting."""
    import mmap

    held = []
    for _ in range(24):
        place = mmap.mmap(-1, 16 * MIB)
        for page in range(0, 16 * MIB, 4096):
            place[page] = 1
        held.append(place)
    time.sleep(0.1)


@mode
def leak(at):
    """Keep a little more with every call."""
    KEPT.setdefault("leaked", []).append(bytearray(b"x" * (8 * MIB)))


@mode
def threads(at):
    stop = threading.Event()
    started = []
    try:
        for _ in range(150):
            thread = threading.Thread(target=stop.wait, args=(0.6,), daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as refused:
        os.write(2, f"refused after {len(started)}: {refused}\n".encode())
    time.sleep(0.2)
    stop.set()


@mode
def bg_burn(at):
    """Burn the processor after the answer."""

    def burn():
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            pass

    threading.Thread(target=burn, daemon=True).start()


@mode
def timer_burn(at):
    """The same by a signal that comes again and again."""
    import signal

    def burn(*_):
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass

    signal.signal(signal.SIGALRM, burn)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.06)
    KEPT["ends"] = time.monotonic() + 3.0


@mode
def fd_exhaust(at):
    held = KEPT.setdefault("descriptors", [])
    for _ in range(400):
        held.append(os.dup(2))


@mode
def socket_exhaust(at):
    held = KEPT.setdefault("sockets", [])
    for _ in range(200):
        held.append(socket.socketpair())


@mode
def diskfill(at):
    with open(os.path.join(at.scene, "filled"), "wb") as file:
        for _ in range(32):
            file.write(b"x" * MIB)


@mode
def inode_fill(at):
    for number in range(500):
        os.mkdir(os.path.join(at.scene, f"inode-{number}"))


@mode
def stderr(at):
    """250 MiB of log; at a host that reads it all, 4."""
    for _ in range(int(at.log_mib)):
        os.write(2, (b"x" * 1023 + b"\n") * 1024)


@mode
def log_long_line(at):
    for _ in range(int(at.log_mib)):
        os.write(2, b"y" * MIB)


@mode
def swallow_big_number(at):
    """A number whose decimal form takes for ever."""
    value = 7**3_000_000
    sys.set_int_max_str_digits(0)
    until = time.monotonic() + at.seconds
    while time.monotonic() < until:
        str(value % 10**60_000)

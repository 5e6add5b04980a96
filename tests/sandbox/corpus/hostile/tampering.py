"""Changing what is not its own: files, processes, the host's objects."""

import ctypes
import fcntl
import gc
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from .attack import LIBC, collect, syscall

MODES, mode = collect()


@mode
def mutate_args(at):
    object.__setattr__(at.payload.amount, "amount_minor", 1)
    at.payload.__dict__["subject"] = "changed"


@mode
def monkeypatch(at):
    """Take another plugin out of whatever manager there is."""
    import pluggy

    for each in gc.get_objects():
        if isinstance(each, pluggy.PluginManager):
            for plugin in list(each.get_plugins()):
                if "neighbour" in str(each.get_name(plugin)):
                    each.unregister(plugin)


@mode
def monkeypatch_results(at):
    """Make every verdict of this process say the same."""
    from platform_core.contracts.results import Verdict

    honest = Verdict.allow
    answer = at.honest()
    Verdict.allow = classmethod(lambda cls, *, score=0: honest(score=100))
    return answer


@mode
def monkeypatch_json(at):
    import json

    import pydantic_core

    json.dumps = json.loads = lambda *_, **__: {}
    pydantic_core.to_json = lambda *_, **__: b"{}"
    pydantic_core.from_json = lambda *_, **__: {}


@mode
def monkeypatch_pluggy(at):
    import pluggy

    pluggy.PluginManager.register = lambda *_, **__: None
    pluggy.HookCaller.__call__ = lambda *_, **__: []
    for each in gc.get_objects():
        if isinstance(each, pluggy.HookCaller):
            each._hookimpls.clear()


@mode
def replace_modules(at):
    """Empty every module of ours that this process holds."""
    answer = at.honest()
    for name in [each for each in sys.modules if each.startswith(("platform_core", "pydantic", "tests."))]:
        sys.modules[name] = None
    return answer


@mode
def write_outside(at):
    with open(os.path.join(at.scene, "written-by-plugin"), "wb"):
        pass


@mode
def append_to_db(at):
    """Where files may not grow, one byte is written over."""
    descriptor = os.open(at.database, os.O_RDWR)
    os.pwrite(descriptor, b"!", 0)
    os.close(descriptor)


@mode
def write_self(at):
    os.mkdir(Path(__file__).with_name("grown"))


@mode
def truncate_db(at):
    os.truncate(at.database, 3)


@mode
def truncate_by_reading(at):
    """O_RDONLY | O_TRUNC: read-only by name."""
    os.open(at.database, os.O_RDONLY | os.O_TRUNC)


@mode
def create_by_reading(at):
    os.open(os.path.join(at.scene, "created"), os.O_RDONLY | os.O_CREAT, 0o600)


@mode
def chmod_db(at):
    os.chmod(at.database, 0o777)


@mode
def chown_db(at):
    os.chown(at.database, 12345, 12345)


@mode
def utime_db(at):
    os.utime(at.database, (1, 1))


@mode
def unlink_db(at):
    os.unlink(at.database)


@mode
def rename_db(at):
    os.rename(at.database, at.database + ".gone")


@mode
def symlink(at):
    os.symlink("/etc/passwd", os.path.join(at.scene, "linked"))


@mode
def hardlink(at):
    os.link(at.key, os.path.join(at.scene, "hard"))


@mode
def make_fifo(at):
    os.mkfifo(os.path.join(at.scene, "fifo"))


@mode
def make_folder(at):
    os.mkdir(os.path.join(at.scene, "folder"))


@mode
def oom_score(at):
    descriptor = os.open(f"/proc/{at.host}/oom_score_adj", os.O_WRONLY)
    os.write(descriptor, b"500")


@mode
def poke_memory(at):
    """Write to an address of the host, as if it were one's own. Here it may be nobody's."""
    buffer = ctypes.c_long(1_000_000)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_void_p * 2)(at.balance_address, 8)
    syscall(311, at.host, local, 1, remote, 1, 0)


@mode
def kill_host(at):
    os.kill(at.host, signal.SIGKILL)
    time.sleep(0.2)


@mode
def stop_host(at):
    os.kill(at.host, signal.SIGSTOP)
    time.sleep(0.2)


@mode
def kill_pgrp(at):
    os.killpg(0, signal.SIGKILL)
    time.sleep(0.2)


@mode
def kill_host_thread(at):
    syscall(234, at.host, at.host, signal.SIGKILL)
    time.sleep(0.2)


@mode
def kill_host_by_pidfd(at):
    signal.pidfd_send_signal(os.pidfd_open(at.host), signal.SIGKILL)
    time.sleep(0.2)


@mode
def queue_signal_to_host(at):
    details = ctypes.create_string_buffer(struct.pack("=iii", signal.SIGKILL, 0, -1), 128)
    syscall(129, at.host, signal.SIGKILL, details)
    time.sleep(0.2)


@mode
def signal_by_io(at):
    """Have the kernel tell the host, by the signal of one's choice, that something can be read."""
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(ours, fcntl.F_SETOWN, at.host)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    theirs.send(b"x")
    time.sleep(0.2)


@mode
def kill_sibling(at):
    for pid in at.siblings:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)


@mode
def kill_zygote(at):
    os.kill(at.zygote, signal.SIGKILL)
    time.sleep(0.2)


@mode
def renice_host(at):
    os.setpriority(os.PRIO_PROCESS, at.host, 5)


@mode
def limit_host(at):
    import resource

    resource.prlimit(at.host, resource.RLIMIT_CORE, (0, 0))


@mode
def pin_host(at):
    """Bind the host to one processor."""
    os.sched_setaffinity(at.host, {min(os.sched_getaffinity(0))})


@mode
def atexit_handler(at):
    """What runs when the process leaves."""
    import atexit

    atexit.register(os.mkdir, os.path.join(at.scene, "at-exit"))


@mode
def set_hostname_own(at):
    """To the name it has already, so that nothing is lost where it works."""
    name = at.host_name.encode()
    if LIBC.sethostname(name, len(name)):
        raise OSError(ctypes.get_errno(), "refused")

"""Other programs, other processes, and calls where the kernel has most to attack.

Where a call could change the machine it is given arguments that the kernel refuses by themselves: what is shown is that
it is not even asked.
"""

import contextlib
import ctypes
import mmap
import os
import subprocess
import time

from .attack import LIBC, collect, syscall

MODES, mode = collect()
SECONDS = 1.5
"""How long a child lives."""


def _command(at):
    return ["/bin/sh", "-c", f"/bin/mkdir {at.scene}/by-shell"]


@mode
def exec(at):
    subprocess.run(_command(at), check=False)


@mode
def posix_spawn(at):
    os.waitpid(os.posix_spawn("/bin/sh", _command(at), {}), 0)


def _keep_channel():
    """Else the host hears the end of file, and kills the new program before it has done anything."""
    with contextlib.suppress(OSError):
        os.set_inheritable(3, True)


@mode
def execve_direct(at):
    _keep_channel()
    os.execve("/bin/sh", _command(at), {})


@mode
def execveat(at):
    """By a descriptor, where one can be had."""
    _keep_channel()
    try:
        descriptor = os.open("/bin/sh", os.O_RDONLY)
    except OSError:
        descriptor = 0
    arguments = (ctypes.c_char_p * 4)(*(each.encode() for each in _command(at)), None)
    syscall(322, descriptor, b"", arguments, (ctypes.c_char_p * 1)(None), 0x1000)


@mode
def memfd(at):
    """A program in memory that never was a file."""
    descriptor = os.memfd_create("tool")
    os.write(descriptor, b"#!/bin/sh\n")
    os.execve(descriptor, _command(at), {})


@mode
def forkbomb(at):
    for _ in range(40):
        if os.fork() == 0:
            time.sleep(SECONDS)
            os._exit(0)
    time.sleep(0.2)


def _fork_by(number, *arguments):
    for _ in range(20):
        if syscall(number, *arguments) == 0:
            time.sleep(SECONDS)
            os._exit(0)
    time.sleep(0.2)


@mode
def fork_call(at):
    _fork_by(57)


@mode
def clone_process(at):
    _fork_by(56, 17, 0, 0, 0, 0)


@mode
def clone3_process(at):
    arguments = ctypes.create_string_buffer(88)
    ctypes.c_uint64.from_buffer(arguments, 32).value = 17
    _fork_by(435, arguments, 88)


@mode
def clone_into_namespace(at):
    """A user namespace of its own."""
    _fork_by(56, 0x10000000 | 17, 0, 0, 0, 0)


@mode
def daemonize(at):
    """Outlive the worker, and be seen doing so."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for beat in range(3):
                os.mkdir(f"{at.scene}/beat-{beat}")
                time.sleep(0.1)
        os._exit(0)
    time.sleep(0.2)


@mode
def session(at):
    os.setsid()


def _run_bytes(code):
    """Run machine code out of memory that is writable and executable."""
    place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    place.write(code)
    run = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(place)))
    return run()


@mode
def memwx(at):
    at.loot(_run_bytes(b"\xb8\x2a\x00\x00\x00\xc3"))  # mov eax, 42; ret


@mode
def int80(at):
    """getpid by the 32-bit gate, whose numbers mean other calls."""
    at.loot(_run_bytes(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"))


@mode
def x32(at):
    """getpid by the x32 numbers."""
    syscall(0x40000000 + 39)


def _asks(name, number, *arguments):
    def asks(at):
        syscall(number, *arguments)

    asks.__name__ = name
    mode(asks)


_asks("iouring", 425, 1, ctypes.create_string_buffer(120))
_asks("userns", 272, 0x10000000)
_asks("setns", 308, -1, 0)
_asks("mount", 165, b"/nowhere", b"/nowhere", b"none", 0, 0)
_asks("new_mount", 430, b"no-such-filesystem", 0)
_asks("chroot", 161, b"/nowhere")
_asks("pivot_root", 155, b"/nowhere", b"/nowhere")
_asks("bpf", 321, -1, 0, 0)
_asks("perf", 298, 0, 0, -1, -1, 0)
_asks("userfaultfd", 323, 1)
_asks("keyring", 250, 0, -3, 0, 0, 0)
_asks("request_key", 249, 0, 0, 0, 0)
_asks("kernel_module", 175, 0, 0, 0)
_asks("kexec", 246, 0, 17, 0, -1)
_asks("reboot", 169, 0, 0, 0, 0)
_asks("swap", 168, 0)
_asks("port_access", 173, 70000, 1, 1)
_asks("segments", 154, 17, 0, 0)
_asks("compare_processes", 312, 1, 1, 99, 0, 0)
_asks("process_madvise", 440, -1, 0, 0, 0, 0)
_asks("set_clock", 227, 0, 0)
_asks("syslog", 103, 11, 0, 0)
_asks("accounting", 163, b"/nowhere")
_asks("quota", 179, 0, 0, 0, 0)
_asks("fanotify", 300, 0xFFFF, 0)
_asks("message_queue", 240, b"no/such", 0, 0, 0)
_asks("secret_memory", 447, 0xFFFF)
_asks("unknown_call", 9999, 0)
_asks("landlock_again", 444, 0, 0, 1)


@mode
def setuid(at):
    os.setresuid(0, 0, 0)
    os.setresgid(0, 0, 0)


@mode
def capabilities(at):
    """Ask for all of them back."""
    header = ctypes.create_string_buffer(b"\x22\x05\x08\x20\0\0\0\0", 8)
    if LIBC.capset(header, ctypes.create_string_buffer(b"\xff" * 24, 24)):
        raise OSError(ctypes.get_errno(), "refused")


@mode
def seccomp_loosen(at):
    """A second filter that allows everything; filters only ever add up."""
    program = (ctypes.c_uint64 * 1)(0x7FFF0000 << 32 | 0x06)
    fprog = (ctypes.c_void_p * 2)(1, ctypes.addressof(program))
    LIBC.prctl(22, 2, fprog)
    syscall(317, 1, 0, fprog)


@mode
def prctl_loosen(at):
    """Dumpable again, traceable by anybody, a new memory map, privileges back."""
    for option, argument in ((4, 1), (0x59616D61, -1), (35, 1), (38, 0), (1, 0), (28, 0), (26, 1)):
        LIBC.prctl(option, ctypes.c_ulong(argument), 0, 0, 0)


@mode
def setlimit(at):
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as refused:
        raise OSError(1, str(refused)) from refused


@mode
def realtime(at):
    """A priority above all others."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


@mode
def terminal(at):
    """Put words into the terminal that started the host."""
    import fcntl
    import termios

    for descriptor in (0, 1, 2):
        fcntl.ioctl(descriptor, termios.TIOCSTI, b"x")

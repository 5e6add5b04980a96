"""The seccomp filter: as a program for both architectures, and as the kernel applies it to real workers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sandbox.runtime.levels import Level
from sandbox.runtime.lockdown.calls import ABSENT, ALLOWED, FATAL, Architecture, Call
from sandbox.runtime.lockdown.filters import ALLOW, AUDIT_ARCHITECTURE, ERRNO, KILL, compile_filter
from tests.sandbox.runtime.bpf import verdict
from tests.support.confined import CONFINED, install, name_of, plugins_folder, spawning, working

ARCHITECTURES: Final[tuple[Architecture, ...]] = ("x86_64", "aarch64")
HERE: Final[Architecture] = "x86_64" if os.uname().machine == "x86_64" else "aarch64"
REFUSED: Final = ERRNO | errno.EPERM
PID: Final = 4711
# From the kernel's tables, written down a second time and by other means: a slip in one shows.
WELL_KNOWN: Final[dict[Architecture, dict[str, int]]] = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "close": 3,
        "mmap": 9,
        "rt_sigreturn": 15,
        "ioctl": 16,
        "socketpair": 53,
        "clone": 56,
        "execve": 59,
        "exit": 60,
        "ptrace": 101,
        "prctl": 157,
        "futex": 202,
        "restart_syscall": 219,
        "exit_group": 231,
        "openat": 257,
        "unshare": 272,
        "prlimit64": 302,
        "getrandom": 318,
        "io_uring_setup": 425,
        "clone3": 435,
    },
    "aarch64": {
        "getcwd": 17,
        "epoll_create1": 20,
        "epoll_pwait": 22,
        "dup": 23,
        "fcntl": 25,
        "ioctl": 29,
        "umount2": 39,
        "mount": 40,
        "chroot": 51,
        "openat": 56,
        "close": 57,
        "pipe2": 59,
        "lseek": 62,
        "read": 63,
        "write": 64,
        "newfstatat": 79,
        "fstat": 80,
        "exit": 93,
        "exit_group": 94,
        "unshare": 97,
        "futex": 98,
        "nanosleep": 101,
        "ptrace": 117,
        "restart_syscall": 128,
        "tgkill": 131,
        "rt_sigreturn": 139,
        "prctl": 167,
        "getpid": 172,
        "socketpair": 199,
        "sendto": 206,
        "brk": 214,
        "munmap": 215,
        "clone": 220,
        "execve": 221,
        "mmap": 222,
        "prlimit64": 261,
        "getrandom": 278,
        "bpf": 280,
        "statx": 291,
        "rseq": 293,
        "io_uring_setup": 425,
        "clone3": 435,
    },
}
# Numbers of calls that must be refused, by architecture: nothing here may ever slip into the allowed ones.
DANGEROUS: Final[dict[Architecture, dict[str, int]]] = {
    "x86_64": {
        "socket": 41,
        "connect": 42,
        "fork": 57,
        "vfork": 58,
        "kill": 62,
        "chmod": 90,
        "rename": 82,
        "tkill": 200,
    },
    "aarch64": {"socket": 198, "connect": 203, "bind": 200, "kill": 129, "tkill": 130, "fchmodat": 53, "renameat": 38},
}
AT_FDCWD: Final = -100
THREAD: Final = 0x3D0F00


def judge(architecture: Architecture, name: str, *arguments: int) -> int:
    """The verdict on a call by name."""
    calls = {call.name: call for call in (*ALLOWED, *ABSENT, *FATAL)}
    number = calls[name].number(architecture)
    assert number is not None
    program = compile_filter(architecture).bound_to(PID)
    return verdict(program, architecture=AUDIT_ARCHITECTURE[architecture], number=number, arguments=arguments)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_numbers_are_those_of_the_kernel(architecture: Architecture) -> None:
    """aarch64 cannot be run on every machine; its table is at least compared with well-known numbers."""
    found = {call.name: call.number(architecture) for call in (*ALLOWED, *ABSENT, *FATAL)}
    assert {name: found[name] for name in WELL_KNOWN[architecture]} == WELL_KNOWN[architecture]
    numbers = [number for number in found.values() if number is not None]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_call_says_who_needs_it(architecture: Architecture) -> None:
    calls = ALLOWED
    assert [call.name for call in calls if len(call.needed_by) < 4] == []
    assert 70 <= len([call for call in calls if call.number(architecture) is not None]) <= 100


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_other_number_is_refused(architecture: Architecture) -> None:
    program = compile_filter(architecture).bound_to(PID)
    known = {call.number(architecture) for call in (*ALLOWED, *ABSENT, *FATAL)}
    audit = AUDIT_ARCHITECTURE[architecture]
    others = [number for number in range(2000) if number not in known]
    assert {verdict(program, architecture=audit, number=number) for number in others} == {REFUSED}
    assert set(DANGEROUS[architecture].values()) <= set(others)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fatal_calls_kill_whatever_their_arguments(architecture: Architecture) -> None:
    for call in FATAL:
        if call.number(architecture) is not None:
            assert judge(architecture, call.name) == judge(architecture, call.name, *[-1] * 6) == KILL
    assert judge(architecture, "clone3") == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_another_architecture_s_call_kills(architecture: Architecture) -> None:
    program = compile_filter(architecture).bound_to(PID)
    i386, arm = 0x4000_0003, 0x4000_0028
    others = [audit for name, audit in AUDIT_ARCHITECTURE.items() if name != architecture]
    for audit in (i386, arm, 0, *others):
        assert verdict(program, architecture=audit, number=0) == KILL
    if architecture == "x86_64":
        audit = AUDIT_ARCHITECTURE[architecture]
        x32 = 0x4000_0000
        assert verdict(program, architecture=audit, number=x32 | 39) == KILL
        assert verdict(program, architecture=audit, number=-1) == KILL


# x86_64 and aarch64 number some flags of open differently.
DIRECTORY: Final[dict[Architecture, int]] = {"x86_64": 0o200000, "aarch64": 0o40000}
NOFOLLOW: Final[dict[Architecture, int]] = {"x86_64": 0o400000, "aarch64": 0o100000}
DIRECT: Final[dict[Architecture, int]] = {"x86_64": 0o40000, "aarch64": 0o200000}
CLOEXEC: Final = 0o2000000
EROFS: Final = ERRNO | errno.EROFS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_files_are_opened_for_reading_only(architecture: Architecture) -> None:
    reading = CLOEXEC | DIRECTORY[architecture] | NOFOLLOW[architecture]
    assert judge(architecture, "openat", AT_FDCWD, 0, 0) == ALLOW
    assert judge(architecture, "openat", AT_FDCWD, 0, reading) == ALLOW
    write_only, read_write, create, truncate, append = 1, 2, 0o100, 0o1000, 0o2000
    path_only, temporary = 0o10000000, 0o20000000
    for flag in (write_only, read_write, create, truncate, append, path_only, temporary, DIRECT[architecture]):
        assert judge(architecture, "openat", AT_FDCWD, 0, flag) == EROFS
        assert judge(architecture, "openat", AT_FDCWD, 0, reading | flag) == EROFS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_clone_makes_threads_only(architecture: Architecture) -> None:
    assert judge(architecture, "clone", THREAD) == ALLOW
    assert judge(architecture, "clone", 0x7D0F00) == ALLOW
    sigchld, new_user, new_pid, vfork, ptrace, parent = 17, 0x1000_0000, 0x2000_0000, 0x4000, 0x2000, 0x8000
    for flags in (0, sigchld, 0x0120_0000 | sigchld, new_user, THREAD & ~0x10000):
        assert judge(architecture, "clone", flags) == REFUSED
    for flag in (sigchld, new_user, new_pid, vfork, ptrace, parent):
        assert judge(architecture, "clone", THREAD | flag) == REFUSED


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "is_allowed"),
    [
        ("tgkill", (PID, 1, 6), True),
        ("tgkill", (PID + 1, 1, 6), False),
        ("tgkill", (-1, 1, 6), False),
        ("prlimit64", (0, 7, 0, 0x1000), True),
        ("prlimit64", (0, 7, 0x1000, 0), False),
        ("prlimit64", (0, 7, 0x1_0000_0000, 0), False),
        ("prlimit64", (PID + 1, 7, 0, 0x1000), False),
        ("socketpair", (1, 1, 0, 0), True),
        ("socketpair", (1, 1 | CLOEXEC | 0o4000, 0, 0), True),
        ("socketpair", (1, 5, 0, 0), True),
        ("socketpair", (1, 2, 0, 0), False),
        ("socketpair", (2, 1, 0, 0), False),
        ("sendto", (3, 0x1000, 5, 0, 0, 0), True),
        ("sendto", (3, 0x1000, 5, 0, 0x1000, 110), False),
        ("sendto", (3, 0x1000, 5, 0, 0x1_0000_0000, 110), False),
        ("sendto", (3, 0x1000, 5, 1, 0, 0), False),
        ("recvfrom", (3, 0x1000, 5, 0x40, 0, 0), True),
        ("recvfrom", (3, 0x1000, 5, 1, 0, 0), False),
        ("getsockopt", (3, 1, 3, 0, 0), True),
        ("getsockopt", (3, 1, 77, 0, 0), False),
        ("getsockopt", (3, 6, 3, 0, 0), False),
        ("fcntl", (3, 4, 0), True),
        ("fcntl", (3, 8, 1), False),
        ("fcntl", (3, 1031, 1 << 20), False),
        ("ioctl", (1, 0x5401, 0), True),
        ("ioctl", (1, 0x5412, 0), False),
        ("prctl", (15, 0), True),
        ("prctl", (1, 0), False),
        ("prctl", (4, 1), False),
        ("prctl", (22, 2), False),
        ("futex", (0, 128), True),
        ("futex", (0, 128 | 256 | 9), True),
        ("futex", (0, 128 | 6), False),
        ("futex", (0, 12), False),
        ("pipe2", (0, CLOEXEC), True),
        ("pipe2", (0, 0o200), False),
    ],
)
def test_arguments_decide(
    architecture: Architecture, name: str, arguments: tuple[int, ...], *, is_allowed: bool
) -> None:
    assert judge(architecture, name, *arguments) == (ALLOW if is_allowed else REFUSED)


@pytest.fixture
def plugins() -> Iterator[Path]:
    with plugins_folder() as folder:
        install(folder)
        yield folder


CALLER: Final = """
import ctypes
_libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    done = _libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    return -ctypes.get_errno() if done == -1 else done
"""


def number_of(call: Call) -> int:
    number = call.number(HERE)
    assert number is not None
    return number


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_every_fatal_call_kills_a_real_worker(plugins: Path, level: Level) -> None:
    fatal = [call for call in FATAL if call.number(HERE) is not None]
    # All of them once, at the lowest level; the first few above.
    chosen = fatal if level == Level.L2 else fatal[:3]
    async with spawning(plugins, level=level) as spawner:
        for call in chosen:
            async with working(spawner) as worker:
                await worker.run(CALLER)
                ended = await worker.end_of(f"result = call({number_of(call)}, -1, -1, -1, -1, -1, -1)")
                assert ended.is_forbidden_call, call.name


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_every_other_call_is_refused_to_a_real_worker(plugins: Path, level: Level) -> None:
    known = {call.number(HERE) for call in (*ALLOWED, *ABSENT, *FATAL)}
    # The kernel lets its own probes' returns past every filter, and kills whoever else calls them (since 6.14).
    past_filters = {335, 336} if HERE == "x86_64" else set()
    others = [number for number in range(600) if number not in known | past_filters]
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        await worker.run(CALLER)
        answers = await worker.run(f"result = {{n: call(n, -1, -1, -1, -1, -1, -1) for n in {others}}}")
        assert {number for number, answer in answers.items() if answer != -errno.EPERM} == set()
        assert await worker.run("result = call(435, 0, 0)") == -errno.ENOSYS


REFUSALS: Final = {
    "import os; os.fork()": "PermissionError 1",
    "import os; os.kill(os.getpid(), 0)": "PermissionError 1",
    "import os; os.killpg(0, 9)": "PermissionError 1",
    "import os; os.setsid()": "PermissionError 1",
    "import os; os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)": "OSError 30",
    "import os; os.open('/usr/lib', os.O_TMPFILE | os.O_RDWR)": "OSError 30",
    "import os; os.mkdir('/tmp/x')": "PermissionError 1",
    "import os; os.memfd_create('x')": "PermissionError 1",
    "import os; os.readlink('/lib')": "PermissionError 1",
    "import os; os.getxattr('/usr', 'user.x')": "PermissionError 1",
    "import os; os.nice(5)": "PermissionError 1",
    "import os; os.sched_setaffinity(0, {0})": "PermissionError 1",
    "import os; os.setuid(0)": "PermissionError 1",
    "import socket; socket.socket()": "PermissionError 1",
    "import socket; socket.socket(socket.AF_UNIX)": "PermissionError 1",
    "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)": "PermissionError 1",
    "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)": "PermissionError 1",
    "import subprocess; subprocess.run(['/bin/true'])": "PermissionError 1",
    "import resource; resource.setrlimit(resource.RLIMIT_CPU, (9, 9))": "ValueError not allowed to raise maximum limit",
    "import signal; signal.setitimer(signal.ITIMER_REAL, 1)": "itimer_error 1",
    "import signal; signal.pidfd_send_signal(0, 9)": "PermissionError 1",
    "import fcntl, os; fcntl.fcntl(0, fcntl.F_SETOWN, 1)": "PermissionError 1",
    "import fcntl; fcntl.ioctl(0, 0x5412, b'x')": "PermissionError 1",
}


@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_what_python_offers_is_refused(plugins: Path, level: Level) -> None:
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        assert {code: await worker.run(code) for code in REFUSALS} == REFUSALS


async def test_a_pair_that_may_be_had_reaches_nobody_and_carries_no_descriptor(plugins: Path) -> None:
    code = """
import array, socket
ours, theirs = socket.socketpair()
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))]
attempts = {
    'path': lambda: ours.sendto(b'x', '/run/somewhere'),
    'message': lambda: ours.sendmsg([b'x'], [], 0, '/run/somewhere'),
    'descriptor': lambda: ours.sendmsg([b'x'], rights),
    'receive': lambda: theirs.recvmsg(1, 64),
    'out of band': lambda: ours.send(b'x', socket.MSG_OOB),
    'peer': lambda: ours.getsockopt(socket.SOL_SOCKET, 77),
}
result = {}
for name, attempt in attempts.items():
    try:
        result[name] = attempt()
    except OSError as error:
        result[name] = error.errno
ours.send(b'plain')
result['plain'] = theirs.recv(5).decode()
"""
    refused = dict.fromkeys(("path", "message", "descriptor", "receive", "out of band", "peer"), errno.EPERM)
    async with spawning(plugins, level=Level.L2) as spawner, working(spawner) as worker:
        assert await worker.run(code) == {**refused, "plain": "plain"}


@pytest.mark.skipif(HERE != "x86_64", reason="the 32-bit call gate is x86_64's")
@pytest.mark.parametrize("level", CONFINED, ids=name_of)
async def test_the_32_bit_gate_kills(plugins: Path, level: Level) -> None:
    """`mov eax, 20; int 0x80; ret` asks i386 for getpid; memory that is writable and executable is allowed."""
    code = """
import ctypes, mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(bytes.fromhex('b814000000cd80c3'))
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
"""
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        assert (await worker.end_of(code)).is_forbidden_call
    async with spawning(plugins, level=level) as spawner, working(spawner) as worker:
        x32_getpid = 0x4000_0000 | 39
        await worker.run(CALLER)
        assert (await worker.end_of(f"result = call({x32_getpid})")).is_forbidden_call

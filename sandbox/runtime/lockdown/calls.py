"""Which kernel calls a worker may make, each with who needs it; which are fatal; all others are EPERM.

Numbers: x86_64 from the kernel's arch/x86/entry/syscalls/syscall_64.tbl, aarch64 from include/uapi/asm-generic/
unistd.h, both of Linux 6.1, read 2026-11-22. A call that an architecture lacks has no number there.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final, Literal

Architecture = Literal["x86_64", "aarch64"]

OWN_PID: Final = 0xFFFF_FFFF
"""Stands for the worker's pid until it is known."""
ALL_BITS: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Among:
    """The lower half of an argument, masked, is one of the values. For arguments that the kernel reads as int."""

    argument: int
    values: tuple[int, ...]
    mask: int = ALL_BITS


@dataclass(frozen=True, slots=True)
class Null:
    """An argument is a null pointer: both halves are zero."""

    argument: int


@dataclass(frozen=True, slots=True)
class OnlyReads:
    """An argument holds flags of open(2) that read and do nothing else; their numbers differ by architecture."""

    argument: int

    def on(self, architecture: Architecture) -> Among:
        """The same in numbers."""
        return Among(self.argument, (0,), mask=ALL_BITS & ~_READ_ONLY_FLAGS[architecture])


Condition = Among | Null | OnlyReads


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call. With conditions it is allowed when all hold, and answered with `refusal` otherwise."""

    name: str
    x86_64: int | None
    aarch64: int | None
    needed_by: str
    conditions: tuple[Condition, ...] = ()
    refusal: int = errno.EPERM

    def number(self, architecture: Architecture) -> int | None:
        """Its number, or None where the architecture has no such call."""
        return self.x86_64 if architecture == "x86_64" else self.aarch64


_THREAD_FLAGS: Final = 0x7D_0F00
"""What pthread_create sets: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID, and
musl's DETACHED. No namespace flag and no exit signal is among them."""
_CLONE_THREAD: Final = 0x1_0000
_READ_ONLY_FLAGS: Final[dict[Architecture, int]] = {
    # NOCTTY, NONBLOCK, CLOEXEC, and by architecture LARGEFILE, DIRECTORY, NOFOLLOW (asm/fcntl.h).
    "x86_64": 0o400 | 0o4000 | 0o2000000 | 0o100000 | 0o200000 | 0o400000,
    "aarch64": 0o400 | 0o4000 | 0o2000000 | 0o400000 | 0o40000 | 0o100000,
}
_PIPE_FLAGS: Final = 0o2000000 | 0o4000
"""CLOEXEC and NONBLOCK; not NOTIFICATION_PIPE, which no plugin needs."""
_PLAIN_FUTEX: Final = (0, 1, 3, 4, 5, 9, 10)
"""WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP and the BITSET twins; nothing that inherits priorities."""
_FUTEX_FLAGS: Final = 128 | 256
"""PRIVATE and CLOCK_REALTIME."""
_MSG_OOB: Final = 1
_SOL_SOCKET: Final = 1
_SOCKET_TRAITS: Final = (3, 4, 7, 8, 38, 39)
"""SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_PROTOCOL, SO_DOMAIN; not SO_PEERPIDFD, which hands out the host."""
_SOCK_TYPE_MASK: Final = 0xF
_STREAM_OR_SEQPACKET: Final = (1, 5)
"""Not datagram: such a socket can be sent from to any socket file by its path, even when it was born in a pair."""


ALLOWED: Final = (
    # Files, read only; Landlock decides which.
    Call("openat", 257, 56, "libc: open", (OnlyReads(2),), errno.EROFS),
    Call("open", 2, None, "old wheels' own open", (OnlyReads(1),), errno.EROFS),
    Call("read", 0, 63, "Python: files, channel, pipes"),
    Call("readv", 19, 65, "libc: buffered input"),
    Call("pread64", 17, 67, "the loader: shared libraries; sqlite3"),
    Call("lseek", 8, 62, "Python: files"),
    Call("close", 3, 57, "everybody"),
    Call("close_range", 436, 436, "Python: os.closerange"),
    Call("fstat", 5, 80, "Python: open; the loader"),
    Call("newfstatat", 262, 79, "Python: import looks for modules"),
    Call("stat", 4, None, "old wheels' own stat"),
    Call("lstat", 6, None, "old wheels' own stat"),
    Call("statx", 332, 291, "Rust's standard library: metadata"),
    Call("access", 21, None, "the loader: ld.so.preload"),
    Call("faccessat", 269, 48, "libc: access"),
    Call("faccessat2", 439, 439, "libc: access, newer"),
    Call("getcwd", 79, 17, "Python: relative paths"),
    Call("getdents64", 217, 61, "Python: import lists folders"),
    # Descriptors of its own.
    Call("write", 1, 64, "Python: channel, log, asyncio's self-pipe"),
    Call("writev", 20, 66, "libc: abort messages; uvloop"),
    Call("dup", 32, 23, "Python: os.dup"),
    Call("dup2", 33, None, "Python: os.dup2"),
    Call("dup3", 292, 24, "Python: os.dup2"),
    Call("fcntl", 72, 25, "Python: blocking and inheritable", (Among(1, (0, 1, 2, 3, 4, 1030)),)),
    Call("pipe", 22, None, "old wheels' wake-up pipes"),
    Call("pipe2", 293, 59, "Python: os.pipe; wake-up pipes", (Among(1, (0,), ALL_BITS & ~_PIPE_FLAGS),)),
    Call("eventfd2", 290, 19, "Rust and C++ event loops"),
    Call(
        "ioctl",
        16,
        29,
        "Python: open asks isatty (TCGETS, TCGETS2), terminal width, FIONBIO, FIONREAD, FIO[N]CLEX",
        (Among(1, (0x5401, 0x802C_542A, 0x5413, 0x5421, 0x541B, 0x5451, 0x5450)),),
    ),
    # Memory.
    Call("mmap", 9, 222, "malloc; the loader"),
    Call("mprotect", 10, 226, "the loader; thread stacks"),
    Call("munmap", 11, 215, "malloc"),
    Call("mremap", 25, 216, "malloc: realloc"),
    Call("madvise", 28, 233, "malloc; thread stacks"),
    Call("brk", 12, 214, "malloc"),
    # Threads of its own, and their signals.
    Call(
        "clone",
        56,
        220,
        "pthread_create",
        (Among(0, (0,), ALL_BITS & ~_THREAD_FLAGS), Among(0, (_CLONE_THREAD,), _CLONE_THREAD)),
    ),
    Call("futex", 202, 98, "locks", (Among(1, _PLAIN_FUTEX, ALL_BITS & ~_FUTEX_FLAGS),)),
    Call("set_robust_list", 273, 99, "pthread_create"),
    Call("rseq", 334, 293, "pthread_create"),
    Call("sched_yield", 24, 124, "OpenBLAS; spin locks"),
    Call("sched_getaffinity", 204, 123, "how many threads make sense"),
    Call("getcpu", 309, 168, "libc: sched_getcpu"),
    Call("rt_sigaction", 13, 134, "Python: signal; faulthandler"),
    Call("rt_sigprocmask", 14, 135, "pthread_create; abort"),
    Call("rt_sigreturn", 15, 139, "return from any signal handler"),
    Call("sigaltstack", 131, 132, "faulthandler; Rust threads"),
    Call("tgkill", 234, 131, "abort, pthread_kill", (Among(0, (OWN_PID,)),)),
    Call("exit", 60, 93, "a thread ends"),
    Call("exit_group", 231, 94, "the process ends"),
    Call("restart_syscall", 219, 128, "the kernel: goes on sleeping after SIGSTOP and SIGCONT"),
    # Time.
    Call("nanosleep", 35, 101, "libc: sleep"),
    Call("clock_nanosleep", 230, 115, "Python: time.sleep"),
    Call("clock_gettime", 228, 113, "clocks without vDSO"),
    Call("clock_getres", 229, 114, "Python: time.get_clock_info"),
    Call("gettimeofday", 96, 169, "clocks without vDSO"),
    Call("time", 201, None, "clocks without vDSO"),
    Call("times", 100, 153, "Python: os.times"),
    # Who and where am I; all of it is the worker's own or the same on every machine.
    Call("getpid", 39, 172, "abort, seeds, logs"),
    Call("gettid", 186, 178, "threading.get_native_id"),
    Call("getppid", 110, 173, "Python: os.getppid"),
    Call("getuid", 102, 174, "Python: os.getuid, expanduser"),
    Call("geteuid", 107, 175, "OpenSSL: issetugid"),
    Call("getgid", 104, 176, "OpenSSL: issetugid"),
    Call("getegid", 108, 177, "OpenSSL: issetugid"),
    Call("getgroups", 115, 158, "Python: os.getgroups"),
    Call("getresuid", 118, 148, "secure_getenv where auxv is missing"),
    Call("getresgid", 120, 150, "secure_getenv where auxv is missing"),
    Call("sysinfo", 99, 179, "libc: sysconf of memory"),
    Call("getrlimit", 97, 163, "thread stacks, older libc"),
    Call("prlimit64", 302, 261, "libc: getrlimit; query of itself only", (Among(0, (0,)), Null(2))),
    Call("getrusage", 98, 165, "Python: resource; time.process_time"),
    Call("getrandom", 318, 278, "Python: secrets, hash seeds, uuid"),
    Call(
        "prctl",
        157,
        167,
        "names of threads (15, 16); the self-test: dumpable, seccomp, no_new_privs (3, 21, 39)",
        (Among(0, (3, 15, 16, 21, 39)),),
    ),
    # Waiting.
    Call("poll", 7, None, "Python: select.poll, sockets with a timeout"),
    Call("ppoll", 271, 73, "the same on aarch64"),
    Call("select", 23, None, "Python: select.select"),
    Call("pselect6", 270, 72, "the same on aarch64"),
    Call("epoll_create1", 291, 20, "asyncio"),
    Call("epoll_create", 213, None, "old wheels' event loops"),
    Call("epoll_ctl", 233, 21, "asyncio"),
    Call("epoll_wait", 232, None, "asyncio"),
    Call("epoll_pwait", 281, 22, "asyncio on aarch64; uvloop"),
    Call("epoll_pwait2", 441, 441, "newer event loops"),
    # Sockets: none can be made but a connected Unix pair, for asyncio to wake itself. Neither sendmsg nor recvmsg:
    # nobody here needs to pass descriptors, and the kernel's book-keeping of those in flight has often been attacked.
    Call(
        "socketpair",
        53,
        199,
        "asyncio's self-pipe; Unix streams only",
        (Among(0, (1,)), Among(1, _STREAM_OR_SEQPACKET, _SOCK_TYPE_MASK)),
    ),
    Call("sendto", 44, 206, "socket.send; never with an address or out of band", (Null(4), Among(3, (0,), _MSG_OOB))),
    Call("recvfrom", 45, 207, "socket.recv; never out of band", (Among(3, (0,), _MSG_OOB),)),
    Call("shutdown", 48, 210, "asyncio transports"),
    Call(
        "getsockopt", 55, 209, "socket.socket(fileno=): its type", (Among(1, (_SOL_SOCKET,)), Among(2, _SOCKET_TRAITS))
    ),
    Call("getsockname", 51, 204, "asyncio transports"),
    Call("getpeername", 52, 205, "asyncio transports"),
)
"""The calls a worker may make."""


ABSENT: Final = (Call("clone3", 435, 435, "libc falls back to clone, whose flags can be read", refusal=errno.ENOSYS),)
"""Answered as a kernel that does not know them: their flags are in memory, where a filter cannot look."""

FATAL: Final = (
    Call("ptrace", 101, 117, "looks into other processes"),
    Call("process_vm_readv", 310, 270, "looks into other processes"),
    Call("process_vm_writev", 311, 271, "writes into other processes"),
    Call("process_madvise", 440, 440, "acts on other processes"),
    Call("pidfd_getfd", 438, 438, "takes others' descriptors"),
    Call("kcmp", 312, 272, "compares other processes"),
    Call("execve", 59, 221, "becomes another program"),
    Call("execveat", 322, 281, "becomes another program"),
    Call("unshare", 272, 97, "opens namespaces, where the kernel has most to attack"),
    Call("setns", 308, 268, "enters namespaces"),
    Call("mount", 165, 40, "changes the root"),
    Call("umount2", 166, 39, "changes the root"),
    Call("pivot_root", 155, 41, "changes the root"),
    Call("chroot", 161, 51, "changes the root"),
    Call("move_mount", 429, 429, "changes the root"),
    Call("open_tree", 428, 428, "changes the root"),
    Call("fsopen", 430, 430, "changes the root"),
    Call("fsconfig", 431, 431, "changes the root"),
    Call("fsmount", 432, 432, "changes the root"),
    Call("fspick", 433, 433, "changes the root"),
    Call("mount_setattr", 442, 442, "changes the root"),
    Call("open_by_handle_at", 304, 265, "opens files past every folder"),
    Call("io_uring_setup", 425, 425, "does other calls unseen by the filter"),
    Call("io_uring_enter", 426, 426, "does other calls unseen by the filter"),
    Call("io_uring_register", 427, 427, "does other calls unseen by the filter"),
    Call("bpf", 321, 280, "loads programs into the kernel"),
    Call("perf_event_open", 298, 241, "watches the machine"),
    Call("userfaultfd", 323, 282, "stops the kernel half-way"),
    Call("keyctl", 250, 219, "the kernel's key rings"),
    Call("add_key", 248, 217, "the kernel's key rings"),
    Call("request_key", 249, 218, "the kernel's key rings"),
    Call("init_module", 175, 105, "loads code into the kernel"),
    Call("finit_module", 313, 273, "loads code into the kernel"),
    Call("delete_module", 176, 106, "unloads code of the kernel"),
    Call("kexec_load", 246, 104, "replaces the kernel"),
    Call("kexec_file_load", 320, 294, "replaces the kernel"),
    Call("reboot", 169, 142, "stops the machine"),
    Call("swapon", 167, 224, "administers the machine"),
    Call("swapoff", 168, 225, "administers the machine"),
    Call("modify_ldt", 154, None, "changes the processor's segments"),
    Call("iopl", 172, None, "reaches hardware"),
    Call("ioperm", 173, None, "reaches hardware"),
)
"""No honest plugin makes them; the worker dies by SIGSYS, which is a security fault."""

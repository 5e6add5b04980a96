"""Secrets and reads. What is found is carried out by the log; whether it is a secret the witnesses know."""

import ctypes
import gc
import mmap
import os
import socket
import sys
import time
from pathlib import Path

from .attack import KEPT, LIBC, collect, read, syscall

MODES, mode = collect()
MARK = b"canary-"


@mode
def read_passwd(at):
    at.loot(Path("/etc/passwd").read_bytes()[-200:])


@mode
def read_db(at):
    at.loot(read(at.database))


@mode
def read_key(at):
    at.loot(read(at.key))


@mode
def read_dotdot(at):
    at.loot(read(f"{Path(__file__).parent}/{'../' * 30}{at.key}"))


@mode
def read_mapped(at):
    with open(at.key, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        at.loot(mapped[:])


@mode
def openat_from_own_folder(at):
    own = os.open(Path(__file__).parent, os.O_RDONLY | os.O_DIRECTORY)
    at.loot(os.read(os.open(f"{'../' * 30}{at.key}", os.O_RDONLY, dir_fd=own), 2000))


@mode
def openat2(at):
    how = ctypes.create_string_buffer(24)
    at.loot(os.read(syscall(437, -100, at.key.encode(), how, 24), 2000))


@mode
def open_by_path_descriptor(at):
    descriptor = os.open(at.key, os.O_PATH)
    at.loot(read(f"/proc/self/fd/{descriptor}"))


@mode
def open_by_handle(at):
    handle = ctypes.create_string_buffer(b"\x80\0\0\0", 136)
    mount = ctypes.c_int()
    try:
        syscall(303, -100, at.key.encode(), handle, ctypes.byref(mount), 0)
    except OSError as refused:
        at.note(refused)  # Even so the next call is tried.
    try:
        folder = os.open("/", os.O_RDONLY)
    except OSError:
        folder = -1
    at.loot(os.read(syscall(304, folder, handle, 0), 2000))


@mode
def env(at):
    at.loot(*(f"{name}={value}" for name, value in os.environ.items() if MARK.decode() in value))


@mode
def proc_environ(at):
    content = Path(f"/proc/{at.host}/environ").read_bytes()
    at.loot(*(each for each in content.split(b"\0") if MARK in each))


@mode
def proc_root(at):
    at.loot(read(f"/proc/{at.host}/root{at.key}"))


@mode
def proc_cmdline(at):
    at.loot(*(read(f"/proc/{each}/cmdline") for each in os.listdir("/proc") if each == str(at.host)))


@mode
def proc_mem(at):
    _scan(at, at.host)


@mode
def sibling_mem(at):
    for pid in at.siblings:
        _scan(at, pid)


@mode
def own_mem(at):
    """What the host may have left in this process before the fork."""
    _scan(at, "self")


def _scan(at, pid):
    budget = 64 * 1024 * 1024
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or budget <= 0:
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            memory.seek(start)
            content = memory.read(min(end - start, budget))
            budget -= len(content)
            place = content.find(MARK)
            while place >= 0:
                at.loot(content[place : place + 120])
                place = content.find(MARK, place + 4096)


@mode
def frames(at):
    """Walk the stack and all objects that the collector knows."""
    frame = sys._getframe()
    while frame is not None:
        _show(at, frame.f_locals)
        _show(at, frame.f_globals)
        frame = frame.f_back
    for each in gc.get_objects():
        if type(each) is dict:
            _show(at, each)


def _show(at, names):
    for value in list(names.values()):
        if type(value) is str and value.startswith(MARK.decode()):
            at.loot(value)


@mode
def process_vm_readv(at):
    buffer = ctypes.create_string_buffer(64)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
    remote = (ctypes.c_void_p * 2)(at.secret_address, 64)
    syscall(310, at.host, local, 1, remote, 1, 0)
    at.loot(buffer.raw)


@mode
def ptrace(at):
    """PTRACE_SEIZE: no stop, so that the victim can still be asked."""
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if LIBC.ptrace(0x4206, at.host, None, None):
        raise OSError(ctypes.get_errno(), "refused")
    time.sleep(0.3)


@mode
def fds(at):
    """Read whatever is open in this process but its channel and its log."""
    for descriptor in [*range(4, 64), at.open_secret]:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            at.loot(os.read(descriptor, 2000))
        except OSError:
            continue


@mode
def pidfd_getfd(at):
    """Take a descriptor out of the host. The number is asked for even where there is no pidfd to ask with."""
    try:
        pidfd = os.pidfd_open(at.host)
    except OSError:
        pidfd = -1
    descriptor = syscall(438, pidfd, at.open_secret, 0)
    at.loot(os.pread(descriptor, 2000, 0))


@mode
def stat_probe(at):
    """Which of sixteen files exist, told by stat, access and the errors of open."""
    found = []
    for path in at.doors:
        ways = [os.access(path, os.F_OK)]
        try:
            os.stat(path)
            ways.append(True)
        except OSError as refused:
            ways.append(isinstance(refused, PermissionError))
        try:
            os.close(os.open(path, os.O_RDONLY))
            ways.append(True)
        except OSError as refused:
            ways.append(isinstance(refused, PermissionError))
        found.append("1" if any(ways) else "0")
    at.loot("doors " + "".join(found))


@mode
def hostname(at):
    """By every way there is: the kernel's call itself, libc, and files."""
    at.loot(os.uname().nodename)
    buffer = ctypes.create_string_buffer(400)
    if LIBC.gethostname(buffer, 390) == 0:
        at.loot(buffer.value)
    if LIBC.uname(buffer) == 0:
        at.loot(buffer.raw[65:130].rstrip(b"\0"))
    at.loot(socket.gethostname())
    at.loot(read("/proc/sys/kernel/hostname"), read("/etc/hostname"))


@mode
def working_directory(at):
    at.loot(os.getcwd())
    at.loot(os.readlink(f"/proc/{at.host}/cwd"))


@mode
def list_folder(at):
    at.loot(*os.listdir(os.path.dirname(at.key)))


@mode
def list_root(at):
    for name in os.listdir("/"):
        for path in (f"/{name}", f"/{name}/{os.path.basename(at.scene)}"):
            try:
                at.loot(" ".join(os.listdir(path))[:1000])
            except OSError:
                continue


@mode
def dev_shm(at):
    for name in os.listdir("/dev/shm"):
        if MARK.decode() in name:
            at.loot(read(f"/dev/shm/{name}"))


@mode
def sysv_shm(at):
    """A shared memory segment of the host, by its id."""
    LIBC.shmat.restype = ctypes.c_void_p
    place = LIBC.shmat(at.segment, None, 0o10000)
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "refused")
    at.loot(ctypes.string_at(place, 64))


@mode
def crosstenant(at):
    """Remember one merchant's configuration and show it in the next one's call."""
    at.loot(*(str(each) for each in KEPT.get("notes", [])))
    KEPT.setdefault("notes", []).append(at.ctx.config["note"])


@mode
def crosstenant_file(at):
    """The same through a file that all workers could share."""
    path = f"/dev/shm/{os.path.basename(at.scene)}-notes"
    try:
        at.loot(os.readlink(path))
    except FileNotFoundError:
        os.symlink(at.ctx.config["note"], path)  # A link's target: files may not grow.

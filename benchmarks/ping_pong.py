"""What a confined call is compared with: two processes, a socketpair, a length prefix, asyncio's `sock_*` on our side.

`python -m benchmarks.ping_pong` is the other process; its socket is file descriptor 0.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LENGTH: Final = struct.Struct(">I")


@contextmanager
def partner() -> Iterator[socket.socket]:
    """Our end of a ping-pong; the other process ends with it."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.ping_pong"], stdin=theirs)
    theirs.close()
    ours.setblocking(False)
    try:
        yield ours
    finally:
        ours.close()
        process.wait(timeout=10)


async def ping(ours: socket.socket, body: bytes) -> None:
    """Send a body and wait until as much has come back."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, LENGTH.pack(len(body)) + body)
    received = await loop.sock_recv(ours, 65_536)
    (length,) = LENGTH.unpack_from(received)
    while len(received) < LENGTH.size + length:
        received += await loop.sock_recv(ours, 65_536)


def main() -> None:
    """Send back whatever comes, frame by frame."""
    theirs = socket.socket(fileno=0)
    held = b""
    while received := theirs.recv(65_536):
        held += received
        while len(held) >= LENGTH.size and len(held) >= LENGTH.size + LENGTH.unpack_from(held)[0]:
            end = LENGTH.size + LENGTH.unpack_from(held)[0]
            theirs.sendall(held[:end])
            held = held[end:]


if __name__ == "__main__":
    main()

"""Worker entries for the tests."""

from __future__ import annotations

import socket

from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.selftest import LockFacts


def talk(channel: socket.socket, facts: LockFacts, release: WorkerRelease) -> None:
    """Wait until the host hangs up."""
    channel.recv(1)

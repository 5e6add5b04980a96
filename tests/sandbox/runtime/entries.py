"""Worker entries for the tests. This module is imported by the zygote, so it imports nothing of pytest."""

from __future__ import annotations

import json
import socket
import sys

from sandbox.runtime.release import WorkerRelease
from sandbox.runtime.selftest import LockFacts


def obey(channel: socket.socket, facts: LockFacts, release: WorkerRelease) -> None:
    """Run what the host sends, line by line, and answer what it left in `result`; errors by class and number."""
    sys.path.insert(0, str(release.folder))
    names: dict[str, object] = {"facts": facts, "release": release}
    for line in channel.makefile("r", encoding="utf-8"):
        names["result"] = None
        try:
            exec(json.loads(line), names)  # noqa: S102 - it is what this entry is for
            answer = names["result"]
        except BaseException as error:  # noqa: BLE001 - the test wants to see any
            answer = f"{type(error).__name__} {getattr(error, 'errno', None) or error}"
        channel.sendall(json.dumps(answer).encode() + b"\n")


def hang_up(channel: socket.socket, facts: LockFacts, release: WorkerRelease) -> None:
    """End at once."""

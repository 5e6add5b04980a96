"""`arsenal serve` of one process whose business clock runs ahead by as much as a file says, read anew at each look.

The file holds eight bytes, microseconds, and may change at any moment. Tokens, sessions and nonces keep the real time.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn

from platform_core.bootstrap.app import create_app
from platform_core.bootstrap.environment import load_settings, located_database, observed
from platform_core.bootstrap.platform import open_platform
from platform_core.kernel.ids import Ids

VARIABLE: Final = "TURNED_CLOCK"
_OFFSET: Final = struct.Struct("<q")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TurnedClock:
    """The operating system's time and what the file adds to it."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._ahead = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)

    def now(self) -> datetime:
        """Aware, in UTC."""
        return datetime.now(UTC) + timedelta(microseconds=self._ahead_us())

    def unix_ms(self) -> int:
        """Whole milliseconds since 1970."""
        return (self.now() - _EPOCH) // timedelta(milliseconds=1)

    def monotonic(self) -> float:
        """Deadlines are not turned."""
        return time.monotonic()

    def _ahead_us(self) -> int:
        return int(_OFFSET.unpack(self._ahead[: _OFFSET.size])[0])


def turn(path: Path, ahead: timedelta) -> None:
    """Let the clock of whoever reads this file run ahead by so much, from now on."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_OFFSET.pack(ahead // timedelta(microseconds=1)))


def main() -> None:
    """Serve until SIGTERM."""
    settings = load_settings()
    clock = TurnedClock(Path(os.environ[VARIABLE]))
    with observed(settings):
        opened = open_platform(settings, located_database(settings), clock=clock)
        app = create_app(opened, public_origin=settings.public_origin, ids=Ids(clock))
        uvicorn.run(app, host=settings.listen_host, port=settings.listen_port, loop="uvloop", log_config=None)


if __name__ == "__main__":
    main()

"""`python -m sandbox.runtime`: the level of confinement that this machine attains, proven by two throwaway workers."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from sandbox.runtime.levels import Level
from sandbox.runtime.requests import ZygoteSettings
from sandbox.runtime.spawner import Spawner


async def attained() -> Level:
    """What a zygote proves here. Raises SpawnFailed where not even a process can be had."""
    with tempfile.TemporaryDirectory() as folder:
        spawner = Spawner(ZygoteSettings(required=Level.L1, plugins=Path(folder), entry=None))
        await spawner.start()
        try:
            return spawner.level
        finally:
            await spawner.close()


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(attained()).name}\n")

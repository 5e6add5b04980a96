"""A demo that runs in a folder of its own, for pages whose examples are typed beside one.

It says `demo.env` when the file is written and the server answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ARSENAL = Path(sys.executable).parent / "arsenal"
STOP_WITHIN_S = 60


@contextmanager
def a_demo(folder: Path, *options: str, until: str = "demo.env") -> Iterator[None]:
    """Inside the block `folder/.arsenal/demo.env` is there, and what it names answers."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("ARSENAL_")}
    demo = subprocess.Popen(
        [ARSENAL, "demo", *options],
        cwd=folder,
        env={**others, "ARSENAL_HOME": str(folder / ".arsenal"), "ARSENAL_LISTEN_PORT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if until in line:
            break
    else:
        pytest.fail(f"the demo ended with {demo.wait(STOP_WITHIN_S)}: {''.join(said)}")
    # A pipe that nobody reads would stop the demo when it is full.
    reader = threading.Thread(target=deque, args=(demo.stdout, 0))
    reader.start()
    try:
        yield
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(STOP_WITHIN_S)
        reader.join(STOP_WITHIN_S)
        demo.stdout.close()

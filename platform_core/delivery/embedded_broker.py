"""The broker of the embedded default: files in a folder, for the processes of one machine.

kombu's own filesystem transport writes a message in place, so that a reader may take it half written, and moves what it
reads to the folder of temporary files, which may be another disk. Here a message appears whole by renaming, and is
taken by renaming.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from queue import Empty
from time import monotonic_ns
from typing import Any

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    """Messages as files that appear and vanish by renaming."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # kombu varies the name
        folder = Path(self.data_folder_out)
        name = f"{monotonic_ns():020d}_{uuid.uuid4().hex}"
        draft = folder / f"{name}.draft"
        draft.write_text(json.dumps(payload), encoding="utf-8")
        draft.rename(folder / f"{name}.{queue}.msg")

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        ending = f".{queue}.msg"
        for name in sorted(name for name in os.listdir(self.data_folder_in) if name.endswith(ending)):
            taken = Path(self.processed_folder) / f"{name}.{os.getpid()}"
            try:
                (Path(self.data_folder_in) / name).rename(taken)
            except FileNotFoundError:  # another process was faster
                continue
            payload = json.loads(taken.read_text(encoding="utf-8"))
            taken.unlink()
            return payload
        raise Empty


class Transport(filesystem.Transport):
    """What Celery's setting `broker_transport` names."""

    Channel = Channel

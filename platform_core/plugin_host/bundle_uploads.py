"""Bundles that publishers send: received in pieces, judged in a folder of their own, kept only if they are taken.

Whose plugin it is, and whether the version is free, is known before anything is put where workers find it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from platform_core.plugin_host.errors import (
    BUNDLE_REFUSED,
    BUNDLE_TOO_LARGE,
    UPLOAD_DIFFERS,
    UPLOADS_EXCEEDED,
)
from platform_core.plugin_host.host_deps import BundleRefused, Bundles, Unpacked
from platform_core.plugin_host.releases import Admitted, Releases, Submission
from platform_core.plugin_host.schemas import ReleaseRead

BYTES_MAX: Final = 64 * 1024 * 1024
"""As the installer takes (isolation.md section 9)."""
PER_HOUR: Final = 30
"""Uploads of one publisher to one process."""
AT_ONCE: Final = 2
"""Uploads that one process receives and judges at a time."""
WITHIN_S: Final = 600.0
_HOUR_S: Final = 3600.0


class Pieces(Protocol):
    """A body as it comes in."""

    def stream(self) -> AsyncIterator[bytes]:
        """Its pieces; empty ones may be among them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What a publisher says of what it sends."""

    isv_id: str
    by: str
    digest: str
    """SHA-256 of the bundle, in hex."""
    change_log: str = ""
    test_account: str = ""


@dataclass(slots=True)
class BundleUploads:
    """One per process. `folder` holds what is on its way, and nothing once an upload is over."""

    releases: Releases
    bundles: Bundles
    folder: Path
    monotonic: Callable[[], float] = time.monotonic
    _begun: dict[str, deque[float]] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One is judged at a time, so that none takes away what another has just put in place."""
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def take(self, upload: Upload, body: Pieces) -> ReleaseRead:
        """Receive, judge, install, submit. The same bundle again is answered with the release that it is.

        413 `plugins.bundle_too_large`; 422 `plugins.upload_differs`, `plugins.bundle_refused`; 429
        `plugins.uploads_exceeded`; and what `Releases.submit` raises. Whatever is raised, nothing of it is kept.
        """
        self._admit(upload.isv_id)
        async with self._free, asyncio.timeout(WITHIN_S), self._received(upload, body) as bundle:
            try:
                async with self._turn:
                    return await self._submitted(upload, bundle)
            except BundleRefused as refused:
                reason = str(refused).replace("{", "(").replace("}", ")")[:2000]
                raise BUNDLE_REFUSED.error({"reason": reason}) from refused

    async def _submitted(self, upload: Upload, bundle: Path) -> ReleaseRead:
        looked = await self.bundles.look(bundle)
        submission = self._submission(upload, looked)
        known = await self.releases.known(submission)
        if known is not None:
            return known
        admitted = await self.releases.admit(submission)
        if admitted.before is not None:
            await self.bundles.discard(admitted.plugin_id, admitted.version)  # of the round before: it ran nowhere
        unpacked = await self.bundles.unpack(bundle)
        try:
            return await self.releases.submit(self._submission(upload, unpacked))
        except BaseException:
            await asyncio.shield(self._forgotten(submission, admitted))
            raise

    async def _forgotten(self, submission: Submission, admitted: Admitted) -> None:
        """Take it away again, unless somebody who sent the same at the same time was faster."""
        if await self.releases.known(submission) is None:
            await self.bundles.discard(admitted.plugin_id, admitted.version)

    def _submission(self, upload: Upload, unpacked: Unpacked) -> Submission:
        return Submission(
            unpacked=unpacked,
            isv_id=upload.isv_id,
            by=upload.by,
            change_log=upload.change_log,
            test_account=upload.test_account,
        )

    def _admit(self, isv_id: str) -> None:
        now = self.monotonic()
        begun = self._begun.setdefault(isv_id, deque())
        while begun and begun[0] <= now - _HOUR_S:
            begun.popleft()
        if len(begun) >= PER_HOUR:
            raise UPLOADS_EXCEEDED.error({"max": PER_HOUR}, retry_after_s=max(1, int(begun[0] + _HOUR_S - now)))
        begun.append(now)

    @asynccontextmanager
    async def _received(self, upload: Upload, body: Pieces) -> AsyncIterator[Path]:
        """The body in a file of its own that is gone afterwards, found to be what its sender says."""
        await asyncio.to_thread(self.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.arsenal"
        hashed, size = hashlib.sha256(), 0
        try:
            with await asyncio.to_thread(path.open, "xb") as file:
                async for piece in body.stream():
                    size += len(piece)
                    if size > BYTES_MAX:
                        raise BUNDLE_TOO_LARGE.error({"limit": BYTES_MAX}, headers={"connection": "close"})
                    hashed.update(piece)
                    await asyncio.to_thread(file.write, piece)
            if hashed.hexdigest() != upload.digest:
                raise UPLOAD_DIFFERS.error({"digest": hashed.hexdigest()})
            yield path
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

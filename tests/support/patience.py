"""How long a test waits for what another process or task does by itself.

No test asserts how fast something is: on a busy machine a second passes before anybody is asked. That what is revoked
is refused within a second is measured (`make bench NAME=token`), and by a turned clock it is shown that nothing passes
on news older than that (`test_without_a_poll_a_stale_feed_asks_the_rows`). Here it is enough that the news arrives long
before the cache of a minute would have ended by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from platform_core.identity.revocation import RevocationFeed

HEARD_S: Final = 20.0


async def first_poll(feed: RevocationFeed) -> None:
    """Poll until a first one succeeds. One that takes over a second ends with TimeoutError, which is the feed's to say
    and on a busy machine no fault: connecting alone may take that long.
    """
    async with asyncio.timeout(HEARD_S):
        while True:
            try:
                return await feed.poll()
            except TimeoutError:
                await asyncio.sleep(0.1)

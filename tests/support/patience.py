"""How long a test waits for what another process or task does by itself.

No test asserts how fast something is: on a busy machine a second passes before anybody is asked. That what is revoked
is refused within a second is measured (`make bench NAME=token`), and by a turned clock it is shown that nothing passes
on news older than that (`test_without_a_poll_a_stale_feed_asks_the_rows`). Here it is enough that the news arrives long
before the cache of a minute would have ended by itself.
"""

from __future__ import annotations

from typing import Final

HEARD_S: Final = 20.0

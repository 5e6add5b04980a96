"""A process of its own that decides on authorization requests: for races with another one.

Reads a line of JSON {token, browser, merchant_id, times}, decides so often at once, and prints how many gave a code.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from platform_core.bootstrap.platform import Platform
from platform_core.identity.consent import Approved
from platform_core.kernel.database.pools import DatabaseUrls
from platform_core.kernel.errors import PlatformError
from tests.clients.person import owner_of
from tests.support.processes_arsenal import platform_of


async def decide_once(platform: Platform, token: str, browser: str, merchant_id: str) -> bool:
    """Whether this decision gave a code; the others are told that the request is stale."""
    request = platform.oauth.consent_tokens.open(token, browser)
    approved = Approved(request.scopes, None, request.details, None)
    try:
        redirect = await platform.oauth.decide(request, owner_of(merchant_id), approved)
    except PlatformError as error:
        if error.code in ("identity.authorization_stale", "identity.changed_meanwhile"):
            return False
        raise
    assert "code=" in redirect
    return True


async def main() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    async with platform_of(os.environ, DatabaseUrls(owner=os.environ["ARSENAL_DATABASE_URL"])) as platform:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            job = json.loads(line)
            arguments = (platform, job["token"], job["browser"], job["merchant_id"])
            won = await asyncio.gather(*(decide_once(*arguments) for _ in range(job["times"])))
            sys.stdout.write(json.dumps({"won": sum(won)}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

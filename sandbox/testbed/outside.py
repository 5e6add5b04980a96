"""The world outside for tests: a plugin's requests to its declared hosts go to simulators on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from platform_core.contracts.plugin import EgressAnswer, Refused
from platform_core.contracts.testing import Request

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class SimulatedOutside:
    """Answers for `FakeHost(outside=...)` over real connections, with the refusals of the host's own egress."""

    def __init__(self, hosts: Mapping[str, str], *, timeout_s: float = 5.0) -> None:
        """`hosts`: declared host > the simulator's URL. A host that is missing cannot be reached."""
        self.hosts = dict(hosts)
        self._timeout_s = timeout_s

    def __call__(self, request: Request) -> EgressAnswer:
        """Ask the simulator."""
        parts = urlsplit(request.url)
        base = self.hosts.get(parts.hostname or "")
        if base is None:
            raise Refused("plugin.egress_not_sent", f"No byte of the request left: nobody is {parts.hostname}.")
        url = f"{base}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        try:
            with httpx.Client(trust_env=False, timeout=self._timeout_s) as client:
                answer = client.request(request.method, url, headers=dict(request.headers), content=request.body)
        except _UNSENT as error:
            raise Refused("plugin.egress_not_sent", f"No byte of the request left: {type(error).__name__}.") from error
        except httpx.HTTPError as error:
            said = f"Something of the request left and no whole answer came: {type(error).__name__}."
            raise Refused("plugin.egress_unknown", said) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return EgressAnswer(status=answer.status_code, headers=headers, body=answer.content)

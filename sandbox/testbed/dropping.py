"""The server's protocol in a sandbox: one that scripted faults can cut."""

from __future__ import annotations

from typing import cast

from platform_core.kernel.http.one_write import OneWriteProtocol
from sandbox.testbed.fault_layer import DROP


class DroppingProtocol(OneWriteProtocol):
    """The platform's own protocol, with a way to cut the connection without a word in each request's scope."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        scope = cast("dict[str, object]", self.scope)  # a TypedDict; extra keys are the server's
        scope[DROP] = self.transport.abort

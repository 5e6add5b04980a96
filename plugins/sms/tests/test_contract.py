"""Text messages against the contract of every plugin."""

from __future__ import annotations

import hmac
from typing import ClassVar

from platform_core.contracts.plugin import EgressAnswer
from platform_core.contracts.testing import PluginSuite, Request
from platform_core.contracts.testing.egress import answered


class TestContract(PluginSuite):
    plugin = "plugins.sms"
    config: ClassVar = {"app": "app-1", "sign": "Noodles"}
    secrets: ClassVar = {"gateway_key": b"k" * 32}

    def outside(self, request: Request) -> EgressAnswer:
        """A gateway that accepts everything."""
        body = b'{"id": "sms-1", "state": "sent"}'
        signed = f"answer\n{request.headers['x-sms-signature']}\n200\n".encode() + body
        return answered(200, body, x_sms_signature=hmac.new(b"k" * 32, signed, "sha256").hexdigest())

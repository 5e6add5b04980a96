"""Payments through the simulated acquirer: a provider with a network, signatures and notices, and one to copy.

It speaks the protocol of docs/reference/simulated-acquirer.md to a server that is told where to be by
`settings.gateway_url`.
"""

from __future__ import annotations

from plugins.simulated_acquirer.provider import SimulatedAcquirerProvider, register_payment_provider

__all__ = ["SimulatedAcquirerProvider", "register_payment_provider"]

"""A simulated wallet acquirer: a real HTTP server with signed requests, answers and notices, and scripted faults.

Its protocol and scenarios stand in docs/reference/simulated-acquirer.md. Nothing here reaches a real wallet.
"""

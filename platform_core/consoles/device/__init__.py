"""Where a person lets a device in that has no browser, such as a cash register (RFC 8628)."""

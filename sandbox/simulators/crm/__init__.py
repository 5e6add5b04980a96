"""A CRM as merchants have one: it keeps orders and refunds, once for each idempotency key."""

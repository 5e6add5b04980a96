"""The HTTP conventions of every route: problems, strict JSON, idempotency, pagination, request ids."""

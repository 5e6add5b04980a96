"""First-party plugins; each is also an example to copy."""

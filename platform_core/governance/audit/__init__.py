"""The audit log as a chain: rows are sealed once a second, seals follow each other, checkpoints leave the house."""

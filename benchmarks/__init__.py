"""What Arsenal's speed is, measured against the floors that PostgreSQL sets for the same rows in the same run."""

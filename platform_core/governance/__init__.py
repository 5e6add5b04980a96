"""Rules, cases, review and the audit log."""

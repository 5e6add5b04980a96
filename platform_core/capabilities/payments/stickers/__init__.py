"""Printed static codes of a store: whoever scans one gets a page to pay on (payments.md section 3)."""

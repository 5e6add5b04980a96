"""Webhooks by the Standard Webhooks specification: endpoints, deliveries, signatures, the schedule."""

"""Disputes: what a customer's bank or wallet claims back, the merchant's evidence, and where the money stands."""

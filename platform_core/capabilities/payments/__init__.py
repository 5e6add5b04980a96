"""Payments: the one entry point; takes money for a merchant and keeps it exact until it is paid out."""

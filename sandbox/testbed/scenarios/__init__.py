"""Scenarios of `arsenal trigger`, one TOML file each."""

"""Arsenal: an open platform, payment + X. See docs/explanation/architecture.md."""

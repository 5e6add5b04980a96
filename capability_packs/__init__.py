"""Industry packs: data first."""

"""All that a plugin author may import."""

"""Pages of signing in: they call identity's services and decide nothing themselves."""

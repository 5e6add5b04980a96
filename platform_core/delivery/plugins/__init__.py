"""Events on their way to plugins: deliveries as rows, as for webhooks, with the plugins' own schedule and order."""

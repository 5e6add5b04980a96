"""What follows a commit: outbox relay, webhooks, Celery."""

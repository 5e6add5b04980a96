"""Alembic's entry: runs migrations over the connection that `kernel.database.migrations` hands in."""

from alembic import context
from sqlmodel import SQLModel

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()

"""The table behind a SQLModel class."""

from __future__ import annotations

from sqlalchemy import Table
from sqlmodel import SQLModel


def table_of(model: type[SQLModel]) -> Table:
    """What SQLModel made of a class with `table=True`; it adds the attribute at run time, unseen by type checkers."""
    table = getattr(model, "__table__", None)
    assert isinstance(table, Table), f"{model.__name__} describes no table"
    return table

"""How a plugin is doing, from the rows that every process writes: what runs where, what is open, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.clock import Clock
from platform_core.kernel.database.pools import Database
from platform_core.plugin_host.errors import PLUGIN_NOT_FOUND
from platform_core.plugin_host.schemas import Words

PROBLEMS_SHOWN: Final = 50
_VERSIONS: Final = text(
    "SELECT r.version, r.state, count(i.id) FILTER (WHERE i.state = 'enabled') AS enabled_at "
    "FROM plugin_release AS r LEFT JOIN plugin_installation AS i ON i.release_id = r.id "
    "WHERE r.plugin_id = :plugin_id GROUP BY r.id, r.version, r.state, r.created_at ORDER BY r.created_at, r.id"
)
_BREAKERS: Final = text(
    "SELECT hook, plugin_version, why, open_until FROM plugin_breaker "
    "WHERE plugin_id = :plugin_id AND open_until > :now ORDER BY hook"
)
_QUARANTINES: Final = text(
    "SELECT id, plugin_version, fault, detail, began_at FROM plugin_quarantine "
    "WHERE plugin_id = :plugin_id AND lifted_at IS NULL ORDER BY began_at, id"
)
_SWITCHES: Final = text(
    "SELECT id, version AS plugin_version, merchant_id, mode, rule, reason, pulled_at FROM plugin_switch "
    "WHERE plugin_id = :plugin_id AND state = 'pulled' ORDER BY pulled_at, id"
)
_PROBLEMS: Final = text(
    "SELECT id, plugin_version, merchant_id, hook, kind, severity, count, message, hint, call_id, first_at, last_at "
    "FROM plugin_problem WHERE plugin_id = :plugin_id AND state <> 'resolved' "
    "ORDER BY last_at DESC, id DESC LIMIT :limit"
)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class VersionHealth(_Read):
    """A version, and at how many merchants it is asked."""

    version: str
    state: str
    enabled_at: int


class BreakerHealth(_Read):
    """A hook that is not asked for a while, because too many answers failed or came late."""

    hook: str
    plugin_version: str
    why: str
    open_until: datetime


class QuarantineHealth(_Read):
    """A version that runs for nobody until two people lift it."""

    id: str
    plugin_version: str
    fault: str
    detail: str
    began_at: datetime


class SwitchHealth(_Read):
    """A kill switch that is pulled; without version or merchant it holds for all."""

    id: str
    plugin_version: str | None
    merchant_id: str | None
    mode: str
    rule: str
    reason: str
    pulled_at: datetime


class ProblemHealth(_Read):
    """Something wrong that is not resolved. `call_id`: of the call on which it was met last."""

    id: str
    plugin_version: str
    merchant_id: str | None
    hook: str | None
    kind: str
    severity: str
    count: int
    message: Words
    hint: Words
    call_id: str | None
    first_at: datetime
    last_at: datetime


class PluginHealth(_Read):
    """One plugin's. Versions by age, problems the last met first."""

    plugin_id: str
    is_well: bool
    """Nothing is open, quarantined, pulled or wrong."""
    versions: tuple[VersionHealth, ...]
    breakers: tuple[BreakerHealth, ...]
    quarantines: tuple[QuarantineHealth, ...]
    switches: tuple[SwitchHealth, ...]
    problems: tuple[ProblemHealth, ...]


@dataclass(frozen=True, slots=True)
class HealthBook:
    """Reads it, for the operator. `clock` is the real one, by which breakers open."""

    database: Database
    clock: Clock

    async def of(self, plugin_id: str) -> PluginHealth:
        """Everything that is known now. 404 `plugins.not_found`."""
        values = {"plugin_id": plugin_id, "now": self.clock.now(), "limit": PROBLEMS_SHOWN}
        async with self.database.read_all() as connection:
            versions = await _rows(connection, _VERSIONS, values)
            if not versions:
                raise PLUGIN_NOT_FOUND.error({"plugin_id": plugin_id})
            wrong = {
                "breakers": await _rows(connection, _BREAKERS, values),
                "quarantines": await _rows(connection, _QUARANTINES, values),
                "switches": await _rows(connection, _SWITCHES, values),
                "problems": await _rows(connection, _PROBLEMS, values),
            }
        return PluginHealth.model_validate(
            {"plugin_id": plugin_id, "is_well": not any(wrong.values()), "versions": versions, **wrong}
        )


async def _rows(connection: AsyncConnection, query: Any, values: dict[str, object]) -> Sequence[Any]:  # Any: SQL, rows
    return [dict(row) for row in (await connection.execute(query, values)).mappings()]

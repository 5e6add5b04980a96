"""What an app told the gateway's tools: where it hears of authorisations, and how its inbox answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import select

from platform_core.kernel.commit import Change, Committer, Duplicate, Insert, Plan, PlanRefused, VersionConflict
from platform_core.kernel.database.pools import Database
from sandbox.simulators.alipay_gateway.models_tools import APP_SETTINGS

InboxAnswer = Literal["success", "fail", "json", "error", "hang"]
INBOX_ANSWERS: Final[tuple[InboxAnswer, ...]] = get_args(InboxAnswer)
URL_LENGTH_MAX: Final = 500
TRIES_MAX: Final = 5
_settings = APP_SETTINGS.table


@dataclass(frozen=True, slots=True)
class AppSetting:
    """An app's settings. `gateway_url` None: its inbox."""

    gateway_url: str | None = None
    inbox_answer: InboxAnswer = "success"
    version: int = 0


class AppSettings:
    """Reads and changes settings, by the app's number."""

    def __init__(self, database: Database, committer: Committer, *, origin: str) -> None:
        """`origin`: the platform's own address, where inboxes are."""
        self._database = database
        self._committer = committer
        self._origin = origin

    def inbox_address(self, app_number: str) -> str:
        """A notify_url that is ready for use."""
        return f"{self._origin}/sandbox/inbox/{app_number}"

    async def gateway_address(self, app_number: str) -> str:
        """Where the app hears of authorisations."""
        return (await self.of(app_number)).gateway_url or self.inbox_address(app_number)

    async def of(self, app_number: str) -> AppSetting:
        """The settings, by default where none were made."""
        async with self._database.read_auth() as connection:
            row = (await connection.execute(select(_settings).where(_settings.c.id == app_number))).one_or_none()
        return AppSetting() if row is None else AppSetting(row.gateway_url, row.inbox_answer, row.version)

    async def change(self, app_number: str, values: dict[str, Any]) -> AppSetting:
        """Change some settings. ValueError, in words for a person, for what cannot be."""
        if values.get("inbox_answer", "success") not in INBOX_ANSWERS:
            raise ValueError(f"The inbox answers one of: {', '.join(INBOX_ANSWERS)}.")
        url = values.get("gateway_url")
        if url is not None and (len(url) > URL_LENGTH_MAX or not url.startswith(("http://", "https://"))):
            raise ValueError(f"An address begins with http:// or https:// and has at most {URL_LENGTH_MAX} characters.")
        for _ in range(TRIES_MAX):
            known = await self.of(app_number)
            try:
                await self._committer.commit(Plan(None, [_part(app_number, known, values)]))
            except PlanRefused as refused:
                if isinstance(refused.refusal, Duplicate | VersionConflict):
                    continue
                raise
            return await self.of(app_number)
        raise TimeoutError(f"{app_number}: settings were changed too often meanwhile")


def _part(app_number: str, known: AppSetting, values: dict[str, Any]) -> object:
    if known.version:
        return Change(APP_SETTINGS, app_number, values, expected=known.version)
    row = {"id": app_number, "gateway_url": None, "inbox_answer": "success", "version": 1}
    return Insert(APP_SETTINGS, {**row, **values})

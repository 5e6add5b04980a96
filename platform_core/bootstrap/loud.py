"""Less confinement than isolation is never quiet: said at the start, at each load, in health, metrics, audit, problems.

`ARSENAL_SANDBOX_REQUIRE` below L2 works only with `ARSENAL_SANDBOX_ACCEPT`, which names who answers for it
(docs/explanation/isolation.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from platform_core.bootstrap.confined import Confined
from platform_core.kernel.commit import Audit, Committer, Plan, PlanRefused
from platform_core.kernel.commit.audit import PLATFORM
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.i18n import Text
from platform_core.kernel.settings import Settings
from platform_core.kernel.telemetry import gauge
from platform_core.plugin_host.host_deps import Lowered
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.problem_book import Noted, ProblemBook
from sandbox.runtime.levels import Level

log = structlog.get_logger(__name__)
ISOLATED: Final = Level.L2
"""Below it nobody may speak of isolation."""
PROBLEM: Final = "confinement_lowered"
DEGRADED: Final = gauge(
    "arsenal.sandbox.degraded", unit="1", description="1 where plugins may run, or cannot run, below isolation; else 0."
)


def lowered_of(settings: Settings) -> Lowered | None:
    """Whether less than isolation is accepted, and by whom."""
    if Level[settings.sandbox_require] >= ISOLATED or settings.sandbox_accept is None:
        return None
    name, _, reason = settings.sandbox_accept.partition(": ")
    return Lowered(required=settings.sandbox_require, accepted_by=name, reason=reason)


def banner(settings: Settings) -> str | None:
    """What people see when a process starts; None where nothing is lowered."""
    lowered = lowered_of(settings)
    if lowered is None:
        return None
    return (
        f"PLUGINS ARE NOT ISOLATED: {lowered.required} is required instead of {ISOLATED.name}. A plugin may read what "
        f"this process can. Accepted by {lowered.words}. End it: unset ARSENAL_SANDBOX_REQUIRE"
    )


class Loud:
    """Says it in one process."""

    def __init__(self, settings: Settings, confined: Confined, *, committer: Committer, problems: ProblemBook) -> None:
        self._settings = settings
        self._lowered = lowered_of(settings)
        self._confined = confined
        self._committer = committer
        self._problems = problems
        self._seen: set[tuple[str, str]] = set()

    @property
    def degraded(self) -> list[dict[str, str]]:
        """For `/health`: what is less than it should be, without names. Empty where all is well."""
        attained = self._confined.level
        if self._lowered is not None:
            why = "lowered"
        elif self._confined.is_failed:
            why = "not_attained"
        else:
            return []
        return [{"part": "sandbox", "why": why, "required": self._settings.sandbox_require, "attained": attained}]

    async def began(self) -> None:
        """At the start: the banner, the metric, and a row of the audit log before any plugin runs.

        Raises what the committer raises: a process that cannot account for it does not start.
        """
        DEGRADED.set(0 if self._lowered is None else 1)
        said = banner(self._settings)
        if self._lowered is None or said is None:
            return
        log.critical("sandbox.degraded", banner=said)
        facts = {"required": self._lowered.required, "accepted_by": self._lowered.accepted_by}
        row = Audit("sandbox.degrade_accepted", PLATFORM, "sandbox", None, facts, reason=self._lowered.reason)
        await self._committer.commit(Plan(None, [row]))

    async def loaded(self, releases: Iterable[Release]) -> None:
        """At each load of a confined release: the banner, an audit row, and a problem on the plugin's health page."""
        if self._confined.is_failed:
            DEGRADED.set(1)
        if self._lowered is None:
            return
        fresh = [one for one in releases if one.tier == "confined" and one.key not in self._seen]
        for release in fresh:
            log.critical(
                "plugin.loaded_below_isolation",
                plugin=release.plugin_id,
                version=release.version,
                attained=self._confined.level,
                accepted=self._lowered.words,
            )
            self._problems.note(_problem(release, self._lowered))
        if not fresh:
            return
        try:
            await self._account(fresh, self._lowered)
        except (PlatformError, PlanRefused) as error:  # the feed that brought the news must go on
            log.error("sandbox.degrade_not_accounted", error=str(error))
            return
        self._seen |= {one.key for one in fresh}

    async def _account(self, releases: Iterable[Release], lowered: Lowered) -> None:
        """One row for each; what cannot be written now is written with the next generation."""
        attained = self._confined.level
        facts = {"required": lowered.required, "attained": attained, "accepted_by": lowered.accepted_by}
        rows = [
            Audit(
                "plugin.loaded_below_isolation",
                PLATFORM,
                one.plugin_id,
                None,
                {**facts, "version": one.version},
                reason=lowered.reason,
            )
            for one in releases
        ]
        await self._committer.commit(Plan(None, [*rows]))


def _problem(release: Release, lowered: Lowered) -> Noted:
    return Noted(
        plugin_id=release.plugin_id,
        plugin_version=release.version,
        merchant_id=None,
        kind=PROBLEM,
        key=release.version,
        severity="critical",
        message=Text(
            en=f"The plugin runs below isolation: {lowered.required} is accepted by {_plain(lowered.words)}.",
            zh=f"插件在低于隔离要求的级别运行：{lowered.required}，由 {_plain(lowered.words)} 承担责任。",
        ),
        hint=Text(
            en="Run arsenal doctor, close the gaps, and unset ARSENAL_SANDBOX_REQUIRE.",
            zh="请运行 arsenal doctor 补齐缺口，并取消 ARSENAL_SANDBOX_REQUIRE。",
        ),
        docs="explanation/isolation.md",
    )


def _plain(words: str) -> str:
    return words.replace("{", "(").replace("}", ")")

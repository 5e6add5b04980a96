"""Settings from the environment, read once at the edge (bootstrap) and handed down.

Nothing below reads the environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from platform_core.kernel.i18n import Language

PREFIX: Final = "ARSENAL_"
OTHER_TYPES: Final = "other"


class MoneyLimits(BaseModel):
    """How much money an app may move under one type of limit, in minor units of one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    request_minor: int | None = Field(default=None, ge=1, le=10**13)
    day_minor: int = Field(ge=1, le=10**13)
    ceiling_minor: int = Field(ge=1, le=10**13)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not (self.request_minor or 1) <= self.day_minor <= self.ceiling_minor:
            raise ValueError("request_minor <= day_minor <= ceiling_minor")
        return self


SHIPPED_MONEY_LIMITS: Final[Mapping[str, Mapping[str, MoneyLimits]]] = {
    "CNY": {
        OTHER_TYPES: MoneyLimits(request_minor=500_000, day_minor=5_000_000, ceiling_minor=100_000_000_000),
        "payment_create": MoneyLimits(day_minor=100_000_000, ceiling_minor=100_000_000_000),
    }
}


class Settings(BaseSettings):
    """All settings.

    Each is the environment variable `ARSENAL_` + its name in capitals; each description is its reference text.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(
        default=Path(".arsenal"),
        description="Folder of everything that the embedded default keeps: the database, the broker's files, "
        "generated keys.",
    )
    public_origin: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^/?#\s]+$",
        description="Scheme, host and port under which callers reach the platform; no path. Issuer of tokens and base "
        "of links.",
    )
    listen_host: str = Field(default="127.0.0.1", description="Address that `arsenal serve` listens on.")
    listen_port: int = Field(default=8080, ge=0, le=65535, description="Port of `arsenal serve`; 0 takes any free one.")

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL 15 or newer as postgresql://user:password@host:port/name, with the role that owns the "
        "tables. Unset: the embedded PostgreSQL under `home`.",
    )
    database_app_url: SecretStr | None = Field(
        default=None,
        description="The same database with role arsenal_app, which reads under row-level security. Unset: derived "
        "from database_url.",
    )
    database_writer_url: SecretStr | None = Field(
        default=None,
        description="The same database with role arsenal_writer, which commits plans. Unset: derived from "
        "database_url.",
    )
    database_auth_url: SecretStr | None = Field(
        default=None,
        description="The same database with role arsenal_auth, which reads parties and tokens. Unset: derived from "
        "database_url.",
    )
    database_job_url: SecretStr | None = Field(
        default=None,
        description="The same database with role arsenal_job, used by relay, janitor and settlement. Unset: derived "
        "from database_url.",
    )
    database_pool_max: int = Field(
        default=10, ge=1, le=200, description="Connections that one process opens at most for each role."
    )
    database_statement_timeout_ms: int = Field(
        default=10_000, ge=100, le=600_000, description="After how many milliseconds PostgreSQL gives up a statement."
    )

    broker_url: SecretStr | None = Field(
        default=None,
        description="Celery broker: redis://, rediss://, amqp:// or amqps://. Unset: files under `home`, for one "
        "machine.",
    )
    worker_threads: int = Field(default=8, ge=1, le=64, description="Tasks that one worker process runs at a time.")

    is_webhook_loopback_allowed: bool = Field(
        default=False,
        description="Whether webhooks may go to plain http on this machine's loopback: for trying out and tests, never "
        "in production.",
    )

    egress_simulators: Mapping[str, str] = Field(
        default={},
        description="Hosts that plugins' requests reach on this machine instead, as a JSON object of host to "
        "http://127.0.0.1:port: for trying out and tests, never in production.",
    )

    sticker_amount_minor_max: int = Field(
        default=50_000,
        ge=1,
        le=10_000_000_000,
        description="The most that one payment at a printed code may be whose customer types the amount, minor units. "
        "The default is 500.00 CNY, the daily cap of static codes in the People's Bank of China's rules for "
        "payments by bar code (Yinfa 2017 No. 296).",
    )
    commit_batch_plans_max: int = Field(
        default=128, ge=1, le=1024, description="Plans that one group commit takes at most."
    )
    commit_queue_plans_max: int = Field(
        default=1024,
        ge=1,
        le=65_536,
        description="Plans that may wait for the writer of one process; beyond it callers get 503 with Retry-After.",
    )

    cursor_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Key that signs list cursors, the same in every process. Unset: generated once and kept under "
        "`home`.",
    )
    secrets_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Key that seals stored secrets, the same in every process. Unset: generated once and kept under "
        "`home`.",
    )

    refresh_grace_s: int = Field(
        default=30,
        ge=0,
        le=60,
        description="Seconds in which a public client may repeat the use of a refresh token whose answer got lost. It "
        "gets the same successor again; 0 makes every repetition a reuse, which ends the family.",
    )
    rate_own_app_per_s: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Requests a second of a merchant's own app, over all server processes; twice as many at once. An "
        "ISV's apps have the limits of its tier.",
    )
    rate_address_per_s: int = Field(
        default=300,
        ge=1,
        le=100_000,
        description="Requests a second from one address without a valid access token, over all server processes; twice "
        "as many at once.",
    )

    money_limits: Mapping[str, Mapping[str, MoneyLimits]] = Field(
        default=SHIPPED_MONEY_LIMITS,
        description="What apps may move under a merchant's grant, by currency and by type of authorization detail "
        "(`other`: every type that is not named), in minor units: `request_minor` (may be left out) and `day_minor` "
        "where an app asks for no limit, `ceiling_minor` a day at most. JSON; replaces the whole default. A currency "
        "or type without an entry cannot be granted under a metered scope, except to a merchant's own app.",
    )

    plugins_allow_file: Path | None = Field(
        default=None,
        description="`plugins.allow.toml`: which plugins run in the host's process, by id, version and tree hash, with "
        "two reviewers each. Unset: those of this distribution, as they are installed, and no other.",
    )
    is_development: bool = Field(
        default=False,
        description="Whether `arsenal plugin dev` may run drafts of plugins here: confined as any other, at merchants "
        "in test mode alone. Set by `arsenal demo`; never in production.",
    )
    is_sandbox: bool = Field(
        default=False,
        description="Whether this installation is a sandbox to develop against: merchants in test mode alone, a clock "
        "that can be turned, scripted faults, and the doors under /sandbox/v1. It starts over no database that holds a "
        "merchant in live mode. Set by `arsenal demo`; never in production.",
    )
    acquirer_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+$",
        description="Where the simulated acquirer of a sandbox answers: it is told of new merchants and of the turned "
        "clock, and its buyers are shown under /sandbox/v1. Read in a sandbox alone.",
    )
    sandbox_notice_hosts: str = Field(
        default="",
        pattern=r"^([a-z0-9.:_-]+( [a-z0-9.:_-]+)*)?$",
        description="Hosts, parted by blanks, that the Alipay-compatible gateway of a sandbox may send notices to, "
        "besides this machine and the platform's own address. Read in a sandbox alone.",
    )
    sandbox_require: Literal["L1", "L2", "L3", "L4"] = Field(
        default="L2",
        description="Least level of confinement for plugins that are not trusted (docs/explanation/isolation.md). On a "
        "machine that attains less none of them is loaded. L1 is no isolation, and needs sandbox_accept.",
    )
    sandbox_accept: str | None = Field(
        default=None,
        pattern=r"^[^:\n]{2,80}: [^\n]{3,400}$",
        validate_default=True,
        description='Who takes the blame for a sandbox_require below L2, and why, as "name: reason". It is shown at '
        "every start and on every page of a plugin, and kept in the audit log.",
    )

    language: Language = Field(
        default="en", description="Language of answers when a caller's Accept-Language names none of ours: en or zh."
    )
    business_timezone: str = Field(
        default="Asia/Shanghai",
        description="IANA time zone in which a merchant's business day begins and ends by default.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line that is written."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="json: one object a line, for machines. console: for people."
    )
    trace_hooks: bool = Field(
        default=False,
        description="Whether each hook that plugins are asked is written to the log: plugins in order, names of the "
        "fields that were sent, answers, faults, durations, the decision. No value of a payload.",
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OTLP over HTTP collector, such as http://127.0.0.1:4318. Unset: no traces or metrics leave, at "
        "no cost. Needs the package opentelemetry-exporter-otlp-proto-http.",
    )
    otel_service_name: str = Field(default="arsenal", description="Service name on traces and metrics.")
    otel_sample_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Share of traces kept when the caller has not decided."
    )

    @field_validator("sandbox_accept")
    @classmethod
    def _less_isolation_is_answered_for(cls, accepted: str | None, known: ValidationInfo) -> str | None:
        if known.data.get("sandbox_require") == "L1" and accepted is None:
            raise ValueError('SANDBOX_REQUIRE=L1 is no isolation: say who answers for it, as "name: reason"')
        return accepted


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def unknown_variables(names: Iterable[str], *, also_known: Iterable[str] = ()) -> dict[str, str | None]:
    """Which `ARSENAL_` names of an environment are no setting, each with the setting probably meant.

    The edge reports them: a misspelt variable must not be ignored in silence. `also_known`: names that something else
    reads.
    """
    known = {variable_of(field) for field in Settings.model_fields} | set(also_known)
    found: dict[str, str | None] = {}
    for name in sorted(set(names)):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
            found[name] = close[0] if close else None
    return found

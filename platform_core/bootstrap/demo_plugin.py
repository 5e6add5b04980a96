"""The demo's plugin: risk_velocity as a wheel, through every hand that a stranger's plugin goes through, and confined.

It is packed, submitted, reviewed, published, installed, configured and enabled by the services that everybody uses, for
one merchant. On a machine that cannot confine it as required it is not installed at all, which is said.
"""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import find_project
from platform_core.bootstrap.demo_checks import Check
from platform_core.bootstrap.doctor_sandbox import first_repair, proven
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.terminal import CliFailure
from platform_core.kernel.settings import Settings
from platform_core.plugin_host import repository
from platform_core.plugin_host.installations import Actor
from platform_core.plugin_host.releases import Submission
from platform_core.plugin_host.schemas import ConfigurationWrite, InstallationCreate, ReviewWrite
from sandbox.runtime.levels import Level, gaps, look_at_machine
from sandbox.runtime.spawner import SpawnFailed
from sandbox.testbed.seed import SeededMerchant
from sandbox.testbed.trigger_till import Till, TillRefused

PLUGIN_ID: Final = "dev.arsenal.risk-velocity"
PUBLISHER: Final = ("isv_arsenal", "Arsenal")
STARTER_PUBLISHER: Final = ("isv_example", "Example Studio")
"""Whom `arsenal plugin new` names as the publisher: with the demo, whoever tries it out is this ISV."""
CONFIG: Final[Mapping[str, Any]] = {"payer_payments_max": 2}  # Any: JSON; twice as many are refused
HURRIED: Final = ("captured", "captured", "in_review", "refused")
"""What becomes of four payments of one payer, one after another."""
TRIES_MAX: Final = 20
TRY_EVERY_S: Final = 0.5
_HURRY: Final = "_hurry_"
_ASKS: Final = (
    "SELECT CAST(facts AS json)->>'version', CAST(facts AS json)->>'level', count(*) FROM audit_row "
    "WHERE kind = 'plugin.call_asked' AND actor = :plugin_id AND merchant_id = :merchant_id GROUP BY 1, 2 ORDER BY 1, 2"
)


@dataclass(slots=True)
class DemoPlugin:
    """What was attained, and what the plugin did."""

    merchant: str
    required: str
    attained: str
    why_not: str = ""
    """Why it was not installed: in words, with the next step; empty when it was."""
    version: str = ""
    is_new: bool = False
    """Whether this start submitted it, or found it published."""
    hurried: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why the last of the hurried payments was refused, in the plugin's words."""
    hurried_payments: int = 0
    asked: int = 0
    """Of the merchant's payments, those on which the plugin was asked."""
    late: int = 0
    """Of these, those on which it gave no answer in time: a person looked."""
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    """Version, level and number of calls in which it used its store, as the audit log has them."""

    def document(self) -> Mapping[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "plugin_id": PLUGIN_ID,
            "merchant": self.merchant,
            "required": self.required,
            "attained": self.attained,
            "is_installed": not self.why_not,
            "why_not": self.why_not or None,
            "version": self.version or None,
            "is_new": self.is_new,
            "calls": [{"version": version, "level": level, "calls": calls} for version, level, calls in self.calls],
            "asked": self.asked,
            "late": self.late,
            "hurried": {"states": self.hurried, "reasons": self.reasons, "payments": self.hurried_payments},
        }

    @property
    def words(self) -> str:
        """What it did, on one line."""
        ran = ", ".join(f"{calls} calls of {version} at {level}" for version, level, calls in self.calls) or "no call"
        late = f", {self.late} answers came late and a person looked" if self.late else ""
        refused = f"; of 4 payments of one payer: {', '.join(self.hurried)} ({'; '.join(self.reasons)})"
        return f"{PLUGIN_ID} ran confined for {self.merchant}: {ran}{late}{refused}"


async def attained(settings: Settings, merchant: SeededMerchant) -> DemoPlugin:
    """Prove how far this machine confines a plugin; nothing is installed."""
    required = Level[settings.sandbox_require]
    try:
        level, _ = await proven(settings, required)
    except SpawnFailed as failed:
        level, said = Level.L0, f"no worker can be started: {failed}"
    else:
        said = f"this machine attains {level.name}, and plugins need {required.name}"
    found = DemoPlugin(merchant.name, required.name, level.name)
    if level < required:
        repair = first_repair(gaps(look_at_machine()), required)
        found.why_not = f"{said}. {repair}, then run: arsenal doctor"
    return found


async def put_in_place(platform: Platform, merchant: SeededMerchant, told: DemoPlugin) -> None:
    """Have it published, unless an earlier start has, and let the merchant use it."""
    life = platform.plugin_life
    await life.deps.parties.ensure_isv(STARTER_PUBLISHER[0], name=STARTER_PUBLISHER[1])
    if told.why_not:
        return
    bundle = pack(find_project(_folder()))
    told.version = bundle.manifest.plugin.version
    async with platform.database.read_auth() as connection:
        known = await repository.read_version(connection, PLUGIN_ID, told.version)
    if known is None:
        told.is_new = True
        await _publish(platform, bundle.content)
    actor = Actor(id="per_seed", merchant_id=merchant.id)
    asked = frozenset(scope.name for scope in bundle.manifest.scopes)
    wanted = InstallationCreate(plugin_id=PLUGIN_ID, plugin_version=told.version, scopes=asked)
    made = await life.installations.install(actor, wanted)
    await life.configurations.set(actor, made.id, ConfigurationWrite(config=dict(CONFIG)), expected=made.version)
    await life.installations.enable(actor, made.id)


async def _publish(platform: Platform, content: bytes) -> None:
    """Submitted by its publisher, approved by as many people as it needs, published."""
    life = platform.plugin_life
    assert life.bundles is not None, "the demo's platform keeps bundles"
    await life.deps.parties.ensure_isv(PUBLISHER[0], name=PUBLISHER[1])
    with tempfile.TemporaryDirectory(prefix="arsenal-demo-") as scratch:
        path = Path(scratch) / f"{PLUGIN_ID}.arsenal"
        path.write_bytes(content)
        unpacked = await life.bundles.unpack(path)
    made = await life.releases.submit(Submission(unpacked=unpacked, isv_id=PUBLISHER[0], by="per_demo_publisher"))
    for number in range(made.reviews_needed):
        review = ReviewWrite(decision="approve", note="Read for the demo.")
        await life.releases.review(made.id, review, reviewer=f"per_demo_reviewer_{number}")
    await life.releases.publish(made.id, by="per_demo_publisher", isv_id=PUBLISHER[0])


def _folder() -> Path:
    """Where the distribution keeps its plugins; nothing of them is imported."""
    spec = importlib.util.find_spec("plugins")
    if spec is None or not spec.submodule_search_locations:
        raise CliFailure("This installation came without plugins/.", "Run the demo from a checkout: make demo")
    return Path(spec.submodule_search_locations[0]) / "risk_velocity"


async def play_hurried(till: Till, told: DemoPlugin, *, run: str) -> None:
    """One payer pays four times in a row. Done again with another payer while the plugin's first worker starts."""
    if told.why_not:
        return
    for number in range(TRIES_MAX):
        told.hurried, payments = [], []
        for place in range(len(HURRIED)):
            payment = await _pay(till, f"{run}{_HURRY}{number}_{place}", payer=f"{run}_{number}")
            payments.append(payment)
            told.hurried.append("refused" if payment["closed_reason"] == "denied_by_risk" else payment["state"])
            if payment["risk"] is None or payment["degraded"]:
                break
        told.hurried_payments += len(payments)
        told.reasons = [str(reason["text"]) for reason in (payments[-1]["risk"] or {}).get("reasons", ())]
        if len(payments) == len(HURRIED):
            return
        await asyncio.sleep(TRY_EVERY_S)


async def _pay(till: Till, number: str, *, payer: str) -> dict[str, Any]:  # Any: JSON
    """A payment in cash as it stands afterwards, also one that was refused."""
    body = {
        "out_trade_no": number,
        "subject": "One payer, again",
        "form": "local",
        "currency": "CNY",
        "order_minor": 1_250,
        "customer": {"channel": "wallet", "channel_user_id": payer},
    }
    try:
        await till.post("/payments", body, key=number)
    except TillRefused as refused:
        if refused.problem.get("code") != "payments.denied_by_risk":
            raise
    return await till.get(f"/payments/out_trade_no:{number}")


async def check_plugin(platform: Platform, merchant: SeededMerchant, till: Till, told: DemoPlugin) -> Check:
    """It refused who paid too often, was asked of every payment, and ran at the required level or better."""
    payments = await till.listed("/payments")
    told.asked = sum(payment["risk"] is not None for payment in payments)
    told.late = sum(bool(payment["degraded"]) and _HURRY not in payment["out_trade_no"] for payment in payments)
    values = {"plugin_id": PLUGIN_ID, "merchant_id": merchant.id}
    told.calls = [(row[0], row[1], row[2]) for row in await platform.database.singles("job").rows(_ASKS, values)]
    faults = faults_of(told, payments)
    return Check("plugin", not faults, "; ".join(faults) or told.words)


def faults_of(told: DemoPlugin, payments: Sequence[Mapping[str, Any]]) -> list[str]:  # Any: JSON
    """What is not as it had to be, in words."""
    faults = []
    if tuple(told.hurried) != HURRIED:
        faults.append(f"four payments of one payer became {', '.join(told.hurried)}, not {', '.join(HURRIED)}")
    if told.asked + told.hurried_payments < len(payments):
        faults.append(f"it was asked of {told.asked} of {len(payments)} payments")
    if not told.calls:
        faults.append("the audit log knows no call of it")
    for version, level, calls in told.calls:
        if version != told.version:
            faults.append(f"{calls} calls of {version} ran at {level} where {told.version} had to")
        elif level not in Level.__members__ or Level[level] < Level[told.required]:
            faults.append(f"{calls} calls of {version} ran at {level}, below {told.required}")
    states = Counter(payment["state"] for payment in payments if payment["degraded"])
    if states["in_review"] > told.hurried_payments:
        faults.append(f"{states['in_review']} payments still wait for a person")
    return faults

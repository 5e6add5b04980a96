"""Payment providers and message channels of outside plugins, as the capabilities know them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from platform_core.contracts.hooks import CATALOGUE, hookimpl
from platform_core.contracts.messages import ChannelDescription, MessageCall, MessageResult
from platform_core.contracts.payments import (
    Bill,
    BillRequest,
    DisputeCall,
    DisputeNotice,
    DisputeWord,
    ErrorClass,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    PayoutCall,
    ProviderCall,
    ProviderDescription,
    ProviderError,
    ProviderResult,
)
from platform_core.contracts.runtime import Fault, FaultKind
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.object_calls import Make, MethodCall, ObjectTools, OutsideObject, is_refusal
from platform_core.plugin_host.problems import Problem, ProblemKind

MOVES: Final = frozenset({"create", "pay", "authorize", "capture", "void", "refund", "settle", "payout"})
"""Methods whose failure may be told as `not_sent`. What asks or undoes stays unknown: an answer `failed` would be about
the transaction, not about the question."""
REFUSALS: Final = frozenset({"bad_signature", "stale", "malformed", "not_supported"})
BEGINS: Final = frozenset({"create", "pay", "authorize"})


Descriptions = MutableMapping[tuple[str, str, str, str], Any]  # Any: the Protocol's type of description
"""By plugin, version, hook and object id."""


class PluginDidNotAnswer(Exception):
    """An outside plugin gave no answer where the Protocol has no word for that; the capability asks again later."""


@dataclass(frozen=True, slots=True)
class OutsidePaymentProvider:
    """`PaymentProvider` over a plugin that runs elsewhere: every fault is unknown, or `not_sent` if no byte left."""

    made_of: OutsideObject
    description: ProviderDescription

    def describe(self) -> ProviderDescription:
        """As the plugin said when it was loaded."""
        return self.description

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Put an order there."""
        return await self._ask("create", call)

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """Take the money now."""
        return await self._ask("pay", call)

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Freeze the amount."""
        return await self._ask("authorize", call)

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Take of an authorisation."""
        return await self._ask("capture", call)

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Release of an authorisation."""
        return await self._ask("void", call)

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """Return money."""
        return await self._ask("refund", call)

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """Undo, whatever became of it."""
        return await self._ask("cancel", call)

    async def close(self, call: ProviderCall) -> ProviderResult:
        """End what is unpaid."""
        return await self._ask("close", call)

    async def query(self, call: ProviderCall) -> ProviderResult:
        """The provider's word on a transaction."""
        return await self._ask("query", call)

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """The provider's word on a refund."""
        return await self._ask("query_refund", call)

    async def settle(self, call: ProviderCall) -> ProviderResult:
        """Give shares to their receivers."""
        return await self._ask("settle", call)

    async def payout(self, call: PayoutCall) -> ProviderResult:
        """Send money to a merchant's bank."""
        return await self._ask("payout", call)

    async def query_payout(self, call: PayoutCall) -> ProviderResult:
        """The provider's word on a payout."""
        return await self._ask("query_payout", call)

    async def query_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """How a dispute stands there."""
        return await self._ask_about("query_dispute", call)

    async def submit_evidence(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Hand a document over."""
        return await self._ask_about("submit_evidence", call)

    async def accept_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Give in."""
        return await self._ask_about("accept_dispute", call)

    async def parse_notice(self, notice: Notice) -> NoticeOutcome | DisputeNotice:
        """Verify and read a notice. Raises NoticeRefused; PluginDidNotAnswer, so that the provider repeats it."""
        asked = MethodCall(
            method="parse_notice",
            argument=notice,
            deadline_s=10.0,
            now=notice.now,
            idempotency_key=notice.channel_account.id,
        )
        outcome = (await self.made_of.call(asked, is_new=False)).outcome
        if isinstance(outcome, Fault):
            if is_refusal(outcome) and outcome.detail.startswith("NoticeRefused"):
                raise NoticeRefused(_refusal_code(outcome), "The provider's plugin does not believe the notice.")
            raise PluginDidNotAnswer(f"{self.made_of.plugin_id}: {outcome.kind.value}")
        said: NoticeOutcome | DisputeNotice = outcome.value
        return said

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """A day's bill. LookupError while there is none yet; PluginDidNotAnswer."""
        asked = MethodCall(
            method="fetch_bill",
            argument=request,
            deadline_s=request.deadline_s,
            now=request.now,
            idempotency_key=f"{request.channel_account.id}:{request.day.isoformat()}",
        )
        outcome = (await self.made_of.call(asked, is_new=False)).outcome
        if isinstance(outcome, Fault):
            if is_refusal(outcome) and outcome.detail.startswith("LookupError"):
                raise LookupError(f"{self.made_of.object_id} has no bill of {request.day.isoformat()} yet")
            raise PluginDidNotAnswer(f"{self.made_of.plugin_id}: {outcome.kind.value}")
        bill: Bill = outcome.value
        return bill

    async def _ask(self, method: str, call: ProviderCall | PayoutCall) -> ProviderResult:
        asked = MethodCall(
            method=method,
            argument=call,
            deadline_s=call.deadline_s,
            now=call.now,
            idempotency_key=call.idempotency_key,
            store_id=None if isinstance(call, PayoutCall) else call.store_id,
        )
        said = await self.made_of.call(asked, is_new=method in BEGINS)
        if not isinstance(said.outcome, Fault):
            result: ProviderResult = said.outcome.value
            return result
        code, words = said.outcome.kind.value, "The provider's plugin gave no answer."
        if method in MOVES and not said.has_left:
            return ProviderResult.failed(ErrorClass.NOT_SENT, code, words)
        return ProviderResult.unknown(code, words)

    async def _ask_about(self, method: str, call: DisputeCall) -> DisputeWord | ProviderError:
        """One question about a dispute; every fault leaves it open."""
        asked = MethodCall(
            method=method,
            argument=call,
            deadline_s=call.deadline_s,
            now=call.now,
            idempotency_key=call.idempotency_key,
        )
        outcome = (await self.made_of.call(asked, is_new=False)).outcome
        if isinstance(outcome, Fault):
            return ProviderError(ErrorClass.UNKNOWN, outcome.kind.value, "The provider's plugin gave no answer.")
        word: DisputeWord | ProviderError = outcome.value
        return word


def _refusal_code(fault: Fault) -> str:
    """Of a `NoticeRefused`, whose detail reads `NoticeRefused: <code>: ...`; malformed where it says nothing known."""
    said = fault.detail.split(":", 2)
    code = said[1].strip() if len(said) > 1 else ""
    return code if code in REFUSALS else "malformed"


@dataclass(frozen=True, slots=True)
class OutsideChannel:
    """`MessageChannel` over a plugin that runs elsewhere."""

    made_of: OutsideObject
    description: ChannelDescription

    def describe(self) -> ChannelDescription:
        """As the plugin said when it was loaded."""
        return self.description

    async def send(self, call: MessageCall) -> MessageResult:
        """Deliver once. Without an answer: unknown, or failed and repeatable if no byte left."""
        return await self._ask("send", call)

    async def query(self, call: MessageCall) -> MessageResult:
        """The channel's word on a message."""
        return await self._ask("query", call)

    async def _ask(self, method: str, call: MessageCall) -> MessageResult:
        asked = MethodCall(
            method=method,
            argument=call,
            deadline_s=call.deadline_s,
            now=call.now,
            idempotency_key=call.idempotency_key,
        )
        said = await self.made_of.call(asked, is_new=method == "send")
        if not isinstance(said.outcome, Fault):
            result: MessageResult = said.outcome.value
            return result
        code, words = said.outcome.kind.value, "The channel's plugin gave no answer."
        if method == "send" and not said.has_left:
            return MessageResult.failed(code, words, is_repeatable=True)
        return MessageResult.unknown(code, words)


MAKERS: Final[Mapping[str, Make]] = {
    "register_payment_provider": OutsidePaymentProvider,
    "register_channel": OutsideChannel,
}
"""What the host puts in the place of an outside object, by the hook that hands it over."""


async def outside_plugins(
    releases: Sequence[Release], tools: ObjectTools, *, known: Descriptions | None = None
) -> tuple[tuple[Plugin, ...], tuple[Problem, ...]]:
    """Releases that run elsewhere, in the order given, with the objects they hand over: ready for a generation.

    An object serves all versions of its plugin: at each call the merchant's own is asked. It stands at the first
    release that describes it; a release whose object cannot be described keeps its other hooks. `known`: what was
    described before, which a published release does not change; new descriptions are put there.
    """
    known = {} if known is None else known
    plugins: list[Plugin] = []
    problems: list[Problem] = []
    seen: set[tuple[str, str, str]] = set()
    for release in releases:
        implementations: dict[str, Any] = {}  # Any: pluggy's marked functions
        for use in release.manifest.providers:
            named = (release.plugin_id, use.hook, use.id)
            if named in seen:
                continue
            made = await _made(release, hook=use.hook, object_id=use.id, tools=tools, known=known)
            if isinstance(made, Problem):
                problems.append(made)
            else:
                seen.add(named)
                implementations[use.hook] = hookimpl(_handing_over(made))
        plugins.append(Plugin(release.plugin_id, SimpleNamespace(**implementations), release))
    return tuple(plugins), tuple(problems)


async def _made(release: Release, *, hook: str, object_id: str, tools: ObjectTools, known: Descriptions) -> object:
    """The host's object in place of the plugin's, or a Problem."""
    make, spec = MAKERS.get(hook), CATALOGUE.get(hook)
    if make is None or spec is None:
        what = f"This host has no place for objects of {hook} that run outside of it."
        return Problem(plugin_id=release.plugin_id, kind=ProblemKind.UNKNOWN_HOOK, message=what, hook=hook)
    stub = OutsideObject(tools, release.plugin_id, spec, object_id)
    place = (*release.key, hook, object_id)
    description = known[place] if place in known else await stub.describe(release)
    if isinstance(description, Fault):
        what = f"{object_id} of {release.version} could not be asked what it is ({description.kind.value})."
        kind = ProblemKind.BAD_RESULT if description.kind is FaultKind.BAD_RESULT else ProblemKind.RAISED
        return Problem(plugin_id=release.plugin_id, kind=kind, message=what, hook=hook)
    if description.id != object_id:
        what = f"plugin.toml names {object_id}; the object calls itself {description.id[:80]}."
        return Problem(plugin_id=release.plugin_id, kind=ProblemKind.MANIFEST, message=what, hook=hook)
    known[place] = description
    return make(stub, description)


def _handing_over(made: object) -> Any:  # Any: a function that pluggy marks
    def hand_over() -> object:
        return made

    return hand_over

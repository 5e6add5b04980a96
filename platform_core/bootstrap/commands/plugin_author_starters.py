"""What `arsenal plugin new` writes for each hook: a small plugin that does something real, with tests that try it.

`@@package@@` stands for the import package, `@@argument@@` and `@@payload@@` for the hook's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """One hook's."""

    fields: tuple[str, ...] = ()
    fixture: str = ""
    """The golden fixture that its own test begins with."""
    config: str = ""
    """Properties of the configuration's schema, JSON without the braces."""
    manifest: str = ""
    """More of the manifest, after `[plugin]`."""
    imports: str
    body: str
    test: str
    suite: str = ""
    """Of the contract suite's class."""
    suite_imports: str = ""
    object_id: bool = False
    """Whether the hook hands over an object, which then stands in `provider.py`."""


_LARGE: Final = (
    '"review_above_minor": {"type": "integer", "minimum": 1, "maximum": 1000000000, "default": 500000, '
    '"title": {"zh": "超过此金额转人工（最小货币单位）", "en": "Ask a person above this amount (minor units)"}}'
)

_CHECK: Final = Starter(
    fields=("amount",),
    config=_LARGE,
    imports="from platform_core.contracts.payments import @@payload@@\n"
    "from platform_core.contracts.results import Verdict\n",
    body='''
@hookimpl
def @@hook@@(ctx: HookContext, @@argument@@: @@payload@@) -> Verdict:
    """Ask a person about large amounts, and refuse very large ones."""
    most = int(ctx.config.get("review_above_minor", 500_000))
    amount = @@argument@@.amount.amount_minor
    if amount > 10 * most:
        return Verdict.deny("amount.very-large", "More than ten times what is usual here.")
    if amount > most:
        return Verdict.review("amount.large", "More than what is usual here.")
    return Verdict.allow()
''',
    test="""
@pytest.mark.parametrize(
    ("amount_minor", "decision"), [(1_000, "allow"), (1_001, "review"), (10_000, "review"), (10_001, "deny")]
)
def test_large_amounts_are_looked_at_and_very_large_ones_refused(amount_minor: int, decision: str) -> None:
    host = FakeHost(PLUGIN.manifest, config={"review_above_minor": 1_000})
    told = TOLD.model_copy(update={"amount": Money(amount_minor=amount_minor, currency="CNY")})
    assert @@hook@@(host.context("@@hook@@"), told).decision == decision
""",
)
_AMEND: Final = Starter(
    fixture="small_lunch",
    fields=("total",),
    config='"threshold_minor": {"type": "integer", "minimum": 1, "maximum": 1000000000, "default": 10000, '
    '"title": {"zh": "满（最小货币单位）", "en": "From (minor units)"}}, '
    '"off_minor": {"type": "integer", "minimum": 1, "maximum": 1000000000, "default": 500, '
    '"title": {"zh": "减（最小货币单位）", "en": "Off (minor units)"}}',
    imports="from platform_core.contracts.payments import @@payload@@\n"
    "from platform_core.contracts.results import BasketOperations, Discount\n",
    body='''
@hookimpl
def @@hook@@(ctx: HookContext, @@argument@@: @@payload@@) -> BasketOperations:
    """Take a fixed amount off baskets that reach the threshold."""
    threshold, off = int(ctx.config.get("threshold_minor", 10_000)), int(ctx.config.get("off_minor", 500))
    total = @@argument@@.total.amount_minor
    if total < threshold or off > total:
        return BasketOperations()
    label = "满减" if ctx.locale.startswith("zh") else "Spend and save"
    return BasketOperations(operations=(Discount(amount_minor=off, rule_id="spend-and-save", label=label),))
''',
    test="""
@pytest.mark.parametrize(("total_minor", "off"), [(9_999, []), (10_000, [500])])
def test_baskets_that_reach_the_threshold_are_cut(total_minor: int, off: list[int]) -> None:
    host = FakeHost(PLUGIN.manifest)
    told = TOLD.model_copy(update={"total": Money(amount_minor=total_minor, currency="CNY")})
    answer = @@hook@@(host.context("@@hook@@"), told)
    assert [operation.amount_minor for operation in answer.operations] == off
""",
)
_CHOOSE: Final = Starter(
    fixture="three_healthy",
    fields=("routes",),
    imports="from platform_core.contracts.payments import @@payload@@\n"
    "from platform_core.contracts.results import Ranking\n",
    body='''
@hookimpl
def @@hook@@(ctx: HookContext, @@argument@@: @@payload@@) -> Ranking:
    """The cheapest route first, those that are down last."""
    ranked = sorted(@@argument@@.routes or (), key=lambda route: (route.health == "down", route.cost_bp))
    return Ranking.of([route.route_id for route in ranked])
''',
    test="""
def test_the_cheapest_route_comes_first_and_one_that_is_down_last() -> None:
    routes = TOLD.routes
    told = TOLD.model_copy(update={"routes": (routes[0].model_copy(update={"health": "down"}), *routes[1:])})
    answer = @@hook@@(FakeHost(PLUGIN.manifest).context("@@hook@@"), told)
    assert answer.ids[-1] == routes[0].route_id
    assert len(answer.ids) == len(routes)
""",
)
_RENDER: Final = Starter(
    fixture="lunch_html",
    fields=("out_trade_no", "merchant_card", "total", "media_type"),
    imports="from html import escape\n\nfrom platform_core.contracts.payments import @@payload@@\n"
    "from platform_core.contracts.results import Rendered\n",
    body='''
@hookimpl
def @@hook@@(ctx: HookContext, @@argument@@: @@payload@@) -> Rendered:
    """A page with the merchant's name and the order. Whatever the merchant wrote is escaped."""
    name, order = escape(@@argument@@.merchant_card.name), escape(@@argument@@.out_trade_no)
    page = f"<!doctype html><meta charset=utf-8><title>{order}</title><h1>{name}</h1><p>{order}</p>"
    return Rendered(media_type=_AS[@@argument@@.media_type], blob=page.encode(), total=@@argument@@.total)


# The host asks for both; a document of your own begins here.
_AS = {"text/html": "text/html; charset=utf-8", "application/pdf": "application/pdf"}
''',
    test="""
def test_what_the_merchant_wrote_is_never_markup() -> None:
    card = TOLD.merchant_card.model_copy(update={"name": "<script>"})
    told = TOLD.model_copy(update={"merchant_card": card, "media_type": "text/html"})
    answer = @@hook@@(FakeHost(PLUGIN.manifest).context("@@hook@@"), told)
    assert b"&lt;script&gt;" in answer.blob
    assert answer.total == TOLD.total
""",
)
_ON_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "on_payment_captured": ("event_id", "payment_id"),
        "on_refund_succeeded": ("event_id", "refund_id"),
        "on_plugin_changed": ("event_id", "change"),
    }
)
_ON: Final = Starter(
    manifest="\n[state]\nkeys_max = 1000\n",
    imports="from platform_core.contracts.@@module@@ import @@payload@@\n"
    "from platform_core.contracts.results import DONE, Acknowledged\n",
    body='''
@hookimpl
def @@hook@@(ctx: HookContext, @@argument@@: @@payload@@) -> Acknowledged:
    """Remember the event for a day. It may come again: the same key keeps it one event."""
    ctx.state.put(f"seen:{@@argument@@.event_id}", @@argument@@.@@second@@, ttl_s=86_400)
    return DONE
''',
    test="""
def test_an_event_is_remembered_once() -> None:
    host = FakeHost(PLUGIN.manifest)
    for _ in range(2):
        assert @@hook@@(host.context("@@hook@@"), TOLD).type == "done"
    assert host.state.contents() == {f"seen:{TOLD.event_id}": TOLD.@@second@@}
""",
)
_CHANNEL: Final = Starter(
    object_id=True,
    manifest="""
[[egress]]
host = "api.pager.example"
methods = ["GET", "POST"]
purpose = { zh = "发送消息", en = "To send messages" }
""",
    imports="""from platform_core.contracts.messages import (
    NOT_FOUND,
    ChannelDescription,
    MessageCall,
    MessageChannel,
    MessageResult,
)
from platform_core.contracts.plugin import Refused
""",
    body='''
BASE = "https://api.pager.example/v1/messages"


class Channel:
    """Sends by an imagined pager service. Replace its interface by your own."""

    def describe(self) -> ChannelDescription:
        """Short messages."""
        return ChannelDescription(id="@@package@@", medium="sms", body_bytes_max=500)

    async def send(self, call: MessageCall) -> MessageResult:
        """Put the message under its key: a repeat sends nothing twice."""
        return self._ask(call, "POST", {"to": call.recipient, "text": call.body})

    async def query(self, call: MessageCall) -> MessageResult:
        """What became of the key."""
        return self._ask(call, "GET", None)

    def _ask(self, call: MessageCall, method: str, body: dict[str, str] | None) -> MessageResult:
        try:
            answer = call.ctx.egress.fetch(method, f"{BASE}/{call.idempotency_key}", body=body)
        except Refused as refused:
            if refused.code == "plugin.egress_not_sent" and method == "POST":
                return MessageResult.failed("not_sent", refused.hint, is_repeatable=True)
            return MessageResult.unknown("lost", refused.hint)
        if answer.status == 404:
            return MessageResult.unknown(NOT_FOUND, "The service never saw this message.")
        try:
            told = answer.json() if answer.status == 200 else {}
        except ValueError:
            told = {}
        if not isinstance(told, dict) or not isinstance(told.get("id"), str):
            return MessageResult.unknown("unreadable", f"The service answered {answer.status}.")
        return MessageResult.accepted(told["id"])


@hookimpl
def @@hook@@() -> MessageChannel:
    """Hand over the channel."""
    return Channel()
''',
    test="""
def test_the_channel_is_named_as_the_manifest_says() -> None:
    [use] = PLUGIN.manifest.providers
    assert @@hook@@().describe().id == use.id
""",
    suite_imports="from platform_core.contracts.plugin import EgressAnswer\n",
    suite='''
    def outside(self, request: Request) -> EgressAnswer:
        """A service that takes everything."""
        return answered(200, {"id": "m-1"})
''',
)
_PROVIDER: Final = Starter(
    object_id=True,
    imports="""from platform_core.contracts.payments import (
    NOT_FOUND,
    AmountLimit,
    Bill,
    BillRequest,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    PaymentProvider,
    ProviderCall,
    ProviderDescription,
    ProviderResult,
    not_supported,
)
""",
    body='''
DESCRIPTION = ProviderDescription(
    id="@@package@@",
    forms=frozenset({"local"}),
    limits=(AmountLimit("CNY", amount_minor_min=1, amount_minor_max=50_000),),
    features=frozenset({"cancel"}),
    is_local=True,
)


class Provider:
    """Something of value that is taken at the till. Whoever stands there holds it, so every answer is final."""

    def describe(self) -> ProviderDescription:
        """CNY up to 500.00 an order."""
        return DESCRIPTION

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """It is in the drawer."""
        return done(call)

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """It is handed back."""
        return done(call)

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """It is handed back, whatever became of the order."""
        return done(call)

    async def close(self, call: ProviderCall) -> ProviderResult:
        """Nothing stands open at a till."""
        return ProviderResult.success(amount_minor=0, occurred_at=call.now, provider_reference=call.idempotency_key)

    async def query(self, call: ProviderCall) -> ProviderResult:
        """There is no book to look into, so nothing is claimed."""
        return ProviderResult.unknown(NOT_FOUND, "There is no book to ask; count the drawer.")

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """As `query`."""
        return await self.query(call)

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("create")

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("authorize")

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("capture")

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("void")

    async def parse_notice(self, notice: Notice) -> NoticeOutcome:
        """Nobody sends notices."""
        raise NoticeRefused("not_supported", "There are no notices.")

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """There is no bill."""
        raise LookupError("there is no bill; the description declares none")


def done(call: ProviderCall) -> ProviderResult:
    """Success for exactly what was asked; the same call gets the same answer."""
    return ProviderResult.success(
        amount_minor=call.amount_minor, occurred_at=call.now, provider_reference=call.idempotency_key
    )


@hookimpl
def @@hook@@() -> PaymentProvider:
    """Hand over the provider."""
    return Provider()
''',
    test="""
def test_the_provider_is_named_as_the_manifest_says() -> None:
    [use] = PLUGIN.manifest.providers
    assert @@hook@@().describe().id == use.id
""",
)

STARTERS: Final[Mapping[str, Starter]] = MappingProxyType(
    {
        "check_payment": replace(_CHECK, fixture="first_payment"),
        "check_refund": replace(_CHECK, fixture="part_of_a_lunch"),
        "amend_basket": _AMEND,
        "choose_route": _CHOOSE,
        "render_receipt": _RENDER,
        "on_payment_captured": replace(_ON, fixture="by_a_member", fields=_ON_FIELDS["on_payment_captured"]),
        "on_refund_succeeded": replace(_ON, fixture="a_part", fields=_ON_FIELDS["on_refund_succeeded"]),
        "on_plugin_changed": replace(_ON, fixture="enabled", fields=_ON_FIELDS["on_plugin_changed"]),
        "register_channel": _CHANNEL,
        "register_payment_provider": _PROVIDER,
    }
)
"""By hook; a hook enters the contract together with its starter (a test walks the catalogue)."""

"""`/sandbox/v1/alipay`: keys, certificates, doctor, notices and inbox of the app whose token it is.

Scope `testbed:write`, which exists in test mode alone. The terminal has the same: `arsenal sandbox alipay`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request

from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.http.envelope import envelope_of
from platform_core.kernel.i18n import Text
from sandbox.simulators.alipay_gateway.desk import Desk, NotThere, Refused
from sandbox.simulators.alipay_gateway.requests import RequestBook
from sandbox.simulators.alipay_gateway.schemas_tools import (
    AppRead,
    CertificatesRead,
    Examination,
    Forward,
    ForwardRead,
    MessageRead,
    NoticeRead,
    PairRead,
    PublicKeyGiven,
    PublicKeyRead,
    SettingsChange,
)
from sandbox.simulators.alipay_gateway.signatures import record_of
from sandbox.simulators.alipay_gateway.signing import KeyRefused
from sandbox.simulators.alipay_gateway.tools import AlipayTools

PREFIX: Final = "/sandbox/v1/alipay"
Who = Annotated[Principal, requires("testbed:write")]
State = Literal["pending", "accepted", "dead"]
Limit = Annotated[int, Query(ge=1, le=100)]
Id = Annotated[str, Query(max_length=64)]

ALIPAY_REFUSED = declare(
    "sandbox.alipay_refused",
    status=422,
    title=Text(en="The gateway's tools cannot do this", zh="网关工具无法执行该操作"),
    detail=Text(en="{reason}", zh="{reason}"),
    hint=Text(
        en="See docs/how-to/alipay-keys-and-signatures.md.", zh="参见 docs/how-to/alipay-keys-and-signatures.md。"
    ),
)
ALIPAY_NOT_FOUND = declare(
    "sandbox.alipay_not_found",
    status=404,
    title=Text(en="Nothing of your app has this id", zh="您的应用下没有该编号"),
    detail=Text(en="There is no {id} of this app.", zh="该应用下不存在 {id}。"),
    hint=Text(en="List what there is first.", zh="请先查询列表。"),
)


def tools_router(tools: AlipayTools, book: RequestBook) -> APIRouter:
    """The routes over the tools of one process. A token sees its own app alone."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)
    _add_app(router, tools, book)
    _add_keys(router, tools, book)
    _add_messages(router, tools, book)
    return router


def _add_app(router: APIRouter, tools: AlipayTools, book: RequestBook) -> None:
    @router.get("/app")
    async def read_app(who: Who) -> AppRead:
        """The app's number, addresses and settings."""
        return await Desk(tools, book, who.app_id).app()

    @router.post("/app")
    async def change_app(who: Who, wanted: SettingsChange) -> AppRead:
        """Change where authorisations are announced, and what the inbox answers."""
        try:
            return await Desk(tools, book, who.app_id).change(wanted)
        except Refused as refused:
            raise _refused(refused) from refused

    @router.post("/signature-doctor")
    async def examine(who: Who, wanted: Examination) -> dict[str, Any]:
        """Why a signature does not verify. Private keys are refused; nothing that was pasted is stored."""
        try:
            return record_of(await Desk(tools, book, who.app_id).examine(wanted))
        except (Refused, KeyRefused) as refused:
            raise _refused(refused) from refused
        except NotThere as missing:
            raise _missing(missing) from missing


def _add_keys(router: APIRouter, tools: AlipayTools, book: RequestBook) -> None:
    @router.post("/keys/generate")
    async def generate(who: Who, request: Request) -> PairRead:
        """A new key pair in every form, shown once and stored nowhere."""
        return await Desk(tools, book, who.app_id).generate(envelope_of(request.scope).language)

    @router.post("/keys/app")
    async def upload(who: Who, wanted: PublicKeyGiven) -> PublicKeyRead:
        """Upload the app's public key; it counts from now on."""
        try:
            return await Desk(tools, book, who.app_id).upload(wanted.public_key)
        except KeyRefused as refused:
            raise _refused(refused) from refused

    @router.get("/keys/platform")
    async def platform_key(who: Who) -> PublicKeyRead:
        """The platform's public key, for the client to verify with."""
        return await Desk(tools, book, who.app_id).platform_key()

    @router.post("/keys/platform/rotate")
    async def rotate(who: Who) -> PublicKeyRead:
        """A platform key for this app alone, to try a rotation."""
        return await Desk(tools, book, who.app_id).rotate_platform_key()

    @router.post("/certificates")
    async def certify(who: Who, wanted: PublicKeyGiven) -> CertificatesRead:
        """Put the app into certificate mode."""
        try:
            return await Desk(tools, book, who.app_id).certify(wanted.public_key)
        except KeyRefused as refused:
            raise _refused(refused) from refused

    @router.get("/certificates")
    async def certificates(who: Who) -> CertificatesRead:
        """The files of certificate mode."""
        try:
            return await Desk(tools, book, who.app_id).certificates()
        except NotThere as missing:
            raise _missing(missing) from missing


def _add_messages(router: APIRouter, tools: AlipayTools, book: RequestBook) -> None:
    @router.get("/notices")
    async def notices(
        who: Who, state: State | None = None, after: Id | None = None, limit: Limit = 50
    ) -> list[NoticeRead]:
        """Notices to the app's addresses, the newest first."""
        return await Desk(tools, book, who.app_id).notices(state=state, after=after, limit=limit)

    @router.post("/notices/{notify_id}/resend")
    async def resend(who: Who, notify_id: str) -> NoticeRead:
        """Send one once more, also one that was accepted or is dead."""
        try:
            return await Desk(tools, book, who.app_id).resend(notify_id)
        except NotThere as missing:
            raise _missing(missing) from missing

    @router.get("/inbox/messages")
    async def messages(who: Who, after: Id = "", limit: Limit = 50) -> list[MessageRead]:
        """What reached the app's inbox, the latest last; with `after`, what came behind it."""
        return await Desk(tools, book, who.app_id).messages(after=after, limit=limit)

    @router.post("/inbox/messages/{message_id}/forward")
    async def forward(who: Who, message_id: str, wanted: Forward) -> ForwardRead:
        """Send a message on to a program under development."""
        try:
            return await Desk(tools, book, who.app_id).forward(message_id, wanted.address)
        except NotThere as missing:
            raise _missing(missing) from missing


def _refused(refused: Exception) -> PlatformError:
    return ALIPAY_REFUSED.error({"reason": str(refused)})


def _missing(missing: NotThere) -> PlatformError:
    return ALIPAY_NOT_FOUND.error({"id": str(missing)[:64]})

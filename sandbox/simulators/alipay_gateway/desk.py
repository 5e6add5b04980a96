"""What people ask of the gateway's tools, at the API and at the terminal alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from sqlalchemy import Row

from platform_core.kernel.i18n import Language
from sandbox.simulators.alipay_gateway import keys
from sandbox.simulators.alipay_gateway.doctor import Diagnosis
from sandbox.simulators.alipay_gateway.inbox import as_curl
from sandbox.simulators.alipay_gateway.protocol import split_pairs
from sandbox.simulators.alipay_gateway.requests import RequestBook
from sandbox.simulators.alipay_gateway.schemas_tools import (
    AppRead,
    CertificatesRead,
    Examination,
    ForwardRead,
    MessageRead,
    NoticeRead,
    PairRead,
    PlaceRead,
    PublicKeyRead,
    SettingsChange,
)
from sandbox.simulators.alipay_gateway.signing import Pair, is_private_key, read_public_key
from sandbox.simulators.alipay_gateway.tools import AlipayTools


class Refused(ValueError):
    """Something that cannot be done, in words for a person; nothing was written."""


class NotThere(LookupError):
    """Nothing of the app's has this id."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The tools for one app: `app_id` is the native id. Nothing of another app's is seen or touched."""

    tools: AlipayTools
    book: RequestBook
    app_id: str

    async def number(self) -> str:
        """The app's number in the protocol, minted when first asked for."""
        return await self.tools.app_number(self.app_id)

    async def app(self) -> AppRead:
        """What the gateway knows of the app."""
        number, ring = await self.number(), await self.tools.rings.of(self.app_id)
        settings, key = await self.tools.settings.of(number), ring.app_key
        return AppRead(
            app_id=self.app_id,
            app_number=number,
            gateway=f"{self.tools.origin}/gateway.do",
            inbox=self.tools.settings.inbox_address(number),
            gateway_url=await self.tools.settings.gateway_address(number),
            inbox_answer=settings.inbox_answer,
            key_fingerprint=None if key is None else key.fingerprint,
            is_certificate_mode=key is not None and key.certificate is not None,
        )

    async def change(self, wanted: SettingsChange) -> AppRead:
        """Change settings. Raises Refused."""
        values = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        if values.get("inbox_answer", "") is None:
            raise Refused("inbox_answer is one of success, fail, json, error, hang.")
        try:
            await self.tools.settings.change(await self.number(), values)
        except ValueError as error:
            raise Refused(str(error)) from error
        return await self.app()

    async def generate(self, language: Language = "en") -> PairRead:
        """A new pair, tried before it is shown. Nothing is stored, not even the public key: upload that yourself."""
        pair = keys.spelled(await asyncio.to_thread(keys.generate))
        places = [
            PlaceRead(owner=p.owner, form=p.form, client=p.client, setting=p.setting, says=p.says.say(language))
            for p in keys.PLACES
        ]
        is_tested = all(check.is_good for check in keys.self_test(pair))
        return PairRead(**asdict(pair), is_tested=is_tested, places=places)

    async def upload(self, text: str) -> PublicKeyRead:
        """Take the app's public key. Raises KeyRefused."""
        await self.number()
        return _public((await self.tools.rings.upload(self.app_id, text)).public_key)

    async def platform_key(self) -> PublicKeyRead:
        """What the app's client must hold as "Alipay's public key"."""
        return _public((await self.tools.rings.of(self.app_id)).platform.public_key)

    async def rotate_platform_key(self) -> PublicKeyRead:
        """A platform key for this app alone, new at each call: to try what a rotation does to a client."""
        return _public((await self.tools.rings.rotate_platform(self.app_id)).public_key)

    async def certify(self, text: str) -> CertificatesRead:
        """Put the app into certificate mode. Raises KeyRefused."""
        await self.number()
        return CertificatesRead.model_validate(await self.tools.rings.certify(self.app_id, text))

    async def certificates(self) -> CertificatesRead:
        """The files of an app in certificate mode. Raises NotThere."""
        try:
            return CertificatesRead.model_validate(await self.tools.rings.files(self.app_id))
        except LookupError as error:
            raise NotThere("certificates") from error

    async def examine(self, wanted: Examination) -> Diagnosis:
        """What is wrong with a signature. Raises Refused (a private key among them is refused unread), NotThere."""
        given = (wanted.parameters, wanted.answer, wanted.sign, wanted.public_key, wanted.client_text)
        if any(text is not None and is_private_key(text) for text in given):
            raise Refused("There is a private key in this. Make a new pair: this one has left your machine.")
        if wanted.request_id is not None:
            pairs = await self._stored(wanted.request_id)
        else:
            pairs = split_pairs((wanted.parameters or "").strip().lstrip("?").encode())
        values = dict(pairs)
        signature = wanted.sign or values.get(b"sign", b"").decode("latin-1")
        sign_type = wanted.sign_type or values.get(b"sign_type", b"RSA2").decode("latin-1")
        said = wanted.client_text.encode() if wanted.client_text is not None else None
        if not signature or not (pairs or wanted.answer):
            raise Refused("Give request_id, or parameters with their sign, or an answer's node and its sign.")
        if wanted.kind == "request":
            return await self.tools.signatures.examine(
                self.app_id, pairs, signature=signature, sign_type=sign_type, client_text=said
            )
        held = None if wanted.public_key is None else read_public_key(wanted.public_key)
        return await self.tools.signatures.examine_from_us(
            self.app_id,
            pairs=pairs if wanted.kind == "notice" else (),
            body=(wanted.answer or "").encode(),
            signature=signature,
            sign_type=sign_type,
            held=held,
            client_text=said,
        )

    async def notices(self, *, state: str | None, after: str | None, limit: int) -> list[NoticeRead]:
        """Notices, the newest first."""
        rows = await self.tools.notices.page(self.app_id, state=state, after=after, limit=limit)
        return [NoticeRead.model_validate(row) for row in rows]

    async def notice(self, notify_id: str) -> NoticeRead:
        """One notice. Raises NotThere."""
        row = await self.tools.notices.find(self.app_id, notify_id)
        if row is None:
            raise NotThere(notify_id)
        return NoticeRead.model_validate(row)

    async def resend(self, notify_id: str) -> NoticeRead:
        """Send a notice once more now, whatever became of it. Raises NotThere."""
        await self.notice(notify_id)
        return NoticeRead.model_validate(await self.tools.notices.resend(notify_id))

    async def messages(self, *, after: str = "", limit: int = 50) -> list[MessageRead]:
        """What reached the inbox, the latest last; with `after`, what came behind it."""
        number = await self.number()
        rows = await self.tools.inbox.page(number, after=after, limit=limit)
        return [self._message(row, number) for row in rows]

    async def message(self, message_id: str) -> MessageRead:
        """One message. Raises NotThere."""
        number = await self.number()
        row = await self.tools.inbox.find(number, message_id)
        if row is None:
            raise NotThere(message_id)
        return self._message(row, number)

    async def forward(self, message_id: str, address: str) -> ForwardRead:
        """Send a message on as it came. Raises NotThere."""
        row = await self.tools.inbox.find(await self.number(), message_id)
        if row is None:
            raise NotThere(message_id)
        heard = await self.tools.inbox.forward(row, address)
        body = heard.body.decode("utf-8", "replace")
        return ForwardRead(status=heard.status, body=body, error=heard.error, is_accepted=heard.is_accepted)

    def _message(self, row: Row[Any], number: str) -> MessageRead:
        body = row.body.decode("utf-8", "backslashreplace")
        curl = as_curl(row, self.tools.settings.inbox_address(number))
        return MessageRead(**{**row._mapping, "body": body}, curl=curl)

    async def _stored(self, request_id: str) -> Sequence[Pair]:
        row = await self.book.find(self.app_id, request_id)
        if row is None:
            raise NotThere(request_id)
        found = msgspec.convert(row.pairs, type=list[tuple[str, str]])
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found]


def _public(key: Any) -> PublicKeyRead:  # Any: cryptography's RSAPublicKey
    return PublicKeyRead(
        public_spki_pem=keys.public_pem(key), public_spki_line=keys.public_line(key), fingerprint=keys.fingerprint(key)
    )

"""One request of the protocol from its bytes to its signed answer: checks in their order, method, envelope."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from platform_core.identity.principal import Principal
from platform_core.identity.rate_limits import RateLimits
from platform_core.kernel.clock import Clock
from platform_core.kernel.commit import PlanRefused
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import Envelope
from platform_core.kernel.http.version import ONE_VERSION
from platform_core.kernel.ids import Ids
from platform_core.kernel.telemetry import continue_trace, correlated
from sandbox.simulators.alipay_gateway import protocol
from sandbox.simulators.alipay_gateway.calls import Call, Method, Services, digest_of
from sandbox.simulators.alipay_gateway.codes import of_native, unknown_error
from sandbox.simulators.alipay_gateway.envelope import body_bytes
from sandbox.simulators.alipay_gateway.faults import Fault, Faults
from sandbox.simulators.alipay_gateway.fields import read_fields
from sandbox.simulators.alipay_gateway.methods import catalogue
from sandbox.simulators.alipay_gateway.numbers import Number
from sandbox.simulators.alipay_gateway.protocol import GatewayError, Parameters
from sandbox.simulators.alipay_gateway.requests import RequestBook, Seen
from sandbox.simulators.alipay_gateway.seams import Actors, Signatures
from sandbox.simulators.alipay_gateway.signing import is_signed, request_text

log = structlog.get_logger(__name__)
SUB_MSG_MAX: Final = 1_500


@dataclass(slots=True)
class Passage:
    """What became known of one request on its way through the checks."""

    id: str
    parameters: Parameters
    app_id: str = ""
    unused: list[str] = field(default_factory=list)
    doctor: Mapping[str, Any] | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire: always 200, unless a fault spoils it."""

    body: bytes
    charset: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """What the gateway is put together from."""

    services: Services
    signatures: Signatures
    actors: Actors
    limits: RateLimits
    book: RequestBook
    faults: Faults
    clock: Clock
    ids: Ids


class Gateway:
    """Answers requests. One per process; nothing of a request outlives it but its rows."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts

    async def answer(self, query: bytes, body: bytes | None) -> Answer:
        """The signed answer; whatever happens is one, and what was our fault rings besides.

        `body`: the form; None for one that was too long to be read.
        """
        parameters, refusal = protocol.read_parameters(query, body or b"")
        if body is None:
            refusal = protocol.too_long()
        passage = Passage(self._parts.ids.mint("sar"), parameters)
        envelope = _envelope(passage.id)
        node_name = parameters.node_name
        try:
            with correlated(envelope.correlation):
                node = await self._node(passage, refusal, envelope)
        except GatewayError as error:
            node = error.node()
            node_name = "error_response" if error.is_unnamed else node_name
        finally:
            if envelope.on_end is not None:
                envelope.on_end()
        return await self._signed(passage, node_name, node)

    async def _signed(self, passage: Passage, node_name: str, node: Mapping[str, Any]) -> Answer:
        parameters, fault = passage.parameters, passage.fault
        key = await self._parts.signatures.of_platform(passage.app_id or None)
        sign_type = parameters.ascii("sign_type")
        is_forged = fault is not None and fault.effect == "bad_signature"

        def sign(content: bytes) -> str:
            if is_forged:
                return base64.b64encode(os.urandom(256)).decode("ascii")
            return key.sign(content, sign_type=sign_type)

        is_certified = bool(parameters.raw("app_cert_sn"))
        body = body_bytes(node_name, node, sign=sign, certificate_sn=key.certificate_sn if is_certified else "")
        await self._parts.book.keep(
            Seen(
                id=passage.id,
                app_id=passage.app_id,
                parameters=parameters,
                code=node["code"],
                sub_code=node.get("sub_code"),
                answer=body.decode("ascii"),
                unused=passage.unused,
                doctor=passage.doctor,
                received_at=self._parts.clock.now(),
            )
        )
        return Answer(body, protocol.charset_shown(parameters), fault)

    async def _node(self, passage: Passage, refusal: GatewayError | None, envelope: Envelope) -> Mapping[str, Any]:
        """The method's answer. Raises GatewayError, and nothing else."""
        try:
            row, principal, number = await self._admitted(passage, refusal, envelope)
            return await self._translated(passage, row, principal, number)
        except GatewayError:
            raise
        except PlatformError as error:
            raise of_native(error) from error
        except PlanRefused as refused:
            log.warning("alipay_gateway.plan_refused", refusal=type(refused.refusal).__name__, request=passage.id)
            raise unknown_error() from refused
        except Exception as error:
            log.exception("alipay_gateway.failed", request=passage.id, method=passage.parameters.ascii("method"))
            raise unknown_error() from error

    async def _admitted(
        self, passage: Passage, refusal: GatewayError | None, envelope: Envelope
    ) -> tuple[Method[Any], Principal, Number]:
        """All checks but those of the business, in the protocol's order; the first that fails answers."""
        parts, parameters = self._parts, passage.parameters
        if refusal is not None:
            raise refusal
        protocol.check_method_given(parameters)
        number = await parts.services.numbers.app_behind(protocol.check_app_given(parameters))
        if number is None or number.native_id is None:
            raise protocol.unknown_app()
        passage.app_id = number.native_id
        protocol.check_signing_given(parameters)
        protocol.check_form(parameters)
        await self._check_signature(passage)
        row = catalogue().get(parameters.ascii("method"))
        if row is None or row.translate is None:
            raise protocol.unknown_method()
        tokens = protocol.text_of(parameters, "app_auth_token"), protocol.text_of(parameters, "auth_token")
        principal = await parts.actors.actor(passage.app_id, *tokens, row.name)
        is_kept = row.scope is None or row.scope.endswith(":read") or row.scope.startswith("refunds:")
        parts.limits.admit(principal, envelope, is_kept=is_kept)
        return row, principal, number

    async def _check_signature(self, passage: Passage) -> None:
        """Over the bytes as they were sent; if that fails, once more without blank values."""
        parameters, signatures = passage.parameters, self._parts.signatures
        keys = await signatures.of_app(passage.app_id)
        if not keys:
            raise GatewayError("40003", "isv.missing-signature-config", "应用未配置公钥或证书")
        serials = parameters.ascii("app_cert_sn"), parameters.ascii("alipay_root_cert_sn")
        await signatures.check_certificates(passage.app_id, app_cert_sn=serials[0], root_cert_sn=serials[1])
        pairs, sign_type = parameters.values.items(), parameters.ascii("sign_type")
        for keeps_blanks in (True, False):
            text = request_text(pairs, keeps_blanks=keeps_blanks)
            if any(is_signed(key, text, parameters.raw("sign"), sign_type=sign_type) for key in keys):
                passage.doctor = None if keeps_blanks else {"code": "valid", "matched": "without_blanks"}
                return
        explained = await signatures.explain(passage.app_id, parameters)
        passage.doctor = explained.record
        text = request_text(pairs)
        shown = text[:SUB_MSG_MAX].decode("utf-8", "backslashreplace")
        raise protocol.invalid(
            "signature", f"无效签名（诊断编号 {passage.id}：{explained.line}）；待签名字符串：{shown}"
        )

    async def _translated(
        self, passage: Passage, row: Method[Any], principal: Principal, number: Number
    ) -> Mapping[str, Any]:
        assert row.asks is not None, row.name
        assert row.translate is not None, row.name
        parameters = passage.parameters
        business = protocol.read_business(parameters, is_flat=row.is_flat)
        passage.fault = await self._parts.faults.take(passage.app_id, row.name, business)
        if passage.fault is not None:
            business = passage.fault.before(business)
        order = protocol.read_json(parameters, "arsenal_order")
        asked = read_fields(row.asks, business, is_trade=row.is_trade)
        passage.unused = asked.unused()
        merchant_id = principal.merchant_id
        auth_app_number = ""
        if parameters.raw("app_auth_token") and merchant_id is not None:
            auth_app_number = await self._parts.services.numbers.of_app(merchant_id, merchant_id=merchant_id)
        call = Call(
            services=self._parts.services,
            principal=principal,
            method=row.name,
            app_number=number.id,
            auth_app_number=auth_app_number,
            digest=digest_of(business, order),
            sign_type=parameters.ascii("sign_type"),
            notify_url=protocol.text_of(parameters, "notify_url"),
            return_url=protocol.text_of(parameters, "return_url"),
            order=order,
        )
        return await row.translate(call, asked)


def _envelope(request_id: str) -> Envelope:
    """What counting the rates wants to write on: the protocol's answers have no headers of ours."""
    return Envelope(
        request_id=request_id,
        language="zh",
        correlation=continue_trace(None, request_id=request_id),
        version=ONE_VERSION.newest,
        named_version=None,
        client_request_id=None,
        versions=ONE_VERSION,
    )

"""Keys, certificates and the doctor, as the gateway asks for them (`seams.Signatures`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from platform_core.kernel.clock import Clock
from sandbox.simulators.alipay_gateway.doctor import Diagnosis, diagnose
from sandbox.simulators.alipay_gateway.evidence import Evidence
from sandbox.simulators.alipay_gateway.key_ring import KeyRings, certificate_fault
from sandbox.simulators.alipay_gateway.protocol import GatewayError, Parameters, invalid
from sandbox.simulators.alipay_gateway.seams import Explained
from sandbox.simulators.alipay_gateway.signing import Pair, PlatformKey


def record_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as it is stored and answered."""
    difference = diagnosis.difference
    return {
        "code": diagnosis.code,
        "cause": {"en": diagnosis.cause.en, "zh": diagnosis.cause.zh},
        "fix": {"en": diagnosis.fix.en, "zh": diagnosis.fix.zh},
        "string_to_sign": diagnosis.string_to_sign,
        "length": diagnosis.length,
        "difference": None if difference is None else asdict(difference),
        "key": diagnosis.key_name,
        "tried": diagnosis.tried,
    }


class KeySignatures:
    """Over the key rings."""

    def __init__(self, rings: KeyRings, *, clock: Clock) -> None:
        """`clock`: the sandbox's."""
        self._rings = rings
        self._clock = clock

    async def of_app(self, app_id: str) -> Sequence[RSAPublicKey]:
        """The one key that counts, or none."""
        key = (await self._rings.of(app_id)).app_key
        return [] if key is None else [key.public_key]

    async def of_platform(self, app_id: str | None) -> PlatformKey:
        """The app's own platform key, else the one that all share."""
        return (await self._rings.of(app_id or "")).platform

    async def check_certificates(self, app_id: str, *, app_cert_sn: str, root_cert_sn: str) -> None:
        """For an app in certificate mode; 40002 isv.invalid-signature with the reason, or app-cert-expired."""
        ring = await self._rings.of(app_id)
        fault = certificate_fault(ring, app_cert_sn=app_cert_sn, root_cert_sn=root_cert_sn, now=self._clock.now())
        if fault == "expired":
            raise GatewayError("40002", "app-cert-expired", "应用公钥证书已过期，请重新签发")
        if fault is not None:
            raise invalid("signature", f"验签出错，{fault}")

    async def explain(self, app_id: str, parameters: Parameters) -> Explained:
        """The doctor's word on a request that does not verify."""
        found = await self.examine(
            app_id,
            list(parameters.values.items()),
            signature=parameters.ascii("sign"),
            sign_type=parameters.ascii("sign_type"),
        )
        return Explained(f"{found.cause.zh}{found.fix.zh}", record_of(found))

    async def examine(
        self,
        app_id: str,
        pairs: Sequence[Pair],
        *,
        signature: str,
        sign_type: str,
        client_text: bytes | None = None,
    ) -> Diagnosis:
        """A request of an app's, whatever was pasted."""
        ring = await self._rings.of(app_id)
        keys = [*ring.known(), *await self._rings.everybody_else(app_id)]
        held = None if ring.app_key is None else ring.app_key.public_key
        return diagnose(
            Evidence(
                kind="request",
                pairs=pairs,
                signature=signature,
                sign_type=sign_type,
                keys=keys,
                held=held,
                client_text=client_text,
            )
        )

    async def examine_from_us(
        self,
        app_id: str,
        *,
        pairs: Sequence[Pair] = (),
        body: bytes = b"",
        signature: str,
        sign_type: str,
        held: RSAPublicKey | None = None,
        client_text: bytes | None = None,
    ) -> Diagnosis:
        """A notice (`pairs`) or an answer (`body`: the node) that a client could not verify with the key it holds."""
        ring = await self._rings.of(app_id)
        keys = [*ring.known(), *await self._rings.everybody_else(app_id)]
        return diagnose(
            Evidence(
                kind="notice" if pairs else "answer",
                pairs=pairs,
                body=body,
                signature=signature,
                sign_type=sign_type,
                keys=keys,
                held=held,
                client_text=client_text,
            )
        )

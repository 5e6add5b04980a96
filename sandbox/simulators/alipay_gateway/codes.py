"""From the platform's refusals and the wallet's declines to the codes of the Alipay protocol, by `codes.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec

from platform_core.kernel.errors import PlatformError
from sandbox.simulators.alipay_gateway.protocol import GatewayError


class NativeRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one native error reads. `source`: the page that names the code; `read`: when it was read."""

    native: str
    code: str
    sub_code: str
    sub_msg: str
    source: str
    read: str


class AreaRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Native errors, by how their codes begin, that no method can meet."""

    area: str
    why: str
    read: str


class WalletRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one decline of the sandbox's wallet reads."""

    wallet: str
    sub_code: str
    sub_msg: str
    source: str
    read: str


class CodeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of codes.toml."""

    native: list[NativeRow]
    area: list[AreaRow]
    wallet: list[WalletRow]


TABLE: Final = msgspec.convert(
    tomllib.loads(files("sandbox.simulators.alipay_gateway").joinpath("codes.toml").read_text("utf-8")), type=CodeTable
)
NATIVE: Final[Mapping[str, NativeRow]] = MappingProxyType({row.native: row for row in TABLE.native})
WALLET: Final[Mapping[str, WalletRow]] = MappingProxyType({row.wallet: row for row in TABLE.wallet})


def of_native(error: PlatformError) -> GatewayError:
    """A refusal of the platform in the protocol's words; one without a row is 20000.

    Where several fields are at fault, the first one's name is in `sub_msg`.
    """
    row = NATIVE.get(error.code)
    if row is None:
        return unknown_error(error.code)
    param = (error.param or "").strip("/").replace("/", ".")
    is_general = row.native in ("kernel.validation_failed", "kernel.field_unknown")
    return GatewayError(row.code, row.sub_code, f"{row.sub_msg}：{param}" if is_general and param else row.sub_msg)


def of_decline(code: str) -> GatewayError:
    """A decline of the wallet; one that is not listed is told as a failed payment."""
    row = WALLET.get(code)
    if row is None:
        return GatewayError("40004", "ACQ.PAYMENT_FAIL", f"支付失败：{code[:64]}")
    return GatewayError("40004", row.sub_code, row.sub_msg)


def unknown_error(why: str = "") -> GatewayError:
    """20000: what happened is not known, or is our fault."""
    return GatewayError("20000", "isp.unknow-error", f"未知错误{'：' + why if why else ''}，请稍后用查询接口确认")


def system_error() -> GatewayError:
    """40004 ACQ.SYSTEM_ERROR: trade.pay and trade.refund say so where the outcome is not known."""
    return GatewayError("40004", "ACQ.SYSTEM_ERROR", "系统错误，请用相同参数重新调用或查询")

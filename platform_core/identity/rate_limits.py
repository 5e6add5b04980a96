"""How many requests an app, a merchant's use of an app, and a stranger's address may make; and how many at a time.

Counted in this process by the generic cell rate algorithm (GCRA, ITU-T I.371), which is a leaky bucket in one number
per key. Several processes share a limit evenly: each allows its part of it (`processes`), so one process that gets
more than its part of the requests refuses early, and all together never allow more than the limit. The fields are
those of draft-ietf-httpapi-ratelimit-headers-10 (read 2026-11-22): `q` requests in any `w` seconds, `r` left now (this
process's part times the processes), `t` seconds until all are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import Final

from starlette.types import Scope

from platform_core.identity.principal import Principal
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import declare
from platform_core.kernel.http.envelope import Envelope
from platform_core.kernel.i18n import Text

KEYS_MAX: Final = 50_000
KEPT_SHARE: Final = 0.1
"""The share of a burst that stays for refunds and queries."""
PROCESSES_MAX: Final = 256
_ROUNDING: Final = 1e-6
"""Sums of many steps are not exact, nor is a clock's reading."""

RATE_EXCEEDED: Final = declare(
    "identity.rate_exceeded",
    status=429,
    is_retryable=True,
    title=Text(en="Too many requests", zh="请求过于频繁"),
    detail=Text(
        en="The {policy} limit of {per_s} requests a second is reached; nothing was done.",
        zh="已达到 {policy} 每秒 {per_s} 次的限额；本次未执行任何操作。",
    ),
    hint=Text(
        en="Come again after the time in Retry-After, and watch the RateLimit header.",
        zh="请在 Retry-After 所示时间后重试，并留意 RateLimit 响应头。",
    ),
)
CONCURRENCY_EXCEEDED: Final = declare(
    "identity.concurrency_exceeded",
    status=429,
    is_retryable=True,
    title=Text(en="Too many requests at a time", zh="并发请求过多"),
    detail=Text(
        en="The app has {limit} requests under way, which is its limit; nothing was done.",
        zh="应用已有 {limit} 个请求在处理中，达到并发上限；本次未执行任何操作。",
    ),
    hint=Text(en="Wait for answers before sending more.", zh="请等待已有请求返回后再发送。"),
)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second in the long run, and so many at once."""

    per_s: int
    burst: int

    @property
    def window_s(self) -> float:
        """The seconds in which a spent burst comes back."""
        return self.burst / self.per_s


@dataclass(frozen=True, slots=True)
class TierLimits:
    """What an app of a tier may do."""

    app: Rate
    merchant: Rate
    """Of one merchant by one app."""
    at_once: int


TIERS: Final[Mapping[str, TierLimits]] = MappingProxyType(
    {
        "sandbox": TierLimits(Rate(20, 40), Rate(10, 20), at_once=10),
        "starter": TierLimits(Rate(50, 100), Rate(20, 40), at_once=25),
        "standard": TierLimits(Rate(200, 400), Rate(50, 100), at_once=100),
        "partner": TierLimits(Rate(1_000, 2_000), Rate(100, 200), at_once=500),
    }
)
"""Governance's tiers of ISVs. An ISV of any other tier counts as `sandbox`."""


class _Bucket:
    """GCRA over many keys. What is stored is the moment at which a key's bucket is empty again."""

    __slots__ = ("_empty_at", "policy")

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self._empty_at: dict[object, float] = {}

    def look(self, key: object, now: float) -> float:
        """When the key's bucket will be empty, not before now."""
        empty_at = self._empty_at.get(key, now)
        return empty_at if empty_at > now else now

    def store(self, key: object, empty_at: float, now: float) -> None:
        """Count one request in. Keys whose buckets are empty are forgotten when there are too many."""
        self._empty_at[key] = empty_at
        if len(self._empty_at) > KEYS_MAX:
            self._empty_at = {kept: moment for kept, moment in self._empty_at.items() if moment > now}
            while len(self._empty_at) > KEYS_MAX:  # all are in use: the oldest entry gets a new burst
                del self._empty_at[next(iter(self._empty_at))]


class RateLimits:
    """The counts of one process. Meant for one event loop; nothing here waits."""

    def __init__(
        self,
        clock: Clock,
        *,
        own_app_per_s: int = 1_000,
        address_per_s: int = 300,
        tiers: Mapping[str, TierLimits] = TIERS,
        open_paths: tuple[str, ...] = (),
    ) -> None:
        """`own_app_per_s`: of merchants' own apps, which have no tier. `open_paths`: beginnings of paths whose
        strangers are not counted, because what comes there is verified and comes in numbers, such as notices.
        """
        own = Rate(own_app_per_s, 2 * own_app_per_s)
        self._own = TierLimits(own, own, at_once=max(1, own_app_per_s // 2))
        self._address = Rate(address_per_s, 2 * address_per_s)
        self._tiers = tiers
        self._open_paths = open_paths
        self._clock = clock
        self._apps = _Bucket("app")
        self._merchants = _Bucket("merchant")
        self._addresses = _Bucket("address")
        self._under_way: dict[str, int] = {}
        self._processes = 1

    @property
    def processes(self) -> int:
        """Among how many processes each limit is divided."""
        return self._processes

    def share_among(self, processes: int) -> None:
        """Divide each limit among this many live processes."""
        self._processes = min(max(1, processes), PROCESSES_MAX)

    def admit(self, who: Principal, envelope: Envelope, *, is_kept: bool) -> None:
        """Count a request of an authenticated caller, until it ends. Puts the rate fields on the answer.

        `is_kept`: refunds and queries, which may use the last tenth of a burst. Raises 429 `identity.rate_exceeded`,
        `identity.concurrency_exceeded`; a refused request is not counted.
        """
        limits = self._own if who.tier is None else self._tiers.get(who.tier) or self._tiers["sandbox"]
        now = self._clock.monotonic()
        client_id = who.client_id
        app_at = self._take(self._apps, client_id, limits.app, now=now, envelope=envelope, is_kept=is_kept)
        if who.tier is None or who.merchant_id is None:
            envelope.headers = self._fields("app", limits.app, app_at - now)
        else:
            key = (client_id, who.merchant_id)
            merchant_at = self._take(self._merchants, key, limits.merchant, now=now, envelope=envelope, is_kept=is_kept)
            self._merchants.store(key, merchant_at, now)
            app_fields = self._fields("app", limits.app, app_at - now)
            own_fields = self._fields("merchant", limits.merchant, merchant_at - now)
            envelope.headers = tuple(
                (name, b"%b, %b" % (value, own_fields[n][1])) for n, (name, value) in enumerate(app_fields)
            )
        under_way = self._under_way.get(client_id, 0)
        at_once = max(1, limits.at_once // self._processes)
        if under_way >= at_once:
            raise CONCURRENCY_EXCEEDED.error({"limit": at_once}, retry_after_s=1)
        self._apps.store(client_id, app_at, now)
        self._under_way[client_id] = under_way + 1
        envelope.on_end = partial(self._release, client_id)

    def admit_stranger(self, scope: Scope, envelope: Envelope) -> None:
        """Count a request that no token stands behind, or whose token was refused, by its address.

        Raises 429 `identity.rate_exceeded`. An IPv6 address counts with its whole /64.
        """
        if self._open_paths and scope["path"].startswith(self._open_paths):
            return
        now = self._clock.monotonic()
        key = address_key(scope)
        empty_at = self._take(self._addresses, key, self._address, now=now, envelope=envelope, is_kept=True)
        self._addresses.store(key, empty_at, now)
        envelope.headers = self._fields("address", self._address, empty_at - now)

    def _take(
        self, bucket: _Bucket, key: object, rate: Rate, *, now: float, envelope: Envelope, is_kept: bool
    ) -> float:
        """When the bucket will be empty with one request more. Raises 429 when it would run over."""
        step = self._processes / rate.per_s
        room = max(rate.window_s, step)
        if not is_kept:
            room = max(room * (1 - KEPT_SHARE), step)
        empty_at = bucket.look(key, now) + step
        late_s = empty_at - now - room
        if late_s > _ROUNDING:
            envelope.headers = self._fields(bucket.policy, rate, empty_at - step - now)
            values = {"policy": bucket.policy, "per_s": rate.per_s}
            raise RATE_EXCEEDED.error(values, retry_after_s=max(1, math.ceil(late_s - _ROUNDING)))
        return empty_at

    def _fields(self, policy: str, rate: Rate, full_s: float) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """`RateLimit-Policy` and `RateLimit` of a bucket that is empty again in `full_s` seconds."""
        left = int(rate.burst - full_s * rate.per_s + _ROUNDING)
        declared, name = _declared(policy, rate.per_s, rate.burst)
        now = b"%b;r=%d;t=%d" % (name, left if left > 0 else 0, math.ceil(full_s - _ROUNDING))
        return declared, (b"ratelimit", now)

    def _release(self, client_id: str) -> None:
        left = self._under_way[client_id] - 1
        if left:
            self._under_way[client_id] = left
        else:
            del self._under_way[client_id]


@lru_cache(256)
def _declared(policy: str, per_s: int, burst: int) -> tuple[tuple[bytes, bytes], bytes]:
    """The field that never changes, and the policy's name as fields write it."""
    name = b'"%b"' % policy.encode()
    return (b"ratelimit-policy", b"%b;q=%d;w=%d" % (name, burst, math.ceil(burst / per_s))), name


def address_key(scope: Scope) -> str:
    """The caller's address, of IPv6 its /64: one household or server has that many."""
    client = scope.get("client")
    host = client[0] if client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else f"{int(address) >> 64:x}/64"
    return str(address)

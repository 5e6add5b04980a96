"""`arsenal plugin replay`: the same question again, and what became of the answer."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from sqlalchemy import text

from platform_core.bootstrap.bundles import InstalledBundles
from platform_core.bootstrap.commands.parties import within
from platform_core.bootstrap.commands.plugin_author_project import find_project
from platform_core.bootstrap.commands.plugin_dev import brief
from platform_core.bootstrap.commands.plugin_dev_build import Builder, BuildFault
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.rehearsal import Facts, Rehearsal, preset, rehearsing
from platform_core.bootstrap.terminal import CliFailure, JsonOption, Terminal, reporting
from platform_core.contracts import catalogue
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_rules import read
from platform_core.contracts.runtime import Fault
from platform_core.contracts.testing.host import FakeHost
from platform_core.contracts.testing.loaded import load_plugin
from platform_core.contracts.testing.running import InProcess
from platform_core.plugin_host import repository
from platform_core.plugin_host.config_schema import NO_SCHEMA, read_schema
from platform_core.plugin_host.discovery import discover
from platform_core.plugin_host.host_releases import read_found
from platform_core.plugin_host.repository import Record
from platform_core.plugin_host.trace_rows import answer_shown
from platform_core.plugin_host.tracing import read_call
from sandbox.runtime.installed import NotInstalled, read_installed
from sandbox.runtime.levels import Level

STATE_KEYS_MAX: Final = 1_000
_STATE: Final = text(
    "SELECT key, value FROM plugin_state WHERE merchant_id = :merchant_id AND plugin_id = :plugin_id "
    "AND (expires_at IS NULL OR expires_at > :now) ORDER BY key LIMIT :limit"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What the same call came to now."""

    version: str
    where: str
    outcome: str
    detail: str
    answer: Any  # Any: JSON
    took_ms: float
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call that was seen, ready to be made again."""

    row: Record
    hook: HookSpec
    config: dict[str, Any]  # Any: JSON by the plugin's own schema
    state: dict[str, Any]  # Any: JSON

    def host(self, manifest: Manifest, config: bytes) -> FakeHost:
        host = FakeHost(manifest, config=json.loads(config), now=self.row.seen_at)
        preset(host, self.state)
        return host


def add_to(app: typer.Typer) -> None:
    """Enter the command into `arsenal plugin`."""
    app.command("replay")(replay)


@reporting
def replay(
    call_id: Annotated[str, typer.Argument(help="The call's id, as `dev` and `trace` print it.")],
    *,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Ask the plugin in this folder, as it is now.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Ask this installed version.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Ask a plugin once more what it was asked in a call that was traced, and compare the answers.

    By default the version of the call, or the one that the merchant has now. Nothing is written and nothing is sent:
    the plugin finds its store as it is now, in memory. Personal fields were not kept, and are withheld.
    """
    terminal = Terminal(is_json=is_json)

    async def work(platform: Platform) -> tuple[Record, Again]:
        call = await _read(platform, call_id)
        return call.row, await _again(platform, call, folder=folder, version=version)

    row, again = within(work)
    then = None if row.answer is None else json.loads(row.answer)
    found = [{"path": path, "then": was, "now": now} for path, was, now in differences(then, again.answer)]
    is_same = not found and row.outcome == again.outcome
    terminal.say(f"[bold]{row.hook}[/] {row.object_id}  {row.plugin_id}")
    terminal.say(f"  then  {row.plugin_version}  {_said(row.outcome, row.detail, then)}  {row.took_us / 1000:.1f} ms")
    said = _said(again.outcome, again.detail, again.answer)
    terminal.say(f"  now   {again.version}  {said}  {again.took_ms:.1f} ms, {again.where}")
    if again.asked:
        terminal.say(f"  asked {', '.join(again.asked)}")
    if found:
        terminal.table(("field", "then", "now"), [(one["path"], one["then"], one["now"]) for one in found])
    terminal.say("The answer is the same." if is_same else "The answer is another one.")
    terminal.document(
        {
            "call_id": call_id,
            "hook": row.hook,
            "object_id": row.object_id,
            "plugin_id": row.plugin_id,
            "then": {"version": row.plugin_version, "outcome": row.outcome, "detail": row.detail, "answer": then},
            "now": {
                "version": again.version,
                "where": again.where,
                "outcome": again.outcome,
                "detail": again.detail,
                "answer": again.answer,
                "asked": list(again.asked),
            },
            "is_same": is_same,
            "difference": found,
        }
    )


def _said(outcome: str, detail: str, answer: object) -> str:
    return escape(brief(answer) if outcome == "ok" else f"{outcome}: {detail}")


async def _read(platform: Platform, call_id: str) -> _Call:
    row = await read_call(platform.database, call_id)
    if row is None:
        raise CliFailure(
            f"No call {call_id} was seen in the last 24 hours; only calls that somebody watches are kept.",
            "Run: arsenal plugin trace --merchant MERCHANT",
            code="cli.call_not_traced",
        )
    hook = catalogue.hooks().get(row.hook)
    if row.payload is None or hook is None or hook.payload is None:
        raise CliFailure(
            f"What {row.hook} was told in {call_id} was not kept: it has no payload, or one of more than 16 KiB.",
            "Replay another call, or run: arsenal plugin test",
            code="cli.call_not_kept",
        )
    async with platform.database.read(row.merchant_id) as connection:
        values = {"merchant_id": row.merchant_id, "plugin_id": row.plugin_id, "now": platform.clock.now()}
        state = (await connection.execute(_STATE, {**values, "limit": STATE_KEYS_MAX})).all()
        config = None
        if row.config_revision:
            config = await repository.read_configuration(
                connection, row.installation_id, merchant_id=row.merchant_id, revision=row.config_revision
            )
    return _Call(
        row=row,
        hook=hook,
        config={} if config is None else dict(config.value),
        state={key: json.loads(value) for key, value in state},
    )


async def _again(platform: Platform, call: _Call, *, folder: Path | None, version: str | None) -> Again:
    level = Level[platform.settings.sandbox_require]
    if folder is not None:
        with tempfile.TemporaryDirectory(prefix="arsenal-replay-") as place:
            os.chmod(place, 0o755)  # noqa: S103 - a worker's uid reads it
            return await _from_folder(call, folder, Path(place), required=level)
    if call.row.tier == "trusted" and version is None:
        return await asyncio.to_thread(_in_process, call)
    plugins = await asyncio.to_thread((platform.settings.home / "plugins").resolve)
    manifest, schema = await _installed(platform, call, plugins, version=version)
    async with rehearsing(plugins, required=level) as rehearsal:
        return await _in_worker(rehearsal, call, manifest, schema)


async def _from_folder(call: _Call, folder: Path, plugins: Path, *, required: Level) -> Again:
    async with rehearsing(plugins, required=required) as rehearsal:
        bundles = InstalledBundles(plugins, required=required)
        builder = Builder(find_project(folder), bundles=bundles, plugins=plugins, rehearsal=rehearsal)
        try:
            draft = await builder.install(number=int(time.time()))
        except BuildFault as fault:
            raise CliFailure(fault.said, fault.next_step, code="cli.plugin_refused") from fault
        try:
            return await _in_worker(rehearsal, call, draft.manifest, draft.unpacked.config_schema)
        finally:
            await builder.remove(*draft.key)


async def _installed(
    platform: Platform, call: _Call, plugins: Path, *, version: str | None
) -> tuple[Manifest, bytes | None]:
    """The wanted version, that of the call, or the one that the merchant has now: whichever is there first."""
    row = call.row
    async with platform.database.read(row.merchant_id) as connection:
        now = await repository.read_installed(connection, row.plugin_id, merchant_id=row.merchant_id)
    wanted = [version] if version is not None else [row.plugin_version, *([] if now is None else [now.version])]
    for one in wanted:
        try:
            found = await asyncio.to_thread(read_installed, plugins, plugin_id=row.plugin_id, version=one)
        except NotInstalled:
            continue
        manifest = read(found.manifest_path.read_text(encoding="utf-8"))
        path = None if manifest.config is None else found.manifest_path.parent / manifest.config.schema_
        return manifest, None if path is None else path.read_bytes()
    raise CliFailure(
        f"{row.plugin_id} {' and '.join(wanted)} is not installed on this machine any more.",
        f"Run: arsenal plugin replay {row.call_id} --folder FOLDER",
        code="cli.version_gone",
    )


async def _in_worker(rehearsal: Rehearsal, call: _Call, manifest: Manifest, schema: bytes | None) -> Again:
    row = call.row
    config = _config(call, schema)
    facts = Facts(
        store_id=row.store_id,
        mode="test",
        locale="en",
        now=row.seen_at,
        idempotency_key=row.idempotency_key,
        config=config,
    )
    fault = await rehearsal.load(*(manifest.plugin.id, manifest.plugin.version))
    host = call.host(manifest, config)
    where = f"in a worker at {rehearsal.confined.level}"
    if fault is not None:
        return _came(manifest, fault, where=where, took_ms=0.0)
    played = await rehearsal.play(manifest, call.hook, payload=row.payload.encode(), facts=facts, host=host)
    outcome = played.outcome if isinstance(played.outcome, Fault) else played.outcome.value
    return _came(manifest, outcome, where=where, took_ms=played.took_ms, asked=tuple(played.asked))


def _in_process(call: _Call) -> Again:
    """As the trusted plugin that it was, in this process."""
    point = next((one for one in discover() if _is_of(one, call.row.plugin_id)), None)
    if point is None:
        raise CliFailure(
            f"{call.row.plugin_id} is not in this environment any more.",
            f"Run: arsenal plugin replay {call.row.call_id} --folder FOLDER",
            code="cli.version_gone",
        )
    plugin, found = load_plugin(point.module), read_found(point)
    config = _config(call, found.unpacked.config_schema)
    row, host = call.row, call.host(plugin.manifest, config)
    ctx = host.context(
        call.hook, merchant_id=row.merchant_id, store_id=row.store_id, idempotency_key=row.idempotency_key
    )
    began = time.monotonic()
    try:
        outcome = InProcess().call(plugin, call.hook, ctx=ctx, json=row.payload.encode())
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is the answer
        took_ms = (time.monotonic() - began) * 1000
        return Again(
            version=plugin.manifest.plugin.version, where="in process", outcome="exception",
            detail=f"{type(error).__name__}: {error}"[:300], answer=None, took_ms=took_ms,
        )  # fmt: skip
    return _came(plugin.manifest, outcome, where="in process", took_ms=(time.monotonic() - began) * 1000)


def _is_of(point: EntryPoint, plugin_id: str) -> bool:
    try:
        return read_found(point).manifest.plugin.id == plugin_id
    except Exception:  # noqa: BLE001 - another plugin's unreadable manifest is not this one's
        return False


def _config(call: _Call, schema: bytes | None) -> bytes:
    known = NO_SCHEMA if schema is None else read_schema(schema)
    return known.complete(json.dumps(call.config).encode())


def _came(manifest: Manifest, outcome: object, *, where: str, took_ms: float, asked: tuple[str, ...] = ()) -> Again:
    fault = outcome if isinstance(outcome, Fault) else None
    shown = None if fault is not None else answer_shown(outcome)
    return Again(
        version=manifest.plugin.version,
        where=where,
        outcome="ok" if fault is None else fault.kind.value,
        detail="" if fault is None else fault.detail,
        answer=None if shown is None else json.loads(shown),
        took_ms=took_ms,
        asked=asked,
    )


def differences(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:  # Any: JSON
    """Where two answers differ: path, then, now. Pure."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(then.keys() | now.keys()):
            yield from differences(then.get(name), now.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (was, is_) in enumerate(zip(then, now, strict=True)):
            yield from differences(was, is_, f"{path}[{place}]")
    elif then != now:
        yield path or "answer", then, now

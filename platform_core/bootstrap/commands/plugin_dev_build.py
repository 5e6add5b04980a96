"""From a plugin's folder as it is being edited to a draft that has proved itself in a confined worker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from platform_core.bootstrap.commands.plugin_author_pack import pack
from platform_core.bootstrap.commands.plugin_author_project import BESIDE, Project
from platform_core.bootstrap.rehearsal import Failed, Rehearsal
from platform_core.bootstrap.terminal import CliFailure
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_findings import ManifestRefused
from platform_core.contracts.manifest_rules import inspect, read
from platform_core.contracts.runtime import FaultKind
from platform_core.plugin_host.config_schema import NO_SCHEMA, SchemaRefused, read_schema
from platform_core.plugin_host.development import draft_version
from platform_core.plugin_host.host_deps import BundleRefused, Bundles, Unpacked
from sandbox.runtime.installed import NotInstalled, read_installed, remove

NAMED_WITHIN_S: Final = 20.0
_SAID_MAX: Final = 3
Stamp = Mapping[Path, tuple[int, int]]
"""By file: when it was written last (ns), and its length."""


@dataclass(frozen=True, slots=True)
class BuildFault(Exception):
    """Why a change was not taken; the next step for its author."""

    stage: str
    said: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A build that was installed and rehearsed."""

    manifest: Manifest
    unpacked: Unpacked

    @property
    def key(self) -> tuple[str, str]:
        """Plugin and version."""
        return self.manifest.plugin.id, self.manifest.plugin.version


def stamp_of(project: Project) -> Stamp:
    """What tells whether a file of the plugin was changed. A file that vanishes meanwhile is left out."""
    found: dict[Path, tuple[int, int]] = {}
    for path in (*project.files(), *(project.folder / name for name in sorted(BESIDE))):
        try:
            told = path.stat()
        except OSError:
            continue
        found[path] = (told.st_mtime_ns, told.st_size)
    return found


def own_version(project: Project) -> tuple[str, str]:
    """Id and version in plugin.toml. BuildFault names what is wrong with it."""
    about = _manifest(project).plugin
    return about.id, about.version


def _manifest(project: Project) -> Manifest:
    try:
        reading = inspect(project.manifest.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFault("manifest", f"plugin.toml cannot be read: {error}.", "Write it again.") from error
    if reading.manifest is None:
        wrong = [finding for finding in reading.findings if finding.severity == "error"]
        lines = [f"plugin.toml:{finding.line} {finding.rule} {finding.found}" for finding in wrong[:_SAID_MAX]]
        raise BuildFault("manifest", " ".join(lines), f"{wrong[0].next_step} Next: arsenal plugin check")
    return reading.manifest


class Builder:
    """Builds drafts of one plugin, each under a version of its own."""

    def __init__(self, project: Project, *, bundles: Bundles, plugins: Path, rehearsal: Rehearsal) -> None:
        """`plugins`: the folder into which `bundles` unpacks."""
        self._project = project
        self._bundles = bundles
        self._plugins = plugins
        self._rehearsal = rehearsal

    async def build(self, *, number: int, config: bytes | None = None) -> Draft:
        """Check, pack, install and rehearse the folder as it is now. BuildFault leaves nothing behind.

        `config`: what the fixtures find; by default the defaults of the plugin's own schema.
        """
        draft = await self.install(number=number)
        try:
            await self._rehearse(draft, config)
        except BaseException:
            await self.remove(*draft.key)
            raise
        finally:
            await self._rehearsal.end(*draft.key)
        return draft

    async def install(self, *, number: int) -> Draft:
        """Check, pack and install alone. BuildFault leaves nothing behind."""
        bundle = await asyncio.to_thread(self._packed, number)
        try:
            unpacked = await self._bundles.place(bundle)
        except BundleRefused as refused:
            raise BuildFault("bundle", str(refused), "Next: arsenal plugin check") from refused
        finally:
            await asyncio.to_thread(shutil.rmtree, bundle.parent)
        return Draft(manifest=read(unpacked.manifest), unpacked=unpacked)

    async def remove(self, plugin_id: str, version: str) -> None:
        """Take an installed draft's files away; nothing if they are gone."""
        await asyncio.to_thread(remove, self._plugins.resolve(), plugin_id=plugin_id, version=version)

    def _packed(self, number: int) -> Path:
        manifest = _manifest(self._project)
        self._check_syntax()
        stage = Path(tempfile.mkdtemp(prefix="arsenal-dev-"))
        try:
            project = _staged(self._project, stage, manifest, number=number)
            packed = pack(project, wheels=self._project.folder / "wheels")
            path = stage / packed.file_name
            path.write_bytes(packed.content)
        except CliFailure as failure:
            shutil.rmtree(stage)
            raise BuildFault("pack", failure.message, failure.next_step) from failure
        except ManifestRefused as refused:
            shutil.rmtree(stage)
            raise BuildFault("manifest", str(refused), "Next: arsenal plugin check") from refused
        except BaseException:
            shutil.rmtree(stage)
            raise
        return path

    def _check_syntax(self) -> None:
        for path, source in self._project.sources().items():
            try:
                compile(source, str(path), "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                line = getattr(error, "lineno", None) or 1
                where = f"{path.relative_to(self._project.folder)}:{line}"
                said = getattr(error, "msg", None) or str(error)
                raise BuildFault("syntax", f"{where} is no Python: {said}.", "Mend the line and save.") from error

    async def _rehearse(self, draft: Draft, config: bytes | None) -> None:
        try:
            schema = NO_SCHEMA if draft.unpacked.config_schema is None else read_schema(draft.unpacked.config_schema)
        except SchemaRefused as refused:
            step = f"{refused.next_step} Next: arsenal plugin check"
            raise BuildFault("schema", f"{refused.where or '/'}: {refused.found}", step) from refused
        try:
            found = await self._rehearsal.fixtures(draft.manifest, config=schema.complete(config or b"{}"))
        except ValueError as error:
            step = "Give one with --config FILE, or defaults in the schema."
            raise BuildFault("configuration", f"The fixtures need a configuration: {error}", step) from error
        if found:
            raise await self._told(draft, found)

    async def _told(self, draft: Draft, found: Sequence[Failed]) -> BuildFault:
        """The fault in words: which fixture, and which kernel calls were refused, by name."""
        first = found[0]
        said = f"{first.fixture}: {first.said}" if first.fixture else f"It cannot be loaded: {first.said}"
        if len(found) > 1:
            said += f" (and {len(found) - 1} fixtures more)"
        stage = "fixtures" if first.fixture else "load"
        kind = None if first.fault is None else first.fault.kind
        if kind in (FaultKind.NOT_CONFINED, FaultKind.BOOT_TIMEOUT):
            return BuildFault(stage, said, "Run: arsenal doctor")
        refused = await self.refused_calls(*draft.key)
        if refused:
            named = "; ".join(refused)
            step = "A worker has neither network nor files nor processes: ask through ctx. Next: arsenal plugin check"
            return BuildFault("kernel", f"{said} Refused kernel calls: {named}.", f"{step} --explain egress")
        lines = " ".join(self._rehearsal.lines[-_SAID_MAX:])
        words = f"{said} It printed: {lines}" if lines and not first.fixture else said
        return BuildFault(stage, words, "Mend it and save, or run: arsenal plugin test")

    async def refused_calls(
        self, plugin_id: str, version: str, *, calls: Mapping[str, str] = MappingProxyType({})
    ) -> list[str]:
        """What a worker of an installed version is refused, as `socket at plugin.py:12`; tried in another process.

        `calls`: payloads in JSON, by hook, besides those of the fixtures.
        """
        try:
            installed = read_installed(self._plugins.resolve(), plugin_id=plugin_id, version=version)
        except NotInstalled:
            return []
        command = (
            sys.executable, "-m", "platform_core.contracts.testing.refused_calls",
            str(installed.release.folder), installed.release.module,
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(NAMED_WITHIN_S):
                printed, _ = await process.communicate(json.dumps(dict(calls)).encode())
        except TimeoutError:
            return []
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = printed.decode(errors="replace").strip().splitlines()
        try:
            told = json.loads(lines[-1]) if lines else []
        except ValueError:  # the plugin printed over it
            return []
        return [f"{each['call']} at {each['where']}" for each in told]


def _staged(project: Project, stage: Path, manifest: Manifest, *, number: int) -> Project:
    """A copy of what is packed, whole at one moment, under the draft's version."""
    is_package_itself = project.folder == project.package
    package = stage / "project" / project.name
    for path in project.files():
        to = package / path.relative_to(project.package)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise BuildFault("pack", f"{path.name} is a link.", "Put a plain file there.")
        shutil.copyfile(path, to)
    folder = package if is_package_itself else package.parent
    for name in sorted(BESIDE):
        if (project.folder / name).is_file():
            shutil.copyfile(project.folder / name, folder / name)
    own = manifest.plugin.version
    pattern = re.compile(rf"""(\bversion\s*=\s*)(["']){re.escape(own)}\2""")
    text = (package / project.manifest.name).read_text(encoding="utf-8")
    changed = pattern.sub(rf"\g<1>\g<2>{draft_version(own, number=number)}\g<2>", text, count=1)
    (package / project.manifest.name).write_text(changed, encoding="utf-8")
    return Project(folder, package)

"""What a release must keep to before it enters a generation: the contract's range, and its own manifest."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from platform_core.contracts.fields import paths_of
from platform_core.contracts.hooks import CONTRACT, HookSpec
from platform_core.contracts.inspection import Implementation
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.installed import Release
from platform_core.plugin_host.problems import Problem, ProblemKind, location_of


def problems_of(
    plugin: Plugin, found: Mapping[str, Implementation], hooks: Mapping[str, HookSpec]
) -> tuple[Problem, ...]:
    """What keeps a plugin with a release out; `found` are the marked functions of its code."""
    release = plugin.release
    if release is None:
        return tuple(_without_manifest(plugin, name, function) for name, function in found.items()
                     if hooks[name].kind != "register")  # fmt: skip
    problem = _contract_problem(release)
    if problem is not None:
        return (problem,)
    problems = list(_unknown_fields(release, hooks))
    if release.tier == "trusted":
        problems.extend(_differences(release, found))
    return tuple(problems)


def _without_manifest(plugin: Plugin, hook: str, function: Implementation) -> Problem:
    message = f"{hook} is implemented, but no release with a manifest stands behind it, so that it is never asked."
    return Problem(
        plugin_id=plugin.id, kind=ProblemKind.MANIFEST, message=message, hook=hook, where=location_of(function)
    )


def _contract_problem(release: Release) -> Problem | None:
    wanted = release.manifest.plugin.contract
    try:
        fits = SpecifierSet(wanted).contains(CONTRACT)
    except InvalidSpecifier:
        fits = False
    if fits:
        return None
    message = (
        f"{release.plugin_id} {release.version} is made for contract {wanted}; this platform serves {CONTRACT}. "
        f"Install a version of the plugin whose `contract` in plugin.toml includes {CONTRACT}."
    )
    return Problem(plugin_id=release.plugin_id, kind=ProblemKind.CONTRACT, message=message)


def _unknown_fields(release: Release, hooks: Mapping[str, HookSpec]) -> list[Problem]:
    """Hooks and fields that the manifest lists and this contract does not have."""
    problems: list[Problem] = []
    for use in release.manifest.hooks:
        spec = hooks.get(use.name)
        known = {} if spec is None or spec.payload is None else paths_of(spec.payload)
        wrong = [path for path in use.fields if path not in known]
        if spec is None and not _has_older(use.name, hooks):
            what = f"There is no hook {use.name} in this contract; the manifest lists it."
        elif spec is not None and wrong:
            what = f"{use.name} has no {', '.join(wrong)}; the manifest asks for it."
        else:
            continue
        problems.append(Problem(plugin_id=release.plugin_id, kind=ProblemKind.MANIFEST, message=what, hook=use.name))
    return problems


def _has_older(name: str, hooks: Mapping[str, HookSpec]) -> bool:
    """Whether a hook that is not known is a later major of one that is: the older one is asked then."""
    family, _, major = name.rpartition("_v")
    return major.isdigit() and family in hooks


def _differences(release: Release, found: Mapping[str, Implementation]) -> list[Problem]:
    """A hook in the code that the manifest does not list, and the reverse."""
    manifest = release.manifest
    listed = {use.name for use in manifest.hooks}
    problems = [
        Problem(
            plugin_id=release.plugin_id,
            kind=ProblemKind.MANIFEST,
            message=f"{name} is implemented and not listed in plugin.toml. Add it under [[hooks]].",
            hook=name,
            where=location_of(function),
        )
        for name, function in found.items()
        if name not in listed
    ]
    for name in sorted(listed - found.keys()):
        message = f"{name} is listed in plugin.toml and not implemented. Mark a function of that name with @hookimpl."
        problems.append(Problem(plugin_id=release.plugin_id, kind=ProblemKind.MANIFEST, message=message, hook=name))
    return problems

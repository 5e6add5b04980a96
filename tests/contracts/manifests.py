"""Small manifests for tests."""

from __future__ import annotations

from platform_core.contracts import catalogue
from platform_core.contracts.fields import paths_of
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.manifest_checks import methods_of
from platform_core.contracts.manifest_rules import read

WORDS = '{ zh = "试", en = "Test" }'


def manifest_text(*hooks: str, more: str = "", version: str = "1.0.0") -> str:
    """A manifest that asks for all fields of these hooks; objects are named `tried`."""
    known = catalogue.hooks()
    parts, scopes = [], set()
    for name in hooks:
        spec = known[name]
        if spec.payload is None:
            methods = ", ".join(f'"{method}"' for method in sorted(methods_of(spec)))
            parts.append(f'[[providers]]\nhook = "{name}"\nid = "tried"\nmethods = [{methods}]')
            parts.append(f'[[hooks]]\nname = "{name}"')
            continue
        paths = paths_of(spec.payload)
        scopes |= {scope for needed in paths.values() for scope in needed} | ({spec.scope} if spec.scope else set())
        listed = ", ".join(f'"{path}"' for path in paths)
        parts.append(f'[[hooks]]\nname = "{name}"\nfields = [{listed}]')
    parts += [f'[[scopes]]\nname = "{scope}"\npurpose = {WORDS}' for scope in sorted(scopes)]
    personal = f'[[personal_data]]\ncategory = "contact"\npurpose = {WORDS}\nretention_days = 0\n'
    return (
        f'manifest = 1\n[plugin]\nid = "example.acme.tried"\nversion = "{version}"\nname = {WORDS}\nsummary = {WORDS}\n'
        'publisher = "isv_1"\nlicense = "Apache-2.0"\nsupport = "help@acme.example"\ncontract = ">=1.0,<2"\n'
        + "\n".join(parts)
        + f"\n{personal}{more}"
    )


def manifest_of(*hooks: str, more: str = "", version: str = "1.0.0") -> Manifest:
    """The same, read."""
    return read(manifest_text(*hooks, more=more, version=version))

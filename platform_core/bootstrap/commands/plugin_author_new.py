"""`arsenal plugin new`: at most ten files, whose tests are green at once."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from platform_core.bootstrap.commands.plugin_author_starters import STARTERS, Starter
from platform_core.bootstrap.terminal import WRONG_USE, CliFailure
from platform_core.contracts import catalogue
from platform_core.contracts.hooks import HookSpec
from platform_core.contracts.manifest_checks import methods_of
from sandbox.runtime.wheels import is_taken

FILES_MAX: Final = 10
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", re.ASCII)


def scaffold(name: str, *, hook: str, plugin_id: str | None, publisher: str) -> Mapping[str, str]:
    """The files of a new plugin by path. CliFailure for a name or hook that cannot be."""
    known = catalogue.hooks()
    if hook not in STARTERS or hook not in known:
        raise CliFailure(
            f"There is no hook {hook}.", "Run: arsenal plugin hooks", status=WRONG_USE, code="cli.wrong_use"
        )
    if not _NAME.fullmatch(name) or len(name) > 36:
        said = f"{name!r} is no name of a plugin: lower-case letters and digits, parts joined by '-'."
        raise CliFailure(said, "Such as: arsenal plugin new acme-risk --hook check_payment", status=WRONG_USE)
    spec, starter = known[hook], STARTERS[hook]
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or is_taken(package):
        said = f"The name {package} is taken by Python, by us or by a library that every worker has."
        raise CliFailure(said, f"Such as: arsenal plugin new acme-{name} --hook {hook}", status=WRONG_USE)
    words = _words(spec, package=package)
    module = "provider" if starter.object_id else "plugin"
    files = {
        "pyproject.toml": _pyproject(name, package),
        "README.md": _readme(name, hook),
        "LICENSE": _LICENSE,
        f"{package}/plugin.toml": _manifest(spec, name=name, plugin_id=plugin_id, publisher=publisher),
        f"{package}/__init__.py": _init(name, hook, module=module),
        f"{package}/{module}.py": _module(starter, words),
        "tests/test_plugin.py": _filled(_own_test(spec, starter), words),
        "tests/test_contract.py": _filled(_contract_test(starter), words),
    }
    if starter.config:
        files[f"{package}/config.schema.json"] = _schema(starter)
    return files


def write(files: Mapping[str, str], into: Path) -> None:
    """Write them below a folder that is not there yet, or is empty. CliFailure else; nothing is overwritten."""
    if into.exists() and any(into.iterdir()):
        raise CliFailure(
            f"{into} is there already, and not empty.", "Choose another name, or --into.", status=WRONG_USE
        )
    for name, text in files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _words(spec: HookSpec, *, package: str) -> dict[str, str]:
    payload = spec.payload
    return {
        "package": package,
        "hook": spec.name,
        "argument": spec.arguments[1] if payload is not None else "",
        "payload": payload.__name__ if payload is not None else "",
        "module": "plugins" if spec.name == "on_plugin_changed" else "payments",
        "second": (*STARTERS[spec.name].fields, "", "")[1],
    }


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"@@{name}@@", word)
    return text


def _pyproject(name: str, package: str) -> str:
    return f'''# The wheel's version is the manifest's.
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
dynamic = ["version"]
readme = "README.md"
license = "Apache-2.0"
requires-python = ">=3.11"
dependencies = []

[project.entry-points."arsenal.plugins"]
{package} = "{package}"

[tool.hatch.version]
path = "{package}/plugin.toml"

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
'''


def _manifest(spec: HookSpec, *, name: str, plugin_id: str | None, publisher: str) -> str:
    starter, title = STARTERS[spec.name], name.replace("-", " ").replace("_", " ").capitalize()
    fields = ", ".join(f'"{path}"' for path in STARTERS[spec.name].fields)
    hooks = f'hooks = [{{ name = "{spec.name}"{f", fields = [{fields}]" if fields else ""} }}]\n'
    scopes = ""
    if spec.scope is not None:
        purpose = '{ zh = "请说明用途", en = "Say here what it is for" }'
        scopes = f'scopes = [{{ name = "{spec.scope}", purpose = {purpose} }}]\n'
    providers = ""
    if starter.object_id:
        wanted = ", ".join(f'"{method}"' for method in _methods(spec))
        package = name.replace("-", "_")
        providers = f'providers = [{{ hook = "{spec.name}", id = "{package}", methods = [{wanted}] }}]\n'
    config = 'config = { schema = "config.schema.json" }\n' if starter.config else ""
    return f'''manifest = 1
{config}{hooks}{providers}{scopes}
[plugin]
id = "{plugin_id or f"com.example.{name.replace('_', '-')}"}"
version = "0.1.0"
name = {{ zh = "{title}", en = "{title}" }}
summary = {{ zh = "请用一句话介绍插件", en = "Say in one sentence what it does" }}
publisher = "{publisher}"
license = "Apache-2.0"
support = "support@example.com"
contract = ">=1.0,<2"
{starter.manifest}'''


def _methods(spec: HookSpec) -> list[str]:
    """All that the starter's object really does."""
    if spec.name == "register_payment_provider":
        return ["describe", "pay", "refund", "cancel", "close", "query", "query_refund"]
    return sorted(methods_of(spec))


def _init(name: str, hook: str, *, module: str) -> str:
    return f'''"""{name}: the hooks that the host finds here."""

from __future__ import annotations

from .{module} import {hook}

__all__ = ["{hook}"]
'''


def _module(starter: Starter, words: Mapping[str, str]) -> str:
    what = "object that is handed over" if starter.object_id else "hook"
    context = "" if starter.object_id else "from platform_core.contracts.plugin import HookContext\n"
    stdlib, _, ours = _filled(starter.imports, words).rpartition("\n\n")
    lines = _sorted(f"from platform_core.contracts.hooks import hookimpl\n{ours}{context}")
    body = _filled(starter.body, words).lstrip("\n")
    gap = "\n\n" if body.startswith(("@", "class ", "def ")) else "\n"
    first = f"{stdlib}\n\n" if stdlib else ""
    return f'"""The {what}."""\n\nfrom __future__ import annotations\n\n{first}{lines}{gap}{body}'


def _sorted(imports: str) -> str:
    """Import statements ordered by module, those over several lines kept whole."""
    statements = re.findall(r"^from [^\n(]*\([^)]*\)\n|^from [^\n]*\n", imports, re.MULTILINE)
    return "".join(sorted(statements, key=lambda each: each.split()[1]))


def _own_test(spec: HookSpec, starter: Starter) -> str:
    names, any_line, told = "load_plugin", "", ""
    if spec.payload is not None:
        names = "FakeHost, load_plugin, payload_of"
        any_line = "from typing import Any\n\n"
        told = f'TOLD: Any = payload_of("{spec.name}", "{starter.fixture}")  # Any: each hook has its own type\n'
    imports = f"from platform_core.contracts.testing import {names}\n"
    if "Money(" in starter.test:
        imports += "from platform_core.contracts.fields import Money\n"
    pytest_line = "import pytest\n" if "@pytest" in starter.test else ""
    return (
        f'"""The plugin\'s own rules."""\n\nfrom __future__ import annotations\n\n{any_line}{pytest_line}'
        f"{_sorted(imports)}\nfrom @@package@@ import @@hook@@\n\n"
        f'PLUGIN = load_plugin("@@package@@")\n{told}\n{starter.test}'
    )


def _contract_test(starter: Starter) -> str:
    names = "PluginSuite, Request" if starter.suite else "PluginSuite"
    more = "from platform_core.contracts.testing.egress import answered\n" if starter.suite else ""
    return (
        '"""The plugin against the contract: every rule, on every golden fixture."""\n\n'
        "from __future__ import annotations\n\n"
        f"{starter.suite_imports}from platform_core.contracts.testing import {names}\n{more}\n\n"
        f'class TestContract(PluginSuite):\n    plugin = "@@package@@"\n{starter.suite}'
    )


def _schema(starter: Starter) -> str:
    properties = re.sub(r"\}\}, (?=\")", "}},\n    ", starter.config)
    return f"""{{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {{
    {properties}
  }}
}}
"""


def _readme(name: str, hook: str) -> str:
    return f"""# {name}

A plugin for Arsenal. It implements `{hook}`.

    arsenal plugin test     its own tests, then the contract kit
    arsenal plugin check    the rules of the review
    arsenal plugin pack     the bundle that is submitted
"""


_LICENSE: Final = """SPDX-License-Identifier: Apache-2.0

Licensed under the Apache License, Version 2.0 (the "License"); you may not use this plugin except in compliance with
the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.
"""

"""How long a plugin's deciding hooks take on the golden fixtures: `python -m ...measure <package>` prints JSON.

A process of its own, so that nothing else runs beside it. Settings are the defaults of the plugin's own schema.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from importlib.resources import files
from typing import Any, Final

from platform_core.contracts import catalogue
from platform_core.contracts.testing.kit import Setup, cases
from platform_core.contracts.testing.loaded import load_plugin

ROUNDS: Final = 50


def p95_ms(package: str) -> dict[str, float]:
    """By deciding hook: the 95th percentile of its calls in process, in milliseconds. Raises what the plugin raises."""
    plugin = load_plugin(package)
    setup = Setup(config=_defaults(package, plugin.manifest.config.schema_ if plugin.manifest.config else None))
    taken: dict[str, list[float]] = {}
    for case in [case for case in cases(plugin, setup) if catalogue.hooks()[case.hook.name].rule.is_deciding]:
        told = case.json()
        for _ in range(ROUNDS):
            host = setup.host(plugin, case.fixture)
            begun = time.perf_counter()
            case.call(host, told)
            taken.setdefault(case.hook.name, []).append((time.perf_counter() - begun) * 1000)
    return {name: sorted(each)[len(each) * 95 // 100] for name, each in taken.items()}


def _defaults(package: str, schema: str | None) -> dict[str, Any]:  # Any: JSON
    if schema is None:
        return {}
    told = json.loads(files(import_module(package)).joinpath(schema).read_text(encoding="utf-8"))
    return {name: one["default"] for name, one in told.get("properties", {}).items() if "default" in one}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(p95_ms(sys.argv[1])) + "\n")

"""`python -m benchmarks [NAME ...]`: a table on standard error, one JSON line per figure on standard output.

Exits with 1 when a first goal does not hold, with 2 for a name that is none. BENCH_QUICK=1, or `--quick`, takes one
short round: to see that everything runs, not to believe a figure.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.options import QUICK, Options
from benchmarks.registry import BENCHMARKS


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    listed = ", ".join(f"{name} ({benchmark.text})" for name, benchmark in BENCHMARKS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=listed)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison; 5 by default")
    parser.add_argument("--seconds", type=float, help="of each measurement; 3 by default")
    parser.add_argument("--rows", type=int, help="orders to preload for growth")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    options = QUICK if chosen.quick or os.environ.get("BENCH_QUICK") == "1" else Options()
    given = {name: getattr(chosen, name) for name in ("rounds", "seconds", "rows")}
    options = replace(options, **{name: value for name, value in given.items() if value is not None})
    console = Console(stderr=True, width=max(110, Console(stderr=True).width))
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    console.print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")
    figures: list[Figure] = []
    for name in chosen.names or BENCHMARKS:
        with console.status(f"{name} ..."):
            made = list(BENCHMARKS[name].run(options))
        console.print(table(name, made))
        for figure in made:
            print(figure.line(), flush=True)
        figures += made
    return 1 if any(figure.holds is False for figure in figures) else 0


def table(name: str, figures: list[Figure]) -> Table:
    """The figures for people."""
    made = Table(title=name, title_justify="left", box=None)
    for heading in ("figure", "median", "min", "max", "unit", "goal", "then", "holds"):
        made.add_column(heading, justify="left" if heading in ("figure", "unit", "holds") else "right", no_wrap=True)
    for figure in figures:
        goal = figure.goal
        bounds = ("", "") if goal is None else (f"{goal.sense} {goal.first:g}", f"{goal.sense} {goal.then:g}")
        made.add_row(
            figure.name,
            *(f"{value:,.4g}" for value in (figure.value, min(figure.values), max(figure.values))),
            figure.unit,
            *bounds,
            _verdict(figure),
        )
    return made


def _verdict(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    if not figure.holds:
        return "NO"
    return "yes, both" if figure.goal.is_aimed(figure.value) else "yes"


if __name__ == "__main__":
    sys.exit(main())

"""What an import costs: whole processes with bytecode at hand, medians of several, above `import attrs`.

python benchmarks/imports.py [--rounds 15]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import click
from rich.console import Console
from rich.table import Table

from benchmarks._figures import spread

STATEMENTS = ("pass", "import attrs", "import attrs, msgspec", "import dsl", "import infinitic")


def seconds(statement: str) -> float:
    """How long a process takes that only runs *statement*."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return time.perf_counter() - began


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each statement, taking turns; the first round, which writes bytecode, is left out."""
    taken: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for number in range(rounds + 1):
        for statement in STATEMENTS:
            figure = seconds(statement) * 1000
            if number:
                taken[statement].append(figure)
    return taken


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True, help="How many processes of each.")
def main(rounds: int) -> None:
    """Measure and print."""
    taken = measure(rounds)
    table = Table("process", "ms, median (range)", "above `import attrs`", title="Imports")
    base = statistics.median(taken["import attrs"])
    for statement, figures in taken.items():
        above = f"{statistics.median(figures) - base:+.1f}" if statement.startswith("import") else ""
        table.add_row(statement, spread(figures, 1), above)
    Console().print(table)


if __name__ == "__main__":
    main()

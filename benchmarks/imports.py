"""What an import costs: whole processes with bytecode at hand, medians of several, above `import attrs`.

python benchmarks/imports.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    taken = measure(parser.parse_args().rounds)
    table = Table("process", "ms, median (range)", "above `import attrs`", title="Imports")
    base = statistics.median(taken["import attrs"])
    for statement, figures in taken.items():
        median = statistics.median(figures)
        above = f"{median - base:+.1f}" if statement.startswith("import") else ""
        table.add_row(statement, f"{median:.1f} ({min(figures):.1f}-{max(figures):.1f})", above)
    Console().print(table)


if __name__ == "__main__":
    main()

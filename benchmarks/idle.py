"""What an idle worker costs: the share of one core that an `infinitic worker` process takes while nothing happens.

The process tells its own time (user and system, as `time.process_time` gives it) in a task, before and after.

    python -m benchmarks.idle [--seconds 15] [--parked 1000] [--rounds 2]
"""

from __future__ import annotations

import tempfile
import time

import click
from rich.console import Console
from rich.table import Table

from benchmarks._figures import spread
from benchmarks._processes import url_in, working
from infinitic import Channel, Client, Flow, sleep, task, workflow

TARGET = 1.0
SETTLE = 1.0
answer = Channel(str, name="answer")


@task
def spent() -> float:
    return time.process_time()


@workflow
def ask() -> Flow[float]:
    return (yield from spent())


@workflow
def parked() -> Flow[str | None]:
    return (yield from (answer.receive() | sleep(days=30)))


def share(count: int, seconds: float) -> float:
    """Percent of one core while *count* instances wait for a signal or a month."""
    with tempfile.TemporaryDirectory() as folder, working(__file__, url_in(folder)), Client(url_in(folder)) as client:
        for number in range(count):
            client.start(parked(), id=f"parked-{number}")
        while client.count(parked) < count:
            time.sleep(SETTLE)
        client.run(ask())
        time.sleep(SETTLE)
        before, began = client.run(ask()), time.perf_counter()
        time.sleep(seconds)
        return 100 * (client.run(ask()) - before) / (time.perf_counter() - began)


@click.command(help=__doc__)
@click.option("--seconds", default=15.0, show_default=True, help="How long it is watched.")
@click.option("--parked", "count", default=1_000, show_default=True, help="How many instances wait in the second row.")
@click.option("--rounds", default=2, show_default=True, help="How many processes of each.")
def main(seconds: float, count: int, rounds: int) -> None:
    """Measure and print."""
    table = Table(
        "instances parked", f"% of one core (target < {TARGET:g})", title=f"An idle worker, {seconds:g} s each"
    )
    for parked_ones in (0, count):
        table.add_row(f"{parked_ones:,}", spread([share(parked_ones, seconds) for _ in range(rounds)], 2))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

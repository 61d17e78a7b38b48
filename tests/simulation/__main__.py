"""`python -m tests.simulation`: run seeds, shrink what fails, replay it with its trace."""

from __future__ import annotations

import sys

import click

from tests.simulation.chance import record_of
from tests.simulation.running import run, run_seeds, told


@click.command()
@click.argument("seeds", type=click.IntRange(min=1), default=2_000)
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="The seed to begin with.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Processes  [default: one a core]")
@click.option("--seed", type=int, default=None, help="Run this seed alone, with its trace.")
@click.option("--replay", metavar="TOKEN", default=None, help="Run the world that TOKEN records, with its trace.")
def main(seeds: int, first: int, jobs: int | None, seed: int | None, replay: str | None) -> None:
    """Run so many SEEDS (default 2,000): each is a world of its own, full of troubles.

    The first seed that breaks a promise is shrunk, and its trace printed, with a token that replays it.
    """
    if seed is not None or replay is not None:
        try:
            record = record_of(replay) if replay is not None else ()
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        ran = run(seed if replay is None else None, record, traced=True)
        click.echo("\n".join(ran.trace))
        click.echo(ran.broken or "every promise was kept")
        sys.exit(bool(ran.broken))
    with click.progressbar(length=seeds, label="simulating", file=sys.stderr) as bar:
        result = run_seeds(range(first, first + seeds), jobs, bar.update)
    promises: set[str] = set()
    for failed, broken in result.broken:
        promise = broken.partition(":")[0]
        click.echo(f"seed {failed}: {broken}" if promise in promises else told(failed, broken))
        promises.add(promise)
    click.echo(result.summary)
    sys.exit(bool(result.broken))


if __name__ == "__main__":
    main()

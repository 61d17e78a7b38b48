"""`worker`: serve the workflows and services of modules until told to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import click
from rich.text import Text

from dsl.workflows import Method
from infinitic import __version__
from infinitic.cli.console import errors
from infinitic.cli.logs import log_to_stderr
from infinitic.cli.modules import Found, load
from infinitic.cli.settings import Settings, everywhere
from infinitic.config import shown
from infinitic.worker import Worker


@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option("--concurrency", type=click.IntRange(min=1), help="How many tasks run at once; 16 unless configured.")
@click.option("--name", help="The worker's name in histories; host and process id without it.")
@click.option("-v", "--verbose", count=True, help="Say more: -v what happens, -vv everything.")
@everywhere(hidden=True)
@click.pass_obj
def worker(
    settings: Settings, modules: tuple[str, ...], concurrency: int | None, name: str | None, verbose: int
) -> None:
    """Serve the workflows and services of modules.

    A MODULE is a module's name or a file. All that stands in its namespace is served; of a service, what
    implements it. Ctrl-C or SIGTERM lets running tasks finish; a second one ends the process at once.

    \b
    Examples:
      infinitic worker trips
      infinitic worker trips/workflows.py trips/services.py --concurrency 4 -v
    """
    log_to_stderr(verbose + 2 * settings.debug)
    stops = "Ctrl-C lets running tasks finish, and stops it"
    made = introduced(settings, load(modules), stops, concurrency=concurrency, name=name)
    made.run()
    errors().print(f"worker {made.name} has stopped", soft_wrap=True)


class Introduced(Worker):
    """A worker that says what it serves as soon as it does."""

    introduction: Callable[[], None] | None = None

    def start(self) -> Self:
        super().start()
        if self.introduction is not None:
            self.introduction()
        return self


def introduced(settings: Settings, found: Found, stops: str, **options: Any) -> Introduced:
    """A worker that serves what was *found*; *stops* says how it stops. Raises `RegistrationError`."""
    made = Introduced(
        settings.url,
        transport=settings.transport,
        storage=settings.storage,
        workflows=found.workflows,
        services=found.services,
        **options,
    )
    made.introduction = lambda: _introduce(made, found, settings, stops)
    return made


def _introduce(made: Worker, found: Found, settings: Settings, stops: str) -> None:
    console = errors()
    config = settings.config()
    place = shown(config.transport)
    if config.storage not in (None, config.transport):
        place += f" and {shown(str(config.storage))}"
    console.print(Text.assemble(("infinitic ", "bold"), (__version__, "bold"), f" on {place}"), soft_wrap=True)
    for what, names in (
        ("workflows", _workflows(made)),
        ("services", _services(made)),
        ("skipped", (f"{name}: a contract that nothing here implements" for name in found.contracts)),
    ):
        listed = ", ".join(names)
        if listed:
            console.print(Text.assemble((f"  {what:<10}", "dim"), listed), soft_wrap=True)
    console.print(f"worker {made.name} is at work; {stops}", soft_wrap=True)


def _workflows(made: Worker) -> Iterable[str]:
    for name, program in sorted(made.registry.programs.items()):
        methods = ", ".join(one for one, member in program.members.items() if isinstance(member, Method))
        yield f"{name} ({methods})" if methods else name


def _services(made: Worker) -> Iterable[str]:
    for service in made.registry.services:
        tasks = [name for its, name in sorted(made.registry.handlers) if its == service]
        yield service if tasks == [service] else f"{service} ({', '.join(tasks)})"

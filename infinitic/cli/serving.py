"""`worker`: serve the workflows and services of modules until told to stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Self

import click
from attrs import frozen
from rich.text import Text

from dsl.workflows import Method
from infinitic import __version__
from infinitic.cli.console import errors
from infinitic.cli.logs import log_to_stderr
from infinitic.cli.modules import Found, load
from infinitic.cli.settings import Settings, everywhere
from infinitic.config import EMBEDDED, load_config, scheme_of, shown
from infinitic.engine.alone import ALONE
from infinitic.errors import ConfigurationError
from infinitic.worker import Worker
from infinitic.worker.children import ChildPool
from infinitic.worker.children_inside import Code, Link, Served, serve
from infinitic.worker.supervisor import Supervisor


@frozen
class Serving:
    """What `worker` was asked for: enough to ask other processes for their part of it."""

    settings: Settings
    modules: tuple[str, ...]
    concurrency: int | None
    name: str | None
    verbose: int

    @property
    def level(self) -> int:
        return self.verbose + 2 * self.settings.debug

    def command(self) -> list[str]:
        """The command of a child, which lacks its place."""
        settings = self.settings
        given = {
            "--url": settings.url,
            "--transport": settings.transport,
            "--storage": settings.storage,
            "--name": self.name,
            "--concurrency": self.concurrency,
        }
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        options += ["--debug"] * settings.debug + ["-v"] * self.verbose
        # -P: as a script is started; `imported` puts folders on the path
        return [sys.executable, "-P", "-m", "infinitic", "worker", *self.modules, *options, "--place"]


MOST = 256
"""Processes under one supervisor: more are a slip of the finger, which no machine would survive."""


@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=MOST),
    help="How many processes serve, as many as there are cores, say; each that dies is replaced.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), help="How many tasks a process runs at once; 16 unless configured."
)
@click.option("--name", help="The worker's name in histories; host and process id without it.")
@click.option("-v", "--verbose", count=True, help="Say more: -v what happens, -vv everything.")
@click.option("--place", hidden=True, help="Be the child of a supervisor.")
@everywhere(hidden=True)
@click.pass_obj
def worker(
    settings: Settings,
    modules: tuple[str, ...],
    processes: int | None,
    concurrency: int | None,
    name: str | None,
    verbose: int,
    place: str | None,
) -> None:
    """Serve the workflows and services of modules.

    A MODULE is a module's name or a file. All that stands in its namespace is served; of a service, what
    implements it. Ctrl-C or SIGTERM lets running tasks finish; a second one ends the process at once.

    \b
    Examples:
      infinitic worker trips
      infinitic worker trips/workflows.py trips/services.py --concurrency 4 -v
      infinitic worker trips --processes 4
    """
    serving = Serving(settings, modules, concurrency, name, verbose)
    if place is not None:
        serve(place, lambda link: _served(serving, link))
        return
    log_to_stderr(serving.level)
    stops = "Ctrl-C lets running tasks finish, and stops it"
    count = _processes(settings, processes)
    if count:
        stops = f"{count} process{'es' * (count > 1)}; {stops}"
    made = introduced(settings, load(modules), stops, concurrency=concurrency, name=name)
    if count:
        _supervise(serving, made, count)
    else:
        made.run()
    errors().print(f"worker {made.name} has stopped", soft_wrap=True)


# ---------------------------------------------------------------------------------------------- processes


def _is_embedded(settings: Settings) -> bool:
    return scheme_of(settings.config().transport) in EMBEDDED


def _processes(settings: Settings, asked: int | None) -> int:
    """How many processes serve beside this one, 0 when this one does. Over a broker no task runs in this one."""
    transport = settings.config().transport
    if scheme_of(transport) == "memory" and asked is not None:
        hint = "Leave --processes away, or use sqlite:/// or a broker."
        raise ConfigurationError(f"{transport} is in one process only, and --processes asks for {asked} more", hint)
    return (asked or 0) if _is_embedded(settings) else (asked or 1)


def _supervise(serving: Serving, made: Introduced, count: int) -> None:
    """Serve as *made* would, in *count* processes. Raises what keeps them from it."""
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    if _is_embedded(serving.settings):
        Supervisor(serving.command(), count, gave_up=stop).run(made.introduce)
        return
    pool = ChildPool(serving.command(), count, gave_up=stop)
    if not made.registry.handlers:
        pool.supervisor.run(made.introduce)
        return
    made.registry.programs.clear()  # the children serve workflows; this one hands them tasks
    made.make_runner = pool.runner
    made.run()
    if pool.supervisor.error is not None:
        raise pool.supervisor.error


def _served(serving: Serving, link: Link) -> Served:
    """What the child at the end of *link* serves."""
    settings, found = serving.settings, load(serving.modules)
    name = serving.name and f"{serving.name}:{link.number}"
    options: dict[str, Any] = {
        "transport": settings.transport,
        "storage": settings.storage,
        "concurrency": serving.concurrency,
    }
    if _is_embedded(settings):
        whole = Worker(settings.url, workflows=found.workflows, services=found.services, name=name, **options)
        log_to_stderr(serving.level, f"process {link.number}")  # from here on: the supervisor has warned of the code
        return Served(whole)
    flows = Worker(settings.url, workflows=found.workflows, name=name, **options) if found.workflows else None
    log_to_stderr(serving.level, f"process {link.number}")
    return Code(link, found.services, load_config(settings.url, **options), name, flows)


# ------------------------------------------------------------------------------------------- introduction


class Introduced(Worker):
    """A worker that says what it serves as soon as it does."""

    introduction: Sequence[Text] = ()

    def start(self) -> Self:
        super().start()
        self.introduce()
        return self

    def introduce(self) -> None:
        for line in self.introduction:
            errors().print(line, soft_wrap=True)


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
    made.introduction = [*_introduction(made, found, settings, stops)]
    return made


def _introduction(made: Worker, found: Found, settings: Settings, stops: str) -> Iterator[Text]:
    config = settings.config()
    place = shown(config.transport)
    if config.storage not in (None, config.transport):
        place += f" and {shown(str(config.storage))}"
    yield Text.assemble(("infinitic ", "bold"), (__version__, "bold"), f" on {place}")
    for what, names in (
        ("workflows", _workflows(made)),
        ("services", _services(made)),
        ("skipped", (f"{name}: a contract that nothing here implements" for name in found.contracts)),
    ):
        listed = ", ".join(names)
        if listed:
            yield Text.assemble((f"  {what:<10}", "dim"), listed)
    yield Text(f"worker {made.name} is at work; {stops}")


def _workflows(made: Worker) -> Iterable[str]:
    for name, program in sorted(made.registry.programs.items()):
        if name == ALONE:
            continue  # everybody serves it
        methods = ", ".join(one for one, member in program.members.items() if isinstance(member, Method))
        yield f"{name} ({methods})" if methods else name


def _services(made: Worker) -> Iterable[str]:
    for service in made.registry.services:
        tasks = [name for its, name in sorted(made.registry.handlers) if its == service]
        yield service if tasks == [service] else f"{service} ({', '.join(tasks)})"

"""The program: its global options, its commands, and how it ends."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Never

import click

from infinitic import __version__
from infinitic.cli import exits
from infinitic.cli.answering import complete, fail
from infinitic.cli.calling import call, cancel, retry, signal
from infinitic.cli.checking import check
from infinitic.cli.completing import completion
from infinitic.cli.console import accept_all_text
from infinitic.cli.developing import dev
from infinitic.cli.diagnosing import doctor
from infinitic.cli.explaining import why
from infinitic.cli.exporting import export, import_
from infinitic.cli.logs import log_nowhere, log_to_stderr
from infinitic.cli.looking import list_, show
from infinitic.cli.operating import complete_timers, resume, suspend, terminate
from infinitic.cli.preparing import storage, topics
from infinitic.cli.purging import delete, purge
from infinitic.cli.serving import worker
from infinitic.cli.settings import Settings, as_json, everywhere
from infinitic.cli.starting import result, start
from infinitic.cli.tagging import tag

DEMO = "infinitic.cli.demo"
COMMANDS = (
    worker,
    dev,
    check,
    start,
    result,
    call,
    signal,
    list_,
    show,
    why,
    cancel,
    retry,
    suspend,
    resume,
    terminate,
    complete_timers,
    complete,
    fail,
    tag,
    delete,
    purge,
    export,
    import_,
    doctor,
    topics,
    storage,
    completion,
)


class Program(click.Group):
    """The commands in the order in which one needs them; each end is one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as given; `demo` goes first where it is part of the installation."""
        return [*(["demo"] if find_spec(DEMO) else []), *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; `demo` is imported when it is asked for."""
        if cmd_name == "demo" and find_spec(DEMO):
            found: click.Command = import_module(DEMO).demo
            return found
        return super().get_command(ctx, cmd_name)

    def main(self, *args: Any, **extra: Any) -> Never:
        """Run, and end the process."""
        accept_all_text()
        settings = Settings()
        extra |= {"standalone_mode": False, "obj": settings}
        try:
            code = super().main(*args, **extra)
        except (Exception, KeyboardInterrupt) as error:
            code = exits.report(error, debug=settings.debug)
        sys.exit(code or exits.OK)


@click.group(
    "infinitic",
    cls=Program,
    epilog=exits.TABLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@everywhere(hidden=False)
@as_json(hidden=True)
@click.version_option(
    __version__, message=f"infinitic %(version)s (Python {platform.python_version()}, {platform.system()})"
)
@click.pass_obj
def program(settings: Settings) -> None:
    """Durable workflows written as plain Python generators.

    Where transport and storage are not given here, INFINITIC_TRANSPORT and INFINITIC_STORAGE decide, then
    infinitic.toml, then [tool.infinitic] of pyproject.toml, else sqlite:///.infinitic/infinitic.db. The
    options below may also stand after a command's name.
    """
    log_to_stderr(2) if settings.debug else log_nowhere()


for _command in COMMANDS:
    program.add_command(_command)

"""`complete`, `fail`: somebody answers a task in its place, by its id."""

from __future__ import annotations

from datetime import timedelta

import click

from infinitic.cli.calling import PATIENCE, time_limit
from infinitic.cli.console import output
from infinitic.cli.settings import Settings, everywhere, open_client
from infinitic.cli.values import parsed


@click.command()
@click.argument("task_id")
@click.argument("value", default="null")
@time_limit(PATIENCE)
@everywhere(hidden=True)
@click.pass_obj
def complete(settings: Settings, task_id: str, value: str, timeout: timedelta) -> None:
    """Answer a task in its place.

    For a delegated one, or any that is open: TASK_ID is what current_task().id gave the task, and why tells. VALUE
    is JSON when it can be read as JSON, text otherwise, and null when it is left out. Needs no storage.

    \b
    Examples:
      infinitic complete WyJvcmRlcmluZyIsIm8tMSIs… true
      infinitic complete WyJvcmRlcmluZyIsIm8tMSIs… '{"by": "ann"}'
    """
    with open_client(settings) as client:
        first = client.complete(task_id, parsed(value), timeout=timeout)
    _say(first, "the task is completed")


@click.command()
@click.argument("task_id")
@click.argument("message")
@time_limit(PATIENCE)
@everywhere(hidden=True)
@click.pass_obj
def fail(settings: Settings, task_id: str, message: str, timeout: timedelta) -> None:
    """Have a task fail for good.

    The workflow gets a TaskFailed whose cause is an Exception with this MESSAGE. Otherwise as complete.

    \b
    Example:
      infinitic fail WyJvcmRlcmluZyIsIm8tMSIs… "nobody has signed"
    """
    with open_client(settings) as client:
        first = client.fail(task_id, Exception(message), timeout=timeout)
    _say(first, "the task has failed")


def _say(first: bool, what: str) -> None:
    output().print(what if first else "the task had its answer already, and keeps it", soft_wrap=True)

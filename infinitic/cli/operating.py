"""`suspend`, `resume`, `terminate`, `complete-timers`: what an operator does where the code cannot help itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from infinitic.cli.bulk import YES, Operation, in_bulk, is_one
from infinitic.cli.calling import OPENED, patience, say_done
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output
from infinitic.cli.filters import filtered
from infinitic.cli.settings import Settings, everywhere, open_client, when_known


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.option("--reason", default="", help="What `infinitic list` and `infinitic why` tell of it.")
@patience
@everywhere(hidden=True)
@click.pass_obj
def suspend(settings: Settings, workflow_id: str, reason: str, timeout: timedelta) -> None:
    """Have an instance stand still.

    What comes for the instance ID, its timers too, waits in its inbox, in order, until `infinitic resume ID`. Tasks
    that run go on; their answers wait as well.

    \b
    Example:
      infinitic suspend trip-42 --reason "the bank is closed"
    """
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id)).suspend(reason, timeout=timeout)
    output().print(f"{workflow_id} is suspended", soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@patience
@everywhere(hidden=True)
@click.pass_obj
def resume(settings: Settings, workflow_id: str, timeout: timedelta) -> None:
    """Have a suspended instance go on.

    With what waits in its inbox, in order. An instance that its code suspended is tried once more.

    \b
    Example:
      infinitic resume trip-42
    """
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id)).resume(timeout=timeout)
    output().print(f"{workflow_id} goes on", soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="[ID]", required=False, shell_complete=complete_id)
@filtered(OPENED)
@YES
@click.option("--reason", default="", help="What whoever waits for it is told.")
@patience
@everywhere(hidden=True)
@click.pass_obj
def terminate(
    settings: Settings, workflow_id: str | None, which: dict[str, Any], yes: bool, reason: str, timeout: timedelta
) -> None:
    """End an instance at once, without its cleanup, or many.

    No code of it runs for that, so it may be missing or broken. Its tasks are cancelled, its children as their
    parent_close says. To let it clean up: infinitic cancel ID. With filters in the place of ID all that are open and
    that they mean are terminated, once they are counted and you have agreed.

    \b
    Examples:
      infinitic terminate trip-42 --reason "started by mistake"
      infinitic terminate --workflow trip --status suspended
    """
    if not is_one(workflow_id, which):
        what = Operation("terminate", "terminated", OPENED, ends=True)
        in_bulk(what, lambda _, one: one.terminate(reason, timeout=timeout), settings, which, yes=yes)
        return
    with open_client(settings) as client:
        when_known(lambda: client.get(str(workflow_id))).terminate(reason, timeout=timeout)
    output().print(f"{workflow_id} is terminated", soft_wrap=True)


@click.command("complete-timers")
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.option("--method", help="Only those of one method, by its name or call id.")
@patience
@everywhere(hidden=True)
@click.pass_obj
def complete_timers(settings: Settings, workflow_id: str, method: str | None, timeout: timedelta) -> None:
    """Have the timers be over that an instance waits for.

    As if they were due now: each sleep and each timeout. Retries of tasks stay as they are.

    \b
    Example:
      infinitic complete-timers trip-42
    """
    with open_client(settings) as client:
        handle = when_known(lambda: client.get(workflow_id))
        handle.complete_timers(method, timeout=timeout)
        say_done(handle, f"the timers of {workflow_id} are over", "its timers are over")

"""`call`, `signal`, `cancel`, `retry`: what one does to an instance that there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from infinitic.cli import remote
from infinitic.cli.bulk import YES, Operation, in_bulk, is_one
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output
from infinitic.cli.filters import filtered
from infinitic.cli.settings import Settings, as_json, everywhere, open_client, when_known
from infinitic.cli.values import arguments, duration, naming, parsed, put_answer
from infinitic.client import Client, Handle
from infinitic.client.operations import FailedStatus
from infinitic.errors import DecodeError, InfiniticError, RemoteError
from infinitic.records import FAILED, RUNNING, SUSPENDED

F = TypeVar("F", bound=Callable[..., Any])

OPENED = (RUNNING, SUSPENDED)
PATIENCE = "10s"
"""How long an instance may take to say that it has a signal, a cancellation or a retry."""


def time_limit(default: str | None) -> Callable[[F], F]:
    said = f"How long to wait for the answer at most; {default} unless given." if default else "How long to wait."
    return click.option("--timeout", type=duration, default=default, help=said)


patience = time_limit(PATIENCE)


def say_done(handle: Handle[Any], done: str, later: str) -> None:
    """Say that it is *done*; or what comes *later*, of an instance that stands still and has it in its inbox."""
    still = handle.status() == SUSPENDED
    output().print(f"{handle.id} is suspended: {later} once it goes on" if still else done, soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.argument("method")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--args", metavar="JSON", help="Arguments as one JSON object, @FILE, or - for the standard input.")
@click.option("--query", is_flag=True, help="METHOD is a query: it reads, and nothing is recorded.")
@click.option("--workflow", help="The workflow's name: needed where no storage is configured.")
@time_limit(None)
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def call(
    settings: Settings,
    workflow_id: str,
    method: str,
    given: tuple[str, ...],
    args: str | None,
    query: bool,
    workflow: str | None,
    timeout: timedelta | None,
) -> None:
    """Call a method of an instance, or ask a query.

    Waits, and prints what METHOD of the instance ID returns.

    \b
    Examples:
      infinitic call ada redeem points=10
      infinitic call ada balance --query
    """
    named = arguments(args, given)
    with open_client(settings) as client:
        name = workflow or when_known(lambda: client.get(workflow_id)).workflow
        try:
            answer = _asked(client, name, workflow_id, method, named, query, timeout)
        except DecodeError as error:
            if query or "has no method" not in str(error):
                raise
            raise DecodeError(f"{error}. For a query add --query") from error
        except (InfiniticError, TimeoutError, click.ClickException):
            raise
        except Exception as error:  # what a validator, the method or the query raised, as itself
            raise RemoteError(f"{type(error).__module__}:{type(error).__qualname__}", str(error)) from error
        put_answer(answer, json_wanted=settings.json)


def _asked(
    client: Client,
    workflow: str,
    workflow_id: str,
    method: str,
    named: dict[str, Any],
    query: bool,
    timeout: timedelta | None,
) -> Any:
    with naming("METHOD"):
        made = (remote.query if query else remote.call)(workflow, workflow_id, method, named)
    return client.run(made, timeout=timeout)


@click.command()
@click.argument("given", nargs=-1, metavar="[ID] CHANNEL VALUE", shell_complete=complete_id)
@filtered(OPENED)
@YES
@patience
@everywhere(hidden=True)
@click.pass_obj
def signal(settings: Settings, given: tuple[str, ...], which: dict[str, Any], yes: bool, timeout: timedelta) -> None:
    """Send a signal to an instance, or to many.

    Done once the instance ID has the VALUE, which is JSON when it can be read as JSON, and text otherwise. With
    filters in the place of ID all that they mean get it, once they are counted and you have agreed.

    \b
    Examples:
      infinitic signal trip-42 confirmed yes
      infinitic signal ada bonus -- -5
      infinitic signal confirmed yes --workflow trip --waiting-for confirmed
    """
    if len(given) != (2 if which else 3):
        wanted = "CHANNEL VALUE beside filters" if which else "ID CHANNEL VALUE, or CHANNEL VALUE and filters"
        raise click.UsageError(f"give {wanted}")
    *ids, channel, value = given
    with naming("CHANNEL"):
        send = remote.signal(ids[0] if ids else "all", channel, parsed(value))
    if which:
        what = Operation("signal", "signalled", OPENED)
        in_bulk(
            what,
            lambda client, one: client.run(replace(send, workflow_id=one.id), timeout=timeout),
            settings,
            which,
            yes=yes,
        )
        return
    workflow_id = ids[0]
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id))
        client.run(send, timeout=timeout)
    output().print(f"{workflow_id} has the signal", soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="[ID]", required=False, shell_complete=complete_id)
@filtered(OPENED)
@YES
@patience
@everywhere(hidden=True)
@click.pass_obj
def cancel(settings: Settings, workflow_id: str | None, which: dict[str, Any], yes: bool, timeout: timedelta) -> None:
    """Cancel an instance, or many.

    Done once the instance ID has the request; its cleanup may take longer. With filters in the place of ID all that
    run and that they mean are cancelled, once they are counted and you have agreed.

    \b
    Examples:
      infinitic cancel trip-42
      infinitic cancel --workflow trip --tag vip
    """
    if not is_one(workflow_id, which):
        what = Operation("cancel", "asked to cancel", OPENED, ends=True)
        in_bulk(what, lambda _, one: one.cancel(timeout=timeout), settings, which, yes=yes)
        return
    with open_client(settings) as client:
        handle = when_known(lambda: client.get(str(workflow_id)))
        handle.cancel(timeout=timeout)
        say_done(handle, f"{workflow_id} is being cancelled", "it is cancelled")


@click.command()
@click.argument("workflow_id", metavar="[ID]", required=False, shell_complete=complete_id)
@filtered([FAILED])
@YES
@click.option("--task", help="Run again the failed tasks of this name, also where the instance goes on.")
@click.option("--service", help="The same, of this service.")
@click.option("--ended", type=click.Choice(["failed", "timed_out"]), help="The same, of those that ended so.")
@patience
@everywhere(hidden=True)
@click.pass_obj
def retry(
    settings: Settings,
    /,
    workflow_id: str | None,
    which: dict[str, Any],
    yes: bool,
    timeout: timedelta,
    ended: FailedStatus | None,
    **tasks: Any,
) -> None:
    """Take up a failed instance again where it failed, or many.

    What was done stays done. To begin from the start instead: infinitic start … --id ID --if-exists restart. With
    filters in the place of ID all that failed and that they mean go on, once they are counted and you have agreed.

    \b
    Examples:
      infinitic retry trip-42
      infinitic retry trip-42 --service Hotels --ended timed_out
      infinitic retry --workflow trip --ended-since 2h
    """
    tasks |= {"status": ended}
    if not is_one(workflow_id, which):
        what = Operation("retry", "taken up again", [FAILED])
        in_bulk(what, lambda _, one: one.retry(**tasks, timeout=timeout), settings, which, yes=yes)
        return
    with open_client(settings) as client:
        when_known(lambda: client.get(str(workflow_id))).retry(**tasks, timeout=timeout)
    output().print(f"{workflow_id} goes on", soft_wrap=True)

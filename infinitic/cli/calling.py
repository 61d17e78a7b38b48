"""`call`, `signal`, `cancel`, `retry`: what one does to an instance that there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from infinitic.cli import remote
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output
from infinitic.cli.settings import Settings, as_json, everywhere, open_client, when_known
from infinitic.cli.values import arguments, duration, naming, parsed, put_answer
from infinitic.client import Client
from infinitic.errors import DecodeError

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = "10s"
"""How long an instance may take to say that it has a signal, a cancellation or a retry."""


def _timeout(default: str | None) -> Callable[[F], F]:
    said = f"How long to wait for the answer at most; {default} unless given." if default else "How long to wait."
    return click.option("--timeout", type=duration, default=default, help=said)


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.argument("method")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--args", metavar="JSON", help="Arguments as one JSON object, @FILE, or - for the standard input.")
@click.option("--query", is_flag=True, help="METHOD is a query: it reads, and nothing is recorded.")
@click.option("--workflow", help="The workflow's name: needed where no storage is configured.")
@_timeout(None)
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
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.argument("channel")
@click.argument("value")
@_timeout(PATIENCE)
@everywhere(hidden=True)
@click.pass_obj
def signal(settings: Settings, workflow_id: str, channel: str, value: str, timeout: timedelta) -> None:
    """Send a signal to an instance.

    Done once the instance ID has the VALUE, which is JSON when it can be read as JSON, and text otherwise.

    \b
    Examples:
      infinitic signal trip-42 confirmed yes
      infinitic signal ada bonus -- -5
    """
    with naming("CHANNEL"):
        send = remote.signal(workflow_id, channel, parsed(value))
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id))
        client.run(send, timeout=timeout)
    output().print(f"{workflow_id} has the signal", soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@_timeout(PATIENCE)
@everywhere(hidden=True)
@click.pass_obj
def cancel(settings: Settings, workflow_id: str, timeout: timedelta) -> None:
    """Cancel an instance.

    Done once the instance ID has the request; its cleanup may take longer.

    \b
    Example:
      infinitic cancel trip-42
    """
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id)).cancel(timeout=timeout)
    output().print(f"{workflow_id} is being cancelled", soft_wrap=True)


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@_timeout(PATIENCE)
@everywhere(hidden=True)
@click.pass_obj
def retry(settings: Settings, workflow_id: str, timeout: timedelta) -> None:
    """Take up a failed instance again where it failed.

    What was done stays done. To begin from the start instead: infinitic start … --id ID --if-exists restart.

    \b
    Example:
      infinitic retry trip-42
    """
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id)).retry(timeout=timeout)
    output().print(f"{workflow_id} goes on", soft_wrap=True)

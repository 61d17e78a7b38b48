"""`start` and `result`: begin an instance by its workflow's name, and wait for what it returns."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import click

from infinitic.cli import remote
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output, put_json, say
from infinitic.cli.settings import Settings, as_json, everywhere, open_client, when_known
from infinitic.cli.values import arguments, duration, moment, naming, pairs, put_answer
from infinitic.client import Client
from infinitic.client.calls import IF_EXISTS

PATIENCE = timedelta(seconds=10)
"""How long an instance may take to say that --if-exists lets it begin."""


@click.command()
@click.argument("workflow")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--id", "workflow_id", metavar="ID", help="The workflow id; a new one without it.")
@click.option("--args", metavar="JSON", help="Arguments as one JSON object, @FILE, or - for the standard input.")
@click.option("--tag", "tags", multiple=True, help="A tag to find it by; may be given several times.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", callback=pairs, help="What comes along with the run.")
@click.option("--if-exists", type=click.Choice(IF_EXISTS), default="attach", help="When the id is taken.")
@click.option("--delay", type=duration, help="Begin so much later, as in 90s, 5m, 2h or 1d.")
@click.option("--at", "start_at", metavar="WHEN", type=moment, help="Begin then, as in 2030-01-31T08:00+01:00.")
@click.option("--task", "is_task", is_flag=True, help="WORKFLOW is a task, SERVICE.TASK or a function, to run alone.")
@click.option("--wait", is_flag=True, help="Wait for the result, and print it.")
@click.option(
    "--timeout",
    type=duration,
    help="How long to wait at most, as in 30s or 5m; for an answer to --if-exists 10s unless given.",
)
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def start(
    settings: Settings,
    workflow: str,
    given: tuple[str, ...],
    workflow_id: str | None,
    args: str | None,
    tags: tuple[str, ...],
    meta: dict[str, Any],
    if_exists: Any,
    delay: timedelta | None,
    start_at: datetime | None,
    is_task: bool,
    wait: bool,
    timeout: timedelta | None,
) -> None:
    """Start a workflow, and print its id or its result.

    WORKFLOW is a workflow's name, or CLASS.METHOD for one that is a class; its code is not needed here.
    Arguments go by name. A VALUE is JSON when it can be read as JSON, and text otherwise.

    \b
    Examples:
      infinitic start trip city=Oslo nights=3 --id trip-42
      infinitic start trip --args '{"city": "Oslo", "nights": 3}' --wait
      infinitic start --task Hotels.book city=Oslo --wait
      infinitic start Loyalty.run weeks=52 --id ada --if-exists restart
    """
    _check(waits=wait or if_exists != "attach", timeout=timeout, delay=delay, start_at=start_at)
    name, _, member = workflow.rpartition(".")
    with naming("WORKFLOW"):
        described = remote.task if is_task else remote.start
        call = described(name or member, member if name or is_task else "", arguments(args, given))
    with open_client(settings, creates=True) as client:
        when: Any = {"delay": delay, "start_at": start_at, "timeout": timeout if wait else timeout or PATIENCE}
        handle = client.start(call, id=workflow_id, tags=tags, meta=meta, if_exists=if_exists, **when)
        if wait:
            say(f"started {workflow} {handle.id}")
            put_answer(handle.result(timeout), json_wanted=settings.json)
        else:
            _put_id(handle.id, workflow, settings)


def _check(*, waits: bool, timeout: timedelta | None, delay: timedelta | None, start_at: datetime | None) -> None:
    if timeout is not None and not waits:
        raise click.UsageError("--timeout says how long to --wait, or for --if-exists; it is of no use alone")
    if delay is not None and start_at is not None:
        raise click.UsageError("give --delay or --at, not both")


def _put_id(workflow_id: str, workflow: str, settings: Settings) -> None:
    if settings.json:
        put_json(json.dumps({"id": workflow_id, "workflow": workflow}, ensure_ascii=False))
        return
    output().print(workflow_id, soft_wrap=True)
    say(f"infinitic result {workflow_id} waits for its result, infinitic show {workflow_id} tells how it goes")


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.option("--timeout", type=duration, help="How long to wait at most, as in 30s or 5m; 0 only looks.")
@click.option("--workflow", help="The workflow's name: needed where no storage is configured.")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def result(settings: Settings, workflow_id: str, timeout: timedelta | None, workflow: str | None) -> None:
    """Wait for the result of an instance, and print it.

    \b
    Examples:
      infinitic result trip-42
      infinitic result trip-42 --timeout 30s --json
    """
    with open_client(settings) as client:
        put_answer(_result(client, workflow_id, workflow, timeout), json_wanted=settings.json)


def _result(client: Client, workflow_id: str, workflow: str | None, timeout: timedelta | None) -> Any:
    if workflow is not None:
        return client.get(workflow_id, workflow).result(timeout)
    return when_known(lambda: client.get(workflow_id)).result(timeout)

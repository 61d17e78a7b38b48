"""`export` and `import`: instances as lines of JSON, out of one storage and into another, to look at and to replay."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import click

from dsl.calls import check_id
from infinitic.backends.urls import open_backend
from infinitic.cli import words
from infinitic.cli.completing import complete_id
from infinitic.cli.console import put, put_json, say
from infinitic.cli.settings import Settings, UnknownId, as_json, everywhere, near_ids, open_storage
from infinitic.clock import SECOND
from infinitic.errors import NoStorage, UnknownWorkflow, WorkflowExists
from infinitic.ids import new_id
from infinitic.records import STATUSES
from infinitic.storages import Storage
from infinitic.worker.checking import found
from infinitic.worker.exports import Exported, exported, exports_in, imported


@click.command("export")
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=complete_id)
@click.option("--workflow", help="All of this workflow.")
@click.option("--status", type=click.Choice(STATUSES), help="All of this status.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest ones only, at most so many.")
@everywhere(hidden=True)
@click.pass_obj
def export(
    settings: Settings, ids: tuple[str, ...], workflow: str | None, status: str | None, limit: int | None
) -> None:
    """Print the histories of instances as lines of JSON.

    Of each its present run, for `import` and `check --history`: what it is, and then its turns. What it was
    given and has answered is in there, as it is stored. Nothing is changed, and workers may run meanwhile.

    \b
    Examples:
      infinitic export trip-42 > tests/histories/trip-42.jsonl
      infinitic export --workflow trip --status completed --limit 100 > trips.jsonl
    """
    if bool(ids) == bool(workflow or status or limit):
        raise click.UsageError("name instances, or say which by --workflow, --status or --limit")
    for one in ids:
        check_id(one)
    with open_storage(settings, "infinitic export") as storage:
        chosen = iter(ids) if ids else _chosen(storage, workflow or "", status or "", limit or 0)
        count = sum(_export(storage, one, sys.stdout.buffer, named=bool(ids)) for one in chosen)
        sys.stdout.flush()
    say(f"{words.counted(count, 'instance')} exported")


def _chosen(storage: Storage, workflow: str, status: str, limit: int) -> Iterator[str]:
    for record in found(storage, [status], workflow, limit):  # no status is every one
        yield record.workflow_id


def _export(storage: Storage, workflow_id: str, stream: BinaryIO, *, named: bool) -> int:
    """Write one instance; how many that were. Raises `UnknownWorkflow` when one that was *named* is not there."""
    stored = storage.load(workflow_id)
    if stored is None and named:
        raise UnknownId(UnknownWorkflow("", workflow_id), near_ids(storage, workflow_id))
    for line in exported(stored) if stored is not None else ():
        stream.write(line + b"\n")
    return int(stored is not None)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.File("rb"), metavar="FILE...")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def import_(settings: Settings, files: Sequence[BinaryIO]) -> None:
    """Put exported instances into a storage, to look at them.

    They are there for `show`, `why` and `check`: nothing is sent, no timer is set, and those that have not
    ended are suspended. All of FILE... or nothing: an id that is in use already is refused.

    \b
    Examples:
      infinitic import trips.jsonl --url sqlite:///look.db
      infinitic export trip-42 --storage redis://host | infinitic import - --url sqlite:///look.db
    """
    instances = [one for file in files for one in exports_in(file, getattr(file, "name", "stdin"))]
    config = settings.config()
    backend = open_backend(config, "client")
    try:
        try:
            storage = backend.storage
        except NoStorage:
            raise NoStorage("infinitic import") from None
        expires = storage.now() + round(config.retention * SECOND)
        _import(storage, instances, expires)
    finally:
        backend.close()
    if settings.json:
        put_json(json.dumps([one.header.workflow_id for one in instances], ensure_ascii=False))
    for one in instances if not settings.json else ():
        put(f"{one.header.workflow_id} is here: {one.header.workflow}, {words.counted(one.header.turns, 'turn')}")


class InUse(WorkflowExists):
    """An id that is there already: what is imported overwrites nothing."""

    def __str__(self) -> str:
        return f"{super().__str__().partition('. ')[0]}. Import into another storage, as in --url sqlite:///look.db."


def _import(storage: Storage, instances: Sequence[Exported], expires: int) -> None:
    """Raises `WorkflowExists` when there is one of them, or one is there twice."""
    ids = [one.header.workflow_id for one in instances]
    for record in storage.records(ids):
        if record is not None:
            raise InUse(record.workflow, record.workflow_id, record.status)
    for one in instances:
        if not storage.append([imported(one, new_id(), expires)])[0]:
            raise InUse(one.header.workflow, one.header.workflow_id, one.header.record.status)

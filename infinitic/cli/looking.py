"""`list` and `show`: what there is, and how one of them goes. Both read the storage, and need no worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from dsl.calls import check_id
from infinitic.cli import words
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output, put, put_json, say
from infinitic.cli.data import record_data, story_data
from infinitic.cli.filters import filter_of, filtered
from infinitic.cli.settings import (
    Settings,
    UnknownId,
    as_json,
    everywhere,
    near_ids,
    open_storage,
    when_known,
)
from infinitic.cli.showing import STATUS_STYLES, shown
from infinitic.errors import UnknownWorkflow
from infinitic.history import decode_turn
from infinitic.records import Filter, StateRecord
from infinitic.storages import Storage
from infinitic.story import Story, tell

HEADERS = ("ID", "WORKFLOW", "STATUS", "STARTED", "WAITS FOR, OR RESULT")
GAP, LEAST = 2, 20


@click.command("list")
@click.argument("prefix", default="")
@filtered()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def list_(
    settings: Settings,
    prefix: str,
    which: dict[str, Any],
    limit: int,
) -> None:
    """List instances, the newest first.

    All of them, or those whose id begins with PREFIX.

    \b
    Examples:
      infinitic list --status suspended
      infinitic list trip- --since 2h --json
      infinitic list --waiting-for Hotels.book --until 1d
    """
    if prefix and "id_prefix" in which:
        raise click.UsageError("give PREFIX or --id-prefix, not both")
    where = filter_of(which | ({"id_prefix": prefix} if prefix else {}))
    with open_storage(settings, "infinitic list") as storage:
        records, now = list(_found(storage, where, limit + 1)), storage.now()
    if settings.json:
        put_json(json.dumps([record_data(record) for record in records[:limit]], ensure_ascii=False))
        return
    if records:
        put(table_of(records[:limit], now, output().width))
    else:
        say("there is none" if where != Filter() else "there is none yet")
    if len(records) > limit:
        say(f"and more: --limit shows more than {limit}")


def _found(storage: Storage, where: Filter, limit: int) -> Iterator[StateRecord]:
    page = storage.find(where, limit)
    yield from page.records
    while page.after and (left := limit - len(page.records)) > 0:
        limit = left
        page = storage.find(where, limit, page.after)
        yield from page.records


def table_of(records: Sequence[StateRecord], now: int, width: int) -> Table:
    """One line an instance: what does not fit into *width* is cut off the last column."""
    rows = [_row(record, now) for record in records]
    widths = [max(len(header), *(len(row[n]) for row in rows)) for n, header in enumerate(HEADERS)]
    left = max(LEAST, width - sum(widths[:-1]) - GAP * len(widths))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, GAP, 0, 0))
    for header in HEADERS:
        table.add_column(header, no_wrap=True, overflow="ellipsis")
    for row in rows:
        row[-1].truncate(left, overflow="ellipsis")
        table.add_row(*row)
    return table


def _row(record: StateRecord, now: int) -> tuple[Text, ...]:
    return (
        Text(record.workflow_id),
        Text(record.workflow),
        Text(record.status, style=STATUS_STYLES.get(record.status, "")),
        Text(words.ago(record.started, now)),
        Text(words.waits(record, now)),
    )


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.option("--all", "everything", is_flag=True, help="Of a long history, all that is done and past, too.")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def show(settings: Settings, workflow_id: str, everything: bool) -> None:
    """Show what an instance has done and what it waits for.

    Each step of ID stands there with its answer, its attempts and their errors, and how long it took; what is
    waited for with the line of code that waits.

    \b
    Examples:
      infinitic show trip-42
      infinitic show trip-42 --json
    """
    with open_storage(settings, "infinitic show") as storage:
        story, now = read_story(storage, workflow_id), storage.now()
    if settings.json:
        put_json(json.dumps(story_data(story), ensure_ascii=False))
    else:
        put(shown(story, now, everything=everything))


def read_story(storage: Storage, workflow_id: str) -> Story:
    """The story of the current run of an instance. Raises `InvalidId`; `UnknownWorkflow`, which suggests near ids."""
    check_id(workflow_id)
    try:
        record = when_known(lambda: _record(storage, workflow_id))
    except UnknownWorkflow as error:
        raise UnknownId(error, near_ids(storage, workflow_id)) from None
    return tell(record, [decode_turn(row.body) for row in storage.history(workflow_id, record.run)])


def _record(storage: Storage, workflow_id: str) -> StateRecord:
    [record] = storage.records([workflow_id])
    if record is None:
        raise UnknownWorkflow("", workflow_id)
    return record

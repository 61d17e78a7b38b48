"""`purge` and `delete`: remove ended instances whose retention has passed, or that ended long ago, or one by its id."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import click
from attrs import define, field
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from dsl.calls import check_id
from infinitic import storages
from infinitic.cli import words
from infinitic.cli.bulk import Outcome, finish
from infinitic.cli.completing import complete_id
from infinitic.cli.console import errors, output, put, put_json, say
from infinitic.cli.filters import filter_of
from infinitic.cli.looking import GAP
from infinitic.cli.settings import Settings, UnknownId, as_json, everywhere, near_ids, open_storage
from infinitic.cli.showing import STATUS_STYLES
from infinitic.cli.values import duration
from infinitic.config import scheme_of
from infinitic.errors import UnknownWorkflow, WorkflowInUse
from infinitic.records import CANCELLED, COMPLETED, FAILED, TERMINATED, Filter
from infinitic.storages import Past, Storage

ENDS = (COMPLETED, FAILED, CANCELLED, TERMINATED)
PAGE = 100
LISTED = 20
MANY = 1_000
"""From so many instances on, a bar shows how far it is."""


@define
class Counts:
    """How many there were: *early* are those whose retention has not passed."""

    removed: int = 0
    early: int = 0
    unsent: int = 0  # they stay: not all they send is known to be sent
    changed: int = 0  # they stay: they went on meanwhile
    first: list[Past] = field(factory=list)

    def take(self, page: Iterable[Past], now: int) -> None:
        """Count what would go, and keep the first ones."""
        for one in page:
            self.unsent += one.behind
            self.removed += not one.behind
            self.early += not one.behind and one.expires >= now
            if len(self.first) < LISTED and not one.behind:
                self.first.append(one)


@click.command()
@click.option("--older-than", type=duration, help="Also what ended longer ago than this, as in 7d or 12h.")
@click.option("--status", type=click.Choice(ENDS), help="Of this status only.")
@click.option("--workflow", help="Of this workflow only.")
@click.option("--dry-run", is_flag=True, help="Remove nothing: say how many would go, and list the first.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.option("--vacuum", is_flag=True, help="Give a SQLite file's unused space back; workers wait meanwhile.")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def purge(
    settings: Settings,
    older_than: timedelta | None,
    status: str | None,
    workflow: str | None,
    dry_run: bool,
    yes: bool,
    vacuum: bool,
) -> None:
    """Remove ended instances.

    Those whose retention has passed, which workers remove by and by too; with --older-than those as well that
    ended longer ago than that. An instance that runs, waits or is suspended is never removed, nor is one that
    has not sent all it had to send. What is gone cannot be shown or retried, and its id may be used anew.

    \b
    Examples:
      infinitic purge
      infinitic purge --older-than 12h --status completed --dry-run
    """
    embedded = scheme_of(settings.config().storage or "") == "sqlite"
    if vacuum and not embedded:
        raise click.UsageError("--vacuum is for a SQLite file: servers see to their space themselves")
    given = {"status": status, "workflow": workflow}
    where = filter_of({name: value for name, value in given.items() if value is not None})
    with open_storage(settings, "infinitic purge") as storage:
        now = storage.now()
        before = 0 if older_than is None else now - older_than // timedelta(microseconds=1)
        counts = _purged(storage, lambda: due(storage, where, now, before), now, dry_run=dry_run, yes=yes)
        freed = storage.compact() if vacuum and not dry_run else None
    if settings.json:
        put_json(json.dumps(_data(counts, now, dry_run, freed), ensure_ascii=False))
        return
    _report(counts, now, dry_run, freed)
    if embedded and freed is None and counts.removed and not dry_run:
        say("the file keeps its size, and uses the space anew: --vacuum gives it back")


@click.command()
@click.argument("workflow_ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_id)
@everywhere(hidden=True)
@click.pass_obj
def delete(settings: Settings, workflow_ids: tuple[str, ...]) -> None:
    """Remove ended instances at once, by their ids.

    With their results and histories, whatever their retention. One that has not ended stays: cancel it first.

    \b
    Example:
      infinitic delete trip-42 trip-43
    """
    for one in workflow_ids:
        check_id(one)
    outcome = Outcome()
    with open_storage(settings, "infinitic delete") as storage:
        outcome.take((one, _deleted(storage, one)) for one in dict.fromkeys(workflow_ids))
    finish(outcome, "gone")


def _deleted(storage: Storage, workflow_id: str) -> Exception | None:
    try:
        if not storages.delete(storage, workflow_id):
            return UnknownId(UnknownWorkflow("", workflow_id), near_ids(storage, workflow_id))
    except WorkflowInUse as error:
        return error
    return None


def _purged(
    storage: Storage, pages: Callable[[], Iterator[list[Past]]], now: int, *, dry_run: bool, yes: bool
) -> Counts:
    """What went, or would go; counted before anything does."""
    counts = Counts()
    for page in pages():
        counts.take(page, now)
    if not dry_run:
        _confirm(counts, yes=yes)
        _remove(storage, pages(), now, counts)
    return counts


def due(storage: Storage, where: Filter, now: int, before: int) -> Iterator[list[Past]]:
    """In pages: what has expired by *now*, and what ended before the instant *before*."""
    after: Past | None = None
    while page := storage.ended(where, PAGE, after):
        after = page[-1]
        yield [one for one in page if one.expires < now or one.record.ended < before]
        if not before and after.expires >= now:
            return


def _confirm(counts: Counts, *, yes: bool) -> None:
    if not counts.early or yes:
        return
    said = f"{words.counted(counts.early, 'instance')} would go before the retention has passed"
    if not _is_attended():
        raise click.UsageError(f"{said}: --yes removes without being asked, --dry-run lists what would go")
    click.confirm(f"{said}. Remove?", abort=True, err=True)


def _is_attended() -> bool:
    return sys.stdin.isatty()


def _remove(storage: Storage, pages: Iterable[list[Past]], now: int, counts: Counts) -> None:
    """Remove them; *counts* say afterwards what really went."""
    total, counts.removed, counts.early = counts.removed, 0, 0
    with Progress(console=errors(), transient=True, disable=total < MANY or not errors().is_terminal) as progress:
        bar = progress.add_task("removing", total=total)
        for page in pages:
            wanted = [one for one in page if not one.behind]
            gone = storage.remove(wanted)
            counts.removed += sum(gone)
            counts.early += sum(went and one.expires >= now for one, went in zip(wanted, gone, strict=True))
            counts.changed += len(gone) - sum(gone)
            progress.advance(bar, len(wanted))


# ------------------------------------------------------------------------------------------------- words


def _report(counts: Counts, now: int, dry_run: bool, freed: int | None) -> None:
    if dry_run and counts.first:
        put(_table(counts.first, now))
        if counts.removed > len(counts.first):
            say(f"and {counts.removed - len(counts.first)} more")
    output().print(_sentence(counts, dry_run), soft_wrap=True)
    if freed is not None:
        output().print(f"the file is {freed / 1_000_000:.1f} MB smaller", soft_wrap=True)


def _sentence(counts: Counts, dry_run: bool) -> str:
    if not counts.removed + counts.unsent + counts.changed:
        return "there is nothing to remove"
    verb = "would go" if dry_run else "gone"
    said = [f"{words.counted(counts.removed, 'instance')} {verb}"]
    if counts.early:
        said[0] += f", {counts.early} of them before the retention has passed"
    if counts.unsent:
        said.append(f"{counts.unsent} must stay: not all they send is sent yet")
    if counts.changed:
        said.append(f"{counts.changed} stayed: they went on meanwhile")
    return "; ".join(said)


def _table(past: Iterable[Past], now: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, GAP, 0, 0))
    for header in ("ID", "WORKFLOW", "STATUS", "ENDED", "RETENTION"):
        table.add_column(header, no_wrap=True, overflow="ellipsis")
    for one in past:
        record = one.record
        table.add_row(
            Text(record.workflow_id),
            Text(record.workflow),
            Text(record.status, style=STATUS_STYLES.get(record.status, "")),
            Text(words.ago(record.ended, now)),
            Text("has passed" if one.expires < now else f"{words.duration(one.expires - now)} left"),
        )
    return table


def _data(counts: Counts, now: int, dry_run: bool, freed: int | None) -> dict[str, Any]:
    data: dict[str, Any] = {"dry_run": dry_run, "removed": counts.removed, "early": counts.early}
    data |= {"unsent": counts.unsent, "changed": counts.changed}
    if freed is not None:
        data["freed_bytes"] = freed
    if dry_run:
        data["first"] = [_one(past, now) for past in counts.first]
    return data


def _one(past: Past, now: int) -> dict[str, Any]:
    record = past.record
    facts = {"id": record.workflow_id, "workflow": record.workflow, "status": record.status}
    return facts | {"ended": words.iso(record.ended), "expires": words.iso(past.expires), "early": past.expires >= now}

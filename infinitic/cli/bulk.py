"""One operation on many instances: a preview, a question, a bar, and at the end what went wrong.

The law of the place: each instance once, whatever becomes of it meanwhile; one that fails stops no other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

import click
from attrs import define, field, frozen
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infinitic.cli import exits, words
from infinitic.cli.console import errors, output, put
from infinitic.cli.filters import filter_of
from infinitic.cli.looking import table_of
from infinitic.cli.settings import Settings, open_client
from infinitic.client import Client, Handle
from infinitic.clock import system_clock
from infinitic.errors import InfiniticError, WorkflowFinished
from infinitic.events import to_datetime
from infinitic.records import StateRecord

PAGE, THREADS = 100, 16
SHOWN, TOLD = 5, 10
"""So many are shown of those that are meant, and told of those with which something went wrong."""


Act: TypeAlias = Callable[[Client, Handle[Any]], None]
YES = click.option("-y", "--yes", is_flag=True, help="Of many: ask nothing.")


@frozen
class Operation:
    """What is done: *verb* as the command says it, *done* as one says afterwards. It is for instances of *statuses*.

    *ends*: it is to end them, so those that ended meanwhile are as they should be.
    """

    verb: str
    done: str
    statuses: Sequence[str]
    ends: bool = False


@define
class Outcome:
    """To how many it was done, and to which not."""

    done: int = 0
    ended: int = 0
    failed: list[tuple[str, Exception]] = field(factory=list)
    gave_up: bool = False

    def take(self, results: Iterable[tuple[str, Exception | None]], *, ends: bool = False) -> None:
        """Count the results of a page; to go on is no use when nobody answered at all."""
        before, answered = len(self.failed), self.done + self.ended
        for workflow_id, error in results:
            if error is None:
                self.done += 1
            elif ends and isinstance(error, WorkflowFinished):
                self.ended += 1
            else:
                self.failed.append((workflow_id, error))
        late = [error for _, error in self.failed[before:] if isinstance(error, TimeoutError)]
        self.gave_up = self.done + self.ended == answered and len(late) == len(self.failed) - before > 0


def is_one(workflow_id: str | None, which: dict[str, Any]) -> bool:
    """Whether one instance is meant, by its id, and not many by filters. Raises `click.UsageError` for both or none."""
    if (workflow_id is None) != bool(which):
        raise click.UsageError(
            "give an ID, or filters such as --workflow or --tag for many" + ", not both" * bool(which)
        )
    return not which


def in_bulk(what: Operation, act: Act, settings: Settings, which: dict[str, Any], *, yes: bool) -> None:
    """Do *act* to all that *which* means. Where some fail raises `click.exceptions.Exit`, by the first error."""
    filter_of(which)
    statuses = [which["status"]] if "status" in which else what.statuses
    with open_client(settings) as client:
        meant = _as_of_now(client, [which | {"status": status} for status in statuses])
        total = sum(client.count(**one) for one in meant)
        if total and not yes:
            _preview(list(islice(_each(client, meant), SHOWN)), total)
            _confirm(what, total)
        outcome = _done(client, act, _each(client, meant), what, total)
    finish(outcome, what.done)


def _as_of_now(client: Client, meant: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without what starts from now on: whoever agrees has not seen that."""
    newest = [record.started for one in meant for record in client.find(**one, limit=1)]
    return [one | {"until": to_datetime(max(newest) + 1)} for one in meant] if newest else []


def _each(client: Client, meant: Sequence[dict[str, Any]]) -> Iterator[StateRecord]:
    """Each instance once, also one that gets another status meanwhile; read in pages."""
    seen = set[str]()
    for one in [*meant, *meant[:-1]]:  # one may have gone back to a status that was read
        for record in client.find(**one):
            if record.workflow_id not in seen:
                seen.add(record.workflow_id)
                yield record


def _preview(first: Sequence[StateRecord], total: int) -> None:
    console = errors()
    put(table_of(first, system_clock(), console.width), console)
    if total > len(first):
        console.print(f"and {total - len(first):,} more", soft_wrap=True)


def _confirm(what: Operation, total: int) -> None:
    said = f"{what.verb} {words.counted(total, 'instance')}"
    if not _is_attended():
        raise click.UsageError(f"this would {said}: --yes does it without being asked, `infinitic list` lists them")
    click.confirm(f"{said}?".capitalize(), abort=True, err=True)


def _is_attended() -> bool:
    return sys.stdin.isatty()


def _done(client: Client, act: Act, records: Iterator[StateRecord], what: Operation, total: int) -> Outcome:
    outcome = Outcome()

    def tried(record: StateRecord) -> tuple[str, Exception | None]:
        try:
            act(client, client.get(record.workflow_id, record.workflow))
        except (InfiniticError, TimeoutError) as error:
            return record.workflow_id, error
        return record.workflow_id, None

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=errors(), transient=True, disable=not errors().is_terminal)
    with shown, ThreadPoolExecutor(THREADS) as pool:
        bar = shown.add_task(what.verb, total=total)
        while not outcome.gave_up and (page := list(islice(records, PAGE))):
            outcome.take(shown.track(pool.map(tried, page), total=total, task_id=bar), ends=what.ends)
    return outcome


def finish(outcome: Outcome, done: str) -> None:
    """Say what was *done*, and what went wrong. Raises `click.exceptions.Exit` with the first error's code."""
    if outcome.done or outcome.ended or not outcome.failed:
        ended = f", {outcome.ended:,} had ended" if outcome.ended else ""
        output().print(f"{words.counted(outcome.done, 'instance')} {done}{ended}", soft_wrap=True)
    console = errors()
    for workflow_id, error in outcome.failed[:TOLD]:
        console.print(f"{workflow_id}: {' '.join(exits.sentence(error).split())}", soft_wrap=True)
    if (more := len(outcome.failed) - TOLD) > 0:
        console.print(f"and {more:,} more like these", soft_wrap=True)
    if outcome.gave_up:
        console.print("nobody answered, and the rest was left as it is: is a worker at work?", soft_wrap=True)
    if outcome.failed:
        raise click.exceptions.Exit(exits.code_of(outcome.failed[0][1]))

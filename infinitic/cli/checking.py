"""`check`: would the open instances go on with this code? Both sides are shown where not."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stdout
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_DFL, SIGINT, signal
from typing import Any, TypeAlias

import attrs
import click
import msgspec
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from infinitic.backends.urls import open_backend
from infinitic.cli import exits, words
from infinitic.cli.console import errors, put, put_json
from infinitic.cli.modules import load
from infinitic.cli.settings import Settings, as_json, everywhere, open_storage
from infinitic.engine.alone import ALONE
from infinitic.engine.instance import Surroundings
from infinitic.engine.programs import Program, program_of
from infinitic.errors import RegistrationError
from infinitic.events import Frame
from infinitic.records import FAILED, RUNNING, SUSPENDED, Filter, StateRecord
from infinitic.serialization import Serializer
from infinitic.storages import Storage
from infinitic.worker.checking import Checker, Group, Outcome, Row, Side, Tally, check_instance, found
from infinitic.worker.exports import Exported, exports_in
from infinitic.worker.registry import Registry
from infinitic.worker.source import source_line

Place: TypeAlias = tuple[tuple[str, ...], str | None, str | None, str | None]
"""What another process needs to find code and storage: the modules, and the URLs that were given."""
SUFFIX = ".jsonl"
SHARE = 50
"""How many instances a process takes at once."""
DONE, BROKEN, LEFT = "✔", "✗", "○"
AFTER = 6
STACK = 5


@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option("--all", "everything", is_flag=True, help="Failed instances too, which may be retried.")
@click.option("--workflow", help="Instances of this workflow only.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest ones only, at most so many.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at once; as many as there are cores unless given.")
@click.option(
    "--history",
    "histories",
    multiple=True,
    type=click.Path(exists=True),
    metavar="FILE...",
    help="Exported histories, or folders of them, instead of a storage.",
)
@click.option("--strict", is_flag=True, help="It also fails for instances of workflows that the modules do not have.")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def check(
    settings: Settings,
    modules: tuple[str, ...],
    everything: bool,
    workflow: str | None,
    limit: int | None,
    jobs: int | None,
    histories: tuple[str, ...],
    strict: bool,
) -> int:
    """Check that open instances can go on with this code.

    Replays each of them by the workflows of modules, and shows what history says beside what the code asks for
    now where they differ. Nothing is changed, and workers may run meanwhile. Exit code 6 says that some differ.

    With --history it replays what `infinitic export` has written, of whatever status, and needs no storage.

    \b
    Examples:
      infinitic check trips.py
      infinitic check trips.py --workflow trip --all --json
      infinitic check trips.py --history tests/histories/*.jsonl
    """
    if histories:
        return _told(settings, _tally_of(modules, histories, workflow or "", limit), strict=strict)
    statuses = (RUNNING, SUSPENDED, FAILED) if everything else (RUNNING, SUSPENDED)
    return _told(settings, _stored_tally(settings, modules, statuses, workflow or "", limit, jobs), strict=strict)


def _stored_tally(
    settings: Settings,
    modules: tuple[str, ...],
    statuses: tuple[str, ...],
    workflow: str,
    limit: int | None,
    jobs: int | None,
) -> Tally:
    """What came of the instances in the storage."""
    with open_storage(settings, "infinitic check") as storage, silence():
        programs = programs_of(modules)
        total = sum(storage.count(Filter(workflow=workflow, status=status)) for status in statuses)
        if workflow and workflow not in programs and not total:
            raise click.UsageError(
                f"{', '.join(modules)}: no workflow {workflow}, nor is there an open instance of one; "
                f"there are {', '.join(sorted({*programs} - {ALONE}))}"
            )
        total = min(total, limit or total)
        tally = Tally()
        ids = covered(storage, programs, statuses, tally, workflow, limit or 0)
        workers = min(jobs or os.cpu_count() or 1, -(-total // SHARE))
        place = (modules, settings.url, settings.transport, settings.storage)
        with progress(total) as advance:
            for outcomes in _outcomes(storage, programs, shares(ids), workers, place):
                tally.add(outcomes)
                advance(tally.replayed + tally.diverged + tally.uncovered.total())
    return tally


def _told(settings: Settings, tally: Tally, *, strict: bool) -> int:
    put_json(json.dumps(data(tally), ensure_ascii=False)) if settings.json else put(Lines(*report(tally)))
    return exits.DIVERGED if tally.diverged or (strict and tally.uncovered) else exits.OK


# --- exported histories ---


def _tally_of(names: tuple[str, ...], histories: Sequence[str], workflow: str, limit: int | None) -> Tally:
    """What came of the instances in files. Files among the *names* are of those: a shell puts them all in one row."""
    modules = [name for name in names if not name.endswith(SUFFIX)]
    if not modules:
        raise click.UsageError("no MODULE to check the histories with")
    files = [*histories, *(name for name in names if name.endswith(SUFFIX))]
    with silence():
        programs, tally = programs_of(modules), Tally()
        around = Surroundings(Serializer(), source_line)
        wanted = (one for one in _exported(files) if workflow in ("", one.header.workflow))
        for one in islice(wanted, limit):
            program = counted_program(programs, one.header.record, tally)
            if program is not None:
                tally.add([check_instance(one.stored, program, around)])
    return tally


def _exported(files: Sequence[str]) -> Iterator[Exported]:
    for path in map(Path, files):
        for file in sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]:
            with file.open("rb") as lines:
                yield from exports_in(lines, str(file))


# --- replaying, here or in other processes ---


def programs_of(modules: Sequence[str]) -> dict[str, Program]:
    """The workflows of modules by name. Raises `RegistrationError`, also when there is none."""
    programs = Registry(load(modules).workflows, codec=Serializer()).programs
    if not programs:
        raise RegistrationError(f"{', '.join(modules)}: no workflow to check", "Name the modules that define them.")
    return programs


def covered(
    storage: Storage,
    programs: dict[str, Program],
    statuses: Sequence[str],
    tally: Tally,
    workflow: str = "",
    limit: int = 0,
) -> Iterator[str]:
    """The ids of the instances whose code is here; the others are counted in *tally*."""
    for record in found(storage, statuses, workflow, limit):
        if counted_program(programs, record, tally) is not None:
            yield record.workflow_id


def counted_program(programs: dict[str, Program], record: StateRecord, tally: Tally) -> Program | None:
    """The code of an instance; one whose code is not here is counted in *tally*."""
    program = program_of(programs, record)
    if program is None:
        version = f" version {record.version or 1}" if record.workflow in programs else ""
        tally.uncovered[record.workflow + version] += 1
    return program


def shares(ids: Iterator[str]) -> Iterator[list[str]]:
    """As many ids as one process takes at once, again and again."""
    while share := list(islice(ids, SHARE)):
        yield share


def _outcomes(
    storage: Storage, programs: dict[str, Program], shares: Iterator[list[str]], workers: int, place: Place
) -> Iterator[list[Outcome]]:
    """What came of each share. A single process is this one."""
    if workers <= 1:
        yield from map(Checker(storage, programs, Serializer()).check, shares)
        return
    # not forked: the storage's connections would come along
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _quietly)
    running: deque[Future[list[Outcome]]] = deque()
    try:
        for share in shares:
            running.append(pool.submit(_check_there, place, share))
            if len(running) > 2 * workers:
                yield running.popleft().result()
        yield from (one.result() for one in running)
    except BrokenProcessPool:
        problem = "a process that replayed instances died: a workflow's code ends its process"
        raise RegistrationError(problem, "--workflow and --limit help to find which.") from None
    finally:
        pool.shutdown(cancel_futures=True)  # and waited for: else its end may be told as an error of this process


@contextmanager
def silence() -> Iterator[None]:
    """What workflow code prints while it is replayed is no part of the answer."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _quietly() -> None:
    """For a process that replays: nothing of what it prints is seen; Ctrl-C ends it without a word."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process lives
    signal(SIGINT, SIG_DFL)


@cache
def _checker(place: Place) -> Checker:
    modules, url, transport, storage = place
    backend = open_backend(Settings(url, transport, storage).config(), "reader")  # for as long as this process lives
    return Checker(backend.storage, programs_of(modules), Serializer())


def _check_there(place: Place, share: list[str]) -> list[Outcome]:
    return _checker(place).check(share)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, which the function moves; elsewhere nothing."""
    console = errors()
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


# --- for people ---


def report(tally: Tally) -> Iterator[RenderableType]:
    """All that came out, the commonest divergence first, and one line that sums it up."""
    for group in sorted(tally.groups.values(), key=lambda one: -one.count):
        yield from shown(group)
    for workflow, count in sorted(tally.uncovered.items()):
        counted = words.counted(count, "instance")
        line = f"{LEFT} {counted} of {workflow} {'is' if count == 1 else 'are'} not covered: no module here has it"
        yield Text(line, style="yellow")
    yield summary(tally)


def summary(tally: Tally) -> Text:
    """As in `✔ 1,204 instances replay as before, ✗ 17 diverge`."""
    one = tally.replayed == 1
    if not tally.replayed and not tally.diverged:
        return Text(f"{DONE} there is nothing to replay", style="green")
    fine = f"{DONE} {tally.replayed:,} {'instance replays' if one else 'instances replay'} as before"
    if not tally.diverged:
        return Text(fine, style="green")
    bad = f"{BROKEN} {tally.diverged:,} {'diverges' if tally.diverged == 1 else 'diverge'}"
    return Text.assemble((f"{fine}, " if tally.replayed else "", "green"), (bad, "bold red"))


def shown(group: Group) -> Iterator[RenderableType]:
    """A problem: who has it, both sides, the line of the code, what to do."""
    problem = group.problem
    yield Text.assemble((f"{BROKEN} {group.workflow}: {_who(group)}", "bold red"), (f" · turn {problem.turn}", "dim"))
    yield Padding(Text(f"{problem.summary[:1].upper()}{problem.summary[1:]}."), (0, 0, 1, 2))
    if problem.rows:
        yield Padding(_table(problem.rows), (0, 0, 1, 0))
    if problem.stack:
        yield Padding(Lines(*_stack(problem.stack)), (0, 0, 0, 2))
    yield Padding(Text(problem.advice), (0, 0, 1, 2))


def _who(group: Group) -> str:
    verb = {"diverges": "diverge", "raises": "fail", "unreadable": "cannot be read", "broken": "cannot be replayed"}
    said = verb[group.problem.what]
    if group.count == 1:
        return f"{group.examples[0]} {said + 's' if said in ('diverge', 'fail') else said}"
    return f"{group.count:,} instances {said}, e.g. {', '.join(group.examples[:3])}"


def _table(rows: Sequence[Row]) -> Table:
    """History on the left, the code on the right, a line for each command."""
    first = next((n for n, row in enumerate(rows) if row.differs), 0)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(width=1, style="red")
    for title, bar in (("HISTORY SAYS", "│"), ("THIS CODE ASKS FOR", "")):
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, style="dim")
        table.add_column(title, overflow="fold")
        table.add_column(bar, width=len(bar), style="dim")
    for row in rows[: first + AFTER]:
        style = "bold red" if row.differs else "" if row.then == row.now else "yellow"
        cells = (*_cells(row.then, style), "│", *_cells(row.now, style))
        table.add_row(BROKEN if row.differs else "", *cells)
    if len(rows) > first + AFTER:
        table.add_row("", "", "", Text(f"… {len(rows) - first - AFTER} more", style="dim"))
    return table


def _cells(side: Side | None, style: str) -> tuple[str, str, Text]:
    if side is None:
        return "", "", Text("-", style="dim")
    said = words.call(side.label, side.arguments, 200) if side.arguments else side.label
    return side.position, side.kind, Text(said, style=style)


def _stack(stack: tuple[Frame, ...]) -> Iterator[Text]:
    for frame in stack[-STACK:]:
        style = "bold" if frame is stack[-1] else "dim"
        yield Text(words.place(frame), style=style)


# --- for programs ---


def data(tally: Tally) -> dict[str, Any]:
    """The same as plain JSON data."""
    problems = [_group(group) for group in sorted(tally.groups.values(), key=lambda one: -one.count)]
    return {
        "replayed": tally.replayed,
        "diverged": tally.diverged,
        "uncovered": dict(sorted(tally.uncovered.items())),
        "problems": problems,
    }


def _group(group: Group) -> dict[str, Any]:
    problem = group.problem
    facts = {name: getattr(problem, name) for name in ("what", "summary", "advice", "position", "turn")}
    rows = [{"then": _plain(row.then), "now": _plain(row.now), "differs": row.differs} for row in problem.rows]
    about = {"workflow": group.workflow, "instances": group.count, "examples": group.examples}
    return {**about, **facts, "rows": rows, "stack": msgspec.to_builtins(problem.stack)}


def _plain(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return attrs.asdict(side) | {"arguments": json.loads(side.arguments) if side.arguments else None}

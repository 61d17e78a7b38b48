"""Checking: stored instances are replayed by the code at hand; where that asks for something else, both sides are told.

It only reads. What the code asks for now is found by applying the event of the turn that differs once more, as if it
came for the first time: nothing of that is kept or sent, and no inline function runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Literal

import msgspec
from attrs import Factory, define, frozen

from dsl.inlines import Inline
from infinitic.engine import turns
from infinitic.engine.comparing import KINDS
from infinitic.engine.instance import Diverged, Instance, Surroundings
from infinitic.engine.programs import Program, program_of
from infinitic.errors import NonDeterminismError, UnreadableHistory
from infinitic.events import Frame, Retried
from infinitic.history import End, InlineIssued, PatchIssued, Turn, decode_turn
from infinitic.records import FAILED, Filter, StateRecord, Stored
from infinitic.serialization import Serializer, rebuild
from infinitic.storages import Storage
from infinitic.worker.loading import failed_turn
from infinitic.worker.source import source_line

What = Literal["diverges", "raises", "unreadable", "broken"]

CONTEXT = 3
"""How many commands before the turn that differs are shown."""
EXAMPLES = 10
"""How many ids of a group are kept."""
PAGE = 500
GUARD = (
    'Guard the change with `if patched("…")`; or make the new code a version of its own, as in @workflow(version={}), '
    "and serve both until these instances have ended; or restore the old code."
)
MEND = "Mend what raises: when these instances were run, the code went on here."
ACCEPT = "Make the type accept what was recorded: give a new field a default, or take the old form too."


@frozen
class Side:
    """One command, as history has it or as the code asks for it now. *arguments* is JSON, "" where there are none."""

    position: str
    kind: str
    label: str
    arguments: str = ""


@frozen
class Row:
    """One line of the two sides: *then* is history's, *now* the code's. The first that *differs* is the reason."""

    then: Side | None
    now: Side | None
    differs: bool = False


@frozen
class Problem:
    """Why an instance cannot be replayed: in words, with what to do, and where the code is (outermost line first)."""

    what: What
    summary: str
    advice: str
    position: str = ""
    turn: int = 0
    rows: tuple[Row, ...] = ()
    stack: tuple[Frame, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        """What it has in common with the same problem of other instances: neither ids, numbers nor arguments."""
        row = next((row for row in self.rows if row.differs), Row(None, None))
        sides = [(side.kind, side.label) if side is not None else None for side in (row.then, row.now)]
        at = [(frame.file, frame.line) for frame in self.stack[-1:]]
        said = "" if self.rows else re.sub(r"\S*\d\S*", "#", self.summary)
        return self.what, re.sub(r"\d+", "#", self.position), said, *sides, *at


@frozen
class Outcome:
    """How the check of one instance came out."""

    workflow: str
    workflow_id: str
    turns: int
    problem: Problem | None = None


@define
class Group:
    """Instances with the same problem: the first one's, how many there are, the first ids."""

    workflow: str
    problem: Problem
    count: int = 0
    examples: list[str] = Factory(list)


@define
class Tally:
    """What came out in all. *uncovered* counts instances of workflows whose code is not here."""

    replayed: int = 0
    groups: dict[tuple[Any, ...], Group] = Factory(dict)
    uncovered: Counter[str] = Factory(Counter)

    @property
    def diverged(self) -> int:
        """How many instances cannot be replayed."""
        return sum(group.count for group in self.groups.values())

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count these."""
        for one in outcomes:
            if one.problem is None:
                self.replayed += 1
                continue
            group = self.groups.setdefault((one.workflow, *one.problem.shape), Group(one.workflow, one.problem))
            group.count += 1
            if len(group.examples) < EXAMPLES:
                group.examples.append(one.workflow_id)


def found(storage: Storage, statuses: Sequence[str], workflow: str = "", limit: int = 0) -> Iterator[StateRecord]:
    """The records of all instances with these statuses, page by page; at most *limit* unless that is 0."""
    left = limit or -1
    for status in statuses:
        after = ""
        while left:
            page = storage.find(Filter(workflow=workflow, status=status), PAGE if left < 0 else min(PAGE, left), after)
            yield from page.records
            left -= len(page.records) if left > 0 else 0
            after = page.after
            if not after:
                break


class Checker:
    """Replays instances of *programs*, of which it keeps nothing."""

    def __init__(self, storage: Storage, programs: Mapping[str, Program], codec: Serializer) -> None:
        self._storage, self._programs = storage, programs
        self._surroundings = Surroundings(codec, source_line)

    def check(self, workflow_ids: Sequence[str]) -> list[Outcome]:
        """How these come out: those of them that are there and whose code is."""
        stored = (self._storage.load(one) for one in workflow_ids)
        known = ((one, program_of(self._programs, one.record)) for one in stored if one is not None)
        return [check_instance(one, program, self._surroundings) for one, program in known if program is not None]


def check_instance(stored: Stored, program: Program, surroundings: Surroundings) -> Outcome:
    """Replay the present run of an instance, a failed one up to where a retry would take it up."""
    bodies = replayable([row.body for row in stored.turns])
    instance = Instance(program, stored.workflow_id, surroundings)
    problem = None
    try:
        turns.replay(instance, bodies)
    except Diverged as diverged:
        problem = _problem(diverged, instance, bodies, surroundings)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        problem = Problem("broken", f"{type(error).__name__}: {error}", MEND, turn=instance.turns)
    finally:
        turns.close(instance)
    return Outcome(stored.workflow, stored.workflow_id, len(bodies), problem)


def replayable(bodies: Sequence[bytes]) -> Sequence[bytes]:
    """The turns that must come out as before: all, or those before the one that failed the run last."""
    number = failed_turn(bodies)
    if number < 0:
        return bodies
    event = decode_turn(bodies[number]).event
    return bodies[: event.voids] if isinstance(event, Retried) else bodies[:number]


# --- what differs ---


def _problem(diverged: Diverged, instance: Instance, bodies: Sequence[bytes], surroundings: Surroundings) -> Problem:
    error, number = diverged.error, instance.turns
    if isinstance(error, UnreadableHistory):
        summary = f"what was recorded at {error.position} cannot be read by today's types: {error.problem}"
        return Problem("unreadable", summary, ACCEPT, error.position, number)
    if not isinstance(error, NonDeterminismError):
        return Problem("broken", str(error), GUARD.format(instance.program.version + 1), turn=number)
    recorded = decode_turn(bodies[number])
    now = _asked_now(instance, bodies, number, surroundings)
    taken = len(_compared(recorded.commands[: instance.draft.taken]))
    rows = (*_context(bodies[:number]), *_tail(_sides(recorded), now.sides, taken, error))
    failure = now.failed if recorded.end is None or recorded.end.status != FAILED else None
    if failure is not None:
        summary = f"the code raises {failure.error.summary if failure.error else 'an error'} where it went on"
        stack = failure.error.stack if failure.error else ()
        return Problem("raises", summary, MEND, error.position, number, rows, stack or diverged.stack)
    summary = f"history says {error.recorded} at {error.position}, the code now asks for {error.replayed}"
    advice = GUARD.format(instance.program.version + 1)
    return Problem("diverges", summary, advice, error.position, number, rows, diverged.stack)


@frozen
class Now:
    """What the code asks for in the turn that differs, and the end of the run if it fails there."""

    sides: list[Side]
    failed: End | None = None


class Unanswered(BaseException):
    """An inline function whose result is not known: it is not run to find out."""


def _asked_now(diverged: Instance, bodies: Sequence[bytes], number: int, surroundings: Surroundings) -> Now:
    program, workflow_id = diverged.program, diverged.workflow_id
    recorded = decode_turn(bodies[number])
    answers = {one.position: one for one in recorded.commands if isinstance(one, InlineIssued)}

    def answer(command: Inline[Any]) -> Any:
        issued = instance.draft.commands[-1]
        known = answers.get(issued.position)
        if known is None or known.name != command.name:
            raise Unanswered
        if known.failure is not None:
            raise rebuild(known.failure)
        return msgspec.json.decode(known.value)

    own = Surroundings(surroundings.codec, surroundings.source, answer)
    instance = Instance(program, workflow_id, own, patches=dict(diverged.patches))
    made: Any = None
    try:
        if isinstance(recorded.event, Retried):
            made = turns.retry(instance, bodies[:number], recorded.event.voids, recorded.event, recorded.at)
        else:
            turns.replay(instance, bodies[:number])
            made = turns.apply(instance, recorded.event, recorded.at)
    except KeyboardInterrupt:
        raise
    except BaseException:  # as far as it got
        pass
    finally:
        turns.close(instance)
    if isinstance(made, Turn):
        return Now(_sides(made), made.end if made.end is not None and made.end.status == FAILED else None)
    return Now(_compared(instance.draft.commands))


def _sides(turn: Turn) -> list[Side]:
    """The commands of a turn, and the end of the run if it ended."""
    return _compared(turn.commands) + ([_end(turn.end)] if turn.end is not None else [])


def _compared(commands: Iterable[Any]) -> list[Side]:
    """Those that must be the same: what is kept of patches need not."""
    return [_side(one) for one in commands if not isinstance(one, PatchIssued)]


def _side(issued: Any) -> Side:
    kind = KINDS[type(issued)]
    payload = bytes(kind.payload(issued)).decode(errors="replace") if kind.payload is not None else ""
    return Side(issued.position, str(type(issued).__struct_config__.tag), kind.label(issued), payload)


def _end(end: End) -> Side:
    if end.error is not None:
        return Side("", "end", f"raises {end.error.summary}")
    return Side("", "end", "returns" if end.status == "completed" else f"is {end.status}")


def _context(bodies: Sequence[bytes]) -> list[Row]:
    """The last commands of the turns before, which are the same on both sides."""
    last: list[Side] = []
    for body in reversed(bodies):
        last = [*_sides(decode_turn(body)), *last]
        if len(last) >= CONTEXT:
            break
    return [Row(side, side) for side in last[-CONTEXT:]]


def _tail(then: list[Side], now: list[Side], taken: int, error: NonDeterminismError) -> list[Row]:
    """The turn's rows: those that agree, then the rest, aligned by what is asked for wherever that is."""
    rows = [Row(one, one) for one in then[:taken]]
    rest = [Row(*pair) for pair in _aligned(then[taken:], now[taken:])]
    if not rest:  # the same commands, and another outcome
        rest = [Row(Side("", "run", error.recorded), Side("", "run", error.replayed))]
    first, *others = rest
    return [*rows, Row(first.then, first.now, differs=True), *others]


def _aligned(then: list[Side], now: list[Side]) -> Iterator[tuple[Side | None, Side | None]]:
    before, after = ([(one.kind, one.label, one.arguments) for one in side] for side in (then, now))
    for _, a, b, c, d in SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        yield from zip_longest(then[a:b], now[c:d])

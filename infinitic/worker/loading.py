"""Loading: from a stored instance to a live one, and what of its outputs may not have been sent yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from infinitic.engine import turns
from infinitic.engine.instance import Diverged, Instance, Surroundings
from infinitic.engine.outputs import Asked, Origin, outputs
from infinitic.engine.programs import Program, program_of
from infinitic.engine.slots import TaskSlot
from infinitic.engine.tags import in_turns
from infinitic.errors import Bug, InfiniticError
from infinitic.events import NULL, Started
from infinitic.history import Turn, decode_turn
from infinitic.messages import Outgoing
from infinitic.records import BY_HAND, FAILED, SUSPENDED, Stored, TurnRow
from infinitic.worker.held import Held


def held_of(
    stored: Stored,
    programs: Mapping[str, Program],
    surroundings: Surroundings,
    history: Callable[[str], Sequence[TurnRow]],
    problem: str = "",
) -> tuple[Held, BaseException | None]:
    """The stored instance in hand, alive if these programs can bring it to life, and else why not.

    One that they had to give up before, for the *problem*, is not tried again. One that has no turn yet comes to life
    by its start, which waits in its inbox.
    """
    held = Held(None, stored.version, stored.mark, stored.record)
    held.unsent = tuple(unsent_outputs(stored, history))
    held.timers, held.turns = stored.timers, stored.turns
    highest = programs.get(stored.workflow)
    if highest is None:
        return held, LookupError(f"no workflow named {stored.workflow!r} is registered here")
    if stored.record.status == SUSPENDED and stored.record.fingerprint in (highest.served, BY_HAND):
        problem = stored.record.reason
    if problem:
        return held, InfiniticError(problem)
    program = program_of(programs, stored.record)
    if program is None:
        return held, LookupError(lacking(stored.workflow, stored.record.version or 1, highest))
    if not stored.turns:
        return held, None
    instance = Instance(program, stored.workflow_id, surroundings)
    try:
        turns.replay(instance, [row.body for row in stored.turns])
    except Diverged as diverged:
        turns.close(instance)
        return held, diverged.error
    held.instance, held.turns = instance, ()
    held.weight = sum(len(row.body) for row in stored.turns)
    return held, None


def lacking(workflow: str, version: int, highest: Program) -> str:
    """What is said of an instance whose version is not here."""
    known = ", ".join(map(str, sorted(highest.versions)))
    served = f"version{'s' * (len(highest.versions) > 1)} {known}"
    return f"it needs version {version} of {workflow}, and the worker that its messages came to has {served} only"


def failed_turn(bodies: Sequence[bytes]) -> int:
    """The number of the turn that failed a run, after which there are late ones only; -1 when it did not fail."""
    for number in range(len(bodies) - 1, -1, -1):
        turn = decode_turn(bodies[number])
        if not turn.late:
            return number if turn.end is not None and turn.end.status == FAILED else -1
    return -1


def unsent_outputs(stored: Stored, history: Callable[[str], Sequence[TurnRow]]) -> Iterable[Outgoing]:
    """The messages of all turns above the mark, in order; those of open commands only. Needs no code.

    *history* gives all turns of a run: of a former one the storage loads only those that the mark has not passed.
    """
    if stored.mark.run == stored.version.run and stored.mark.turns >= stored.version.turns and not stored.unsent:
        return []
    runs: dict[str, list[TurnRow]] = {}
    for row in (*stored.unsent, *stored.turns):
        runs.setdefault(row.run, []).append(row)
    whole = {run: rows if rows[0].number == 0 else history(run) for run, rows in runs.items()}
    return [message for run, rows in whole.items() for message in _of_run(stored, run, rows)]


def _of_run(stored: Stored, run: str, rows: Sequence[TurnRow]) -> Iterable[Outgoing]:
    history = {row.number: decode_turn(row.body) for row in rows}
    first = history[0].event if 0 in history else None
    if not isinstance(first, Started):
        raise Bug(f"{stored.workflow_id}: run {run} does not begin with its start")
    tags = in_turns(history)
    sent = stored.mark.turns if stored.mark.run == run else 0
    asked = asked_in(history.values())
    answered = {getattr(turn.event, "position", "") for number, turn in history.items() if number >= sent}
    for number, turn in history.items():
        if number < sent:
            continue
        origin = origin_of(stored.workflow_id, first, tags[number])
        for message in outputs(origin, turn, asked.get):
            if message.message.kind != "task" or message.message.position not in answered or turn.sends:
                yield message


def asked_in(history: Iterable[Turn]) -> dict[str, Asked]:
    """What is known of every command that a history issued."""
    found: dict[str, Asked] = {}
    for turn in history:
        for issued in turn.commands:
            found[issued.position] = Asked(issued)
        position = getattr(turn.event, "position", "").partition("/")[0]
        if position in found:
            found[position] = found[position].after(turn.event)
    return found


def origin_of(workflow_id: str, started: Started, tags: tuple[str, ...] = ()) -> Origin:
    """What messages tell of the instance that a run's first event began, and that has these *tags*."""
    return Origin(started.workflow, workflow_id, started.run, tags, started.meta, started.root or workflow_id)


def asked_of(instance: Instance, position: str) -> Asked | None:
    """What the present turn sends again or cancels, from the live instance."""
    slot = instance.draft.slots.get(position)
    issued = getattr(slot, "issued", None)
    if issued is None:
        return None
    if not isinstance(slot, TaskSlot):
        return Asked(issued)
    details = slot.watch.details if slot.watch is not None else NULL
    return Asked(issued, slot.attempts[-1].error if slot.attempts else None, details)

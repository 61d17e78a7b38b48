"""Turns: apply an event to a live instance, or replay those that history holds.

`Diverged` comes out of all of them when code and history do not agree; the instance is of no use afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsl.errors import ReadOnly
from infinitic.engine.ambient import inside
from infinitic.engine.arriving import ARRIVE, next_attempt
from infinitic.engine.comparing import check_all_taken
from infinitic.engine.ending import close_generators
from infinitic.engine.instance import LIVE, QUERY, REPLAY, Diverged, Draft, Instance, Refusal
from infinitic.engine.running import drain
from infinitic.engine.slots import RemoteSlot, TaskSlot, TimerSlot
from infinitic.errors import DecodeError, NonDeterminismError
from infinitic.events import AnyEvent, Answered, AttemptFailed, Retried
from infinitic.history import ContinueIssued, ReceiveIssued, RetryChild, Turn, decode_turn
from infinitic.records import FAILED


def apply(instance: Instance, event: AnyEvent, at: int) -> Turn | Refusal | None:
    """Apply an event at the time *at*: the turn it made, a refusal, or None when it changed nothing."""
    late, before = instance.ended, instance.at
    instance.draft = Draft()
    instance.mode = LIVE
    instance.at = max(before, at)
    with inside(instance):
        result = ARRIVE[type(event)](instance, event)
        if result is True:
            drain(instance)
    if result is not True:
        instance.at = before
        return result or None
    return _finished(instance, event, late)


def _finished(instance: Instance, event: AnyEvent, late: bool) -> Turn:
    draft = instance.draft
    ended = instance.ended and not late
    _counted(instance, event, ended, late)
    return Turn(
        event=event,
        at=instance.at,
        commands=tuple(draft.commands),
        settled=tuple(draft.settled),
        refused=draft.refused,
        sends=tuple(draft.sends),
        end=instance.end if ended else None,
        late=late,
    )


def _counted(instance: Instance, event: AnyEvent, ended: bool, late: bool) -> None:
    if ended and instance.status == FAILED:
        instance.failed_turn = instance.turns
    instance.turns += 1


def replay(instance: Instance, bodies: Sequence[bytes]) -> None:
    """Apply the turns that history holds, in order, and check every command of them. Raises `Diverged`."""
    instance.mode = REPLAY
    index = 0
    with inside(instance):
        while index < len(bodies):
            turn = decode_turn(bodies[index])
            again = _retry_of(instance, turn, bodies, index)
            if again is None:
                apply_again(instance, turn)
                index += 1
            else:
                late = [decode_turn(body) for body in bodies[index + 1 : again]]
                instance.turns += again - index
                redo(instance, turn, late, decode_turn(bodies[again]))
                index = again + 1
    instance.mode = LIVE


def _retry_of(instance: Instance, turn: Turn, bodies: Sequence[bytes], index: int) -> int | None:
    """Where the last turn is that voids this one; None when there is none."""
    if turn.end is None or turn.end.status != FAILED:
        return None
    found = None
    for position in range(index + 1, len(bodies)):
        event = decode_turn(bodies[position]).event
        if isinstance(event, Retried) and event.voids == instance.turns:
            found = position
    return found


def apply_again(instance: Instance, turn: Turn) -> None:
    """Apply one recorded turn. Raises `Diverged` unless the code does now what it did then."""
    late = instance.ended
    instance.draft = Draft(turn)
    instance.at = turn.at
    changed = ARRIVE[type(turn.event)](instance, turn.event)
    if changed is True:
        drain(instance)
    _check(instance, turn, changed is True, late)
    _counted(instance, turn.event, instance.ended and not late, late)


def _check(instance: Instance, turn: Turn, changed: bool, late: bool) -> None:
    check_all_taken(instance)
    recorded = turn.end.status if turn.end is not None else ""
    now = instance.status if instance.ended and not late else ""
    if not changed or recorded != now:
        position = getattr(turn.event, "position", "") or "m0"
        error = NonDeterminismError(
            instance.workflow_id,
            position,
            f"that the run {'was ' + recorded if recorded else 'went on'} at turn {instance.turns}",
            f"a run that {'is ' + now if now else 'goes on' if changed else 'does not wait for this'}",
            *_place(instance),
        )
        raise Diverged(error)


def _place(instance: Instance) -> tuple[str, int]:
    error = instance.end.error if instance.end is not None else None
    if error is not None and error.stack:
        return error.stack[-1].file, error.stack[-1].line
    code = getattr(getattr(instance.program.definition, "fn", None), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else (instance.program.name, 0)


def retry(instance: Instance, bodies: Sequence[bytes], failed_turn: int, event: Retried, at: int) -> Turn:
    """Take a failed run up again: *instance* is fresh, *bodies* are all turns of the run. Raises `Diverged`.

    The turns before the failed one are replayed, its event and all later ones are applied anew. Commands of the failed
    turn that are asked for unchanged carry on; others are issued under a new generation of their position. A task
    whose failure failed the run is sent again, and so is the retry to a failed child.
    """
    first = decode_turn(bodies[failed_turn]).event
    failed_turn = first.voids if isinstance(first, Retried) else failed_turn  # a retry that failed at once
    replay(instance, bodies[:failed_turn])
    failed = decode_turn(bodies[failed_turn])
    late = [decode_turn(body) for body in bodies[failed_turn + 1 :]]
    instance.turns = len(bodies)
    instance.at = max(decode_turn(bodies[-1]).at, at)
    made = Retried(event.id, failed_turn, event.reply_to)
    with inside(instance):
        redo(instance, failed, late, None)
    turn = _finished(instance, made, False)
    _rearm(instance)
    return turn


def redo(instance: Instance, failed: Turn, late: Sequence[Turn], recorded: Turn | None) -> None:
    """Apply the event of a failed turn and those after it anew, as one turn; *recorded* is history's, on replay."""
    retries = [turn for turn in late if isinstance(turn.event, Retried)]
    instance.generation += len(retries) + 1
    instance.voided = {
        one.position.partition("~")[0]: one
        for turn in (failed, *retries)
        for one in turn.commands
        if not isinstance(one, ReceiveIssued | ContinueIssued)
    }
    instance.draft = Draft(recorded)
    if recorded is not None:
        instance.at = recorded.at
    for event in (failed.event, *(turn.event for turn in late if turn not in retries)):
        if instance.ended:
            break
        if event is not failed.event or not _sent_again(instance, event):
            ARRIVE[type(event)](instance, event)
        drain(instance)
    instance.voided = {}
    if recorded is not None:
        _check(instance, recorded, True, False)
        _counted(instance, recorded.event, instance.ended, False)


def _sent_again(instance: Instance, event: AnyEvent) -> bool:
    """Whether the event was the last word of a task or child, which is now asked for once more."""
    slot = instance.open.get(getattr(event, "position", ""))
    if isinstance(event, AttemptFailed) and isinstance(slot, TaskSlot) and event.retry_in is None:
        slot.attempts.append(event)
        slot.uncounted = event.attempt
        next_attempt(instance, slot)
        return True
    if isinstance(event, Answered) and isinstance(slot, RemoteSlot) and event.status in ("failed", "timed_out"):
        instance.draft.send(RetryChild(slot.position), slot)
        return True
    return False


def _rearm(instance: Instance) -> None:
    """Set the timers' rows again, which the end of the run had cleared."""
    for slot in instance.open.values():
        if isinstance(slot, TimerSlot):
            instance.draft.timers_set[slot.position] = (slot.issued.due, 0)
        elif isinstance(slot, TaskSlot) and slot.next_at:
            instance.draft.timers_set[slot.position] = (slot.next_at, slot.attempt)


def query(instance: Instance, name: str, arguments: Any) -> bytes:
    """The encoded answer of a query. Raises what the query raises, `DecodeError` and `ReadOnly`."""
    definition = instance.program.member(name)
    if definition is None or definition.kind != "query":
        known = ", ".join(sorted(n for n, d in instance.program.members.items() if d.kind == "query"))
        raise DecodeError(f"{instance.program.name} has no query {name!r} (it has: {known or 'none'})")
    codec = instance.surroundings.codec
    signature = codec.signature(definition)
    given = signature.decode_arguments(arguments)
    before = _image(instance)
    mode, instance.mode = instance.mode, QUERY
    try:
        with inside(instance):
            value = instance.program.start(definition, instance.state, signature, given)
    finally:
        instance.mode = mode
    if before != _image(instance):
        raise ReadOnly("a change of the instance's attributes")
    return codec.encode(value)


def _image(instance: Instance) -> object:
    """What tells whether the state was changed; attributes that no codec holds are told by identity."""
    image = {}
    for name, value in vars(instance.state).items() if instance.state is not None else ():
        try:
            image[name] = instance.surroundings.codec.encode(value)
        except Exception:
            image[name] = str(id(value)).encode()
    return image


def close(instance: Instance) -> None:
    """Give up a live instance: its generators are closed, and nothing of their cleanup has any effect."""
    with inside(instance):
        close_generators(instance)
    instance.branches.clear()

"""Replaying: turns of history applied again with every command checked, and failed runs taken up again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from dsl.calls import TaskCall
from infinitic.engine.ambient import Ambient
from infinitic.engine.arriving import ARRIVE, RUN_TIMEOUT, limit_cleanup, limit_run
from infinitic.engine.attempts import BEAT, keep_attempt, next_attempt, watch, watch_all_anew
from infinitic.engine.branches import Branch
from infinitic.engine.comparing import check_all_taken, places_of, recorded_task
from infinitic.engine.ending import close_branches
from infinitic.engine.instance import LIVE, REPLAY, Diverged, Draft, Instance
from infinitic.engine.operations import again, failed_tasks
from infinitic.engine.running import asked, drain, raised, returned, run
from infinitic.engine.settling import complete
from infinitic.engine.slots import TaskSlot, TimerSlot
from infinitic.errors import NonDeterminismError
from infinitic.events import Answered, AnyEvent, AttemptFailed, Retried, TaskCompleted, TimerFired
from infinitic.history import ContinueIssued, PatchIssued, ReceiveIssued, RetryChild, TagsIssued, Turn, decode_turn
from infinitic.records import FAILED, RUNNING


def replay(instance: Instance, bodies: Sequence[bytes]) -> None:
    """Apply the turns that history holds, in order, and check every command of them. Raises `Diverged`."""
    instance.mode, instance.draft, index = REPLAY, Draft(), 0
    with Ambient(instance):
        while index < len(bodies):
            turn = instance.draft.recorded = decode_turn(bodies[index])
            quickly = turn.end is None and step(instance, turn)
            index += 1 if quickly else _replayed(instance, turn, bodies, index)
    instance.mode, instance.draft, instance.current = LIVE, Draft(tags=instance.tags), None


def _replayed(instance: Instance, turn: Turn, bodies: Sequence[bytes], index: int) -> int:
    """Apply the turn at *index* again, or all that a retry made of it and those after it; how many turns that were."""
    again = _retry_of(turn, bodies, index, instance.turns)
    if again is None:
        apply_again(instance, turn)
        return 1
    late = [decode_turn(body) for body in bodies[index + 1 : again]]
    recorded = decode_turn(bodies[again])
    instance.turns += again - index
    draft, instance.draft, instance.at = instance.draft, Draft(recorded), recorded.at
    assert isinstance(recorded.event, Retried)
    _redo(instance, turn, late, recorded.event)
    _check(instance, recorded, True, False)
    count_turn(instance, False)
    instance.draft = draft
    return again - index + 1


def _retry_of(turn: Turn, bodies: Sequence[bytes], index: int, number: int) -> int | None:
    """Where the last turn is that voids this one, the *number*-th of its run; None when there is none."""
    if turn.end is None or turn.end.status != FAILED:
        return None
    events = ((at, decode_turn(bodies[at]).event) for at in range(len(bodies) - 1, index, -1))
    return next((at for at, event in events if isinstance(event, Retried) and event.voids == number), None)


def step(instance: Instance, turn: Turn) -> bool:
    """The commonest turn, quickly: a task was completed, and the run goes on. False, with nothing done, for others."""
    event, draft = turn.event, instance.draft
    # one by hand (attempt 0) is remembered besides
    slot: Any = instance.open.get(event.position) if type(event) is TaskCompleted and event.attempt else None
    if type(slot) is not TaskSlot or slot.watch or slot.delegated or turn.settled or instance.end is not None:
        return False
    try:
        value = slot.decode(event.value)  # type: ignore[union-attr]  # a TaskCompleted, as there is a slot
    except Exception:
        return False
    instance.at = turn.at
    draft.taken = 0
    observer = slot.observers[0] if slot.owned and len(slot.observers) == 1 else None
    if type(observer) is not Branch:
        complete(instance, slot, value)
    else:
        _goes_on(instance, observer, slot, value)
    if instance.ready:
        drain(instance)
    if draft.taken != len(turn.commands) or instance.status != RUNNING:
        _check(instance, turn, True, False)
    instance.turns += 1
    return True


def _goes_on(instance: Instance, branch: Branch, slot: TaskSlot, value: Any) -> None:
    """Resume the one branch that waits for a task's answer. If it asks for the recorded task, that has its slot."""
    if instance.current is not branch:
        instance.current = branch
    branch.stack = branch.waiting = None
    del instance.open[slot.position]
    try:
        yielded = branch.generator.send(value)
    except StopIteration as stop:
        answer = returned(instance, branch, stop.value)
    except BaseException as what:
        answer = raised(instance, branch, what)
    else:
        issued = recorded_task(instance, branch, yielded) if type(yielded) is TaskCall else None
        if issued is not None:
            branch.waiting = instance.open[issued.position] = slot
            slot.position, slot.issued, slot.since = issued.position, issued, instance.at
            slot.decode = instance.surroundings.signatures[yielded.definition].decode_result
            if slot.attempts:
                slot.attempt, slot.attempts, slot.next_at, slot.uncounted = 1, (), 0, 0
            if issued.options:
                watch(instance, slot)
            return
        answer = asked(instance, branch, yielded)
    run(instance, branch, answer)


def apply_again(instance: Instance, turn: Turn) -> None:
    """Apply one recorded turn. Raises `Diverged` unless the code does now what it did then."""
    late = instance.ended
    draft = instance.draft
    draft.taken = 0
    instance.at = turn.at
    changed = ARRIVE[type(turn.event)](instance, turn.event) is True
    if changed:
        drain(instance)
    _check(instance, turn, changed, late)
    draft.settled = ()
    count_turn(instance, late)


def count_turn(instance: Instance, late: bool) -> None:
    """One more turn has been applied; it failed the run unless that had ended before."""
    if instance.status == FAILED and not late:
        instance.failed_turn = instance.turns
    instance.turns += 1


def _check(instance: Instance, turn: Turn, changed: bool, late: bool) -> None:
    """Raises `Diverged` when the turn came out otherwise than history says. The recorded end is what counts."""
    check_all_taken(instance)
    recorded = turn.end.status if turn.end is not None else ""
    now = instance.status if instance.ended and not late else ""
    if not changed or recorded != now or instance.draft.settled != turn.settled:
        then = f"that the run {'was ' + recorded if recorded else 'went on'} with turn {instance.turns}"
        today = f"a run that {'is ' + now if now else 'goes on' if changed else 'does not wait for this'}"
        if changed and recorded == now:
            then = f"that turn {instance.turns} answered {', '.join(turn.settled) or 'nothing'}"
            today = f"a run in which it answers {', '.join(instance.draft.settled) or 'nothing'}"
        error = instance.end.error if instance.end is not None else None
        stack = (error.stack if error is not None else ()) or places_of(instance, instance.branches.get("m0"))
        position = getattr(turn.event, "position", "") or "m0"
        what = NonDeterminismError(instance.workflow_id, position, then, today, stack[-1].file, stack[-1].line)
        raise Diverged(what, stack)
    main = instance.calls.get("")
    if turn.end is not None and main is not None and main.status in (turn.end.status, "timed_out"):
        instance.end = turn.end
        instance.calls[""] = structs.replace(main, value=turn.end.value, error=turn.end.error)


def retry(instance: Instance, bodies: Sequence[bytes], failed_turn: int, event: Retried, at: int) -> Turn:
    """Take a failed run up again: *instance* is fresh, *bodies* are all turns of the run. Raises `Diverged`.

    The turns before the failed one are replayed, its event and all later ones are applied anew. Commands of the
    failed turn that are asked for unchanged carry on; others are issued under a new generation of their position.
    Tasks and children that failed for good since are tried again; a limit of the whole run begins anew.
    """
    first = decode_turn(bodies[failed_turn]).event
    failed_turn = first.voids if isinstance(first, Retried) else failed_turn  # a retry that failed at once
    replay(instance, bodies[:failed_turn])
    failed, *late = [decode_turn(body) for body in bodies[failed_turn:]]
    instance.turns = len(bodies)
    instance.at = max(failed.at, *(turn.at for turn in late), at)
    with Ambient(instance):
        _redo(instance, failed, late, event)
    _forget_sent(instance, late)
    _rearm(instance)
    return finished(instance, structs.replace(event, voids=failed_turn, caller=None), False)


def _redo(instance: Instance, failed: Turn, late: Sequence[Turn], event: Retried) -> None:
    """Apply the event of a failed turn and those after it anew, as one turn. Failures that nobody saw are no more."""
    retries = [turn for turn in late if isinstance(turn.event, Retried)]
    instance.generation += len(retries) + 1
    instance.draft.again = True
    voided = instance.voided = dict(instance.voided)
    for turn in (failed, *retries):
        for one in turn.commands:
            if (
                not isinstance(one, ReceiveIssued | ContinueIssued | PatchIssued | TagsIssued)
                and getattr(one, "failure", None) is None
            ):
                voided[one.position.partition("~")[0]] = one
    events: deque[AnyEvent] = deque(one.event for one in (failed, *late) if not isinstance(one.event, Retried))
    instance.began = instance.began or getattr(failed.event, "began", 0) or failed.at  # then it is the start
    early: dict[str, list[AnyEvent]] = {}  # answers to what is not asked for yet, until it is carried on
    limit_run(instance)
    _forgive(instance, event)
    instance.senders.update((turn.event.id, None) for turn in late if turn.dropped)  # what was dropped stays so
    instance.senders.update(dict.fromkeys([*(turn.event.id for turn in retries), event.id]))
    while events:
        came = events.popleft()
        if not _again(instance, came):
            early.setdefault(getattr(came, "position", ""), []).append(came)
        drain(instance)
        for position in instance.draft.carried:
            events.extendleft(reversed(early.pop(position, [])))
        instance.draft.carried = ()
    watch_all_anew(instance)
    instance.voided = dict.fromkeys(voided)


def _forgive(instance: Instance, event: Retried) -> None:
    """Have what failed before run again: what *event* names, else what nobody has looked at."""
    for slot in failed_tasks(instance, event) if event.tasks else instance.unseen:
        if isinstance(slot, TaskSlot):
            again(instance, slot)


def _again(instance: Instance, event: AnyEvent) -> bool:
    """Apply an event anew; False when it changes nothing now. Nobody's failure is taken for the last word."""
    if instance.end is not None:  # it failed again: what came late comes late once more
        return ARRIVE[type(event)](instance, event) is not None
    position, _, deadline = getattr(event, "position", "").partition("/")
    slot = instance.open.get(position)
    final = (isinstance(event, AttemptFailed) and event.retry_in is None) or deadline not in ("", BEAT[1:])
    if isinstance(slot, TaskSlot) and final:
        if isinstance(event, AttemptFailed):
            if event.attempt != slot.attempt:
                return True
            keep_attempt(slot, event)
        slot.uncounted = slot.attempt
        next_attempt(instance, slot)
        return True
    failed = isinstance(event, Answered) and event.status in ("failed", "timed_out")
    if failed and slot is not None and slot.kind == "child":
        instance.draft.send(RetryChild(slot.position), slot)
        return True
    if isinstance(event, TimerFired) and event.position == RUN_TIMEOUT:
        return True
    return ARRIVE[type(event)](instance, event) is True


def _forget_sent(instance: Instance, late: Sequence[Turn]) -> None:
    """What late turns have sent is not sent once more."""
    made = list(instance.draft.sends)
    for send in (send for turn in late for send in turn.sends if send in made):
        made.remove(send)
    instance.draft.sends = tuple(made)


def _rearm(instance: Instance) -> None:
    """Set the timers' rows again, which the end of the run had cleared."""
    if instance.ended:
        return
    for method in instance.methods:
        limit_cleanup(instance, method)
    for slot in instance.open.values():
        if isinstance(slot, TimerSlot):
            instance.draft.timers_set[slot.position] = (slot.issued.due, 0)
        elif isinstance(slot, TaskSlot) and slot.next_at:
            instance.draft.timers_set[slot.position] = (slot.next_at, slot.attempt)


def finished(instance: Instance, event: AnyEvent, late: bool) -> Turn:
    """The turn that was made."""
    draft, end = instance.draft, None if late else instance.end
    count_turn(instance, late)
    made = tuple(draft.commands), draft.settled, draft.refused, draft.sends
    return Turn(event, instance.at, *made, end, late, draft.dropped, draft.raised)


def close(instance: Instance) -> None:
    """Give up a live instance: its generators are closed, and nothing of their cleanup has any effect."""
    with Ambient(instance):
        close_branches(instance)

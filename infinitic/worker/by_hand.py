"""By hand: what people do to an instance without its code, which may be missing or may not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from infinitic.engine.ending import parent_close
from infinitic.engine.instance import CALLS
from infinitic.engine.operations import terminated
from infinitic.engine.outputs import outputs
from infinitic.errors import InfiniticError
from infinitic.events import MethodCalled, ResumeRequested, Started, SuspendRequested, TerminateRequested
from infinitic.history import (
    Answer,
    CallIssued,
    Cancellation,
    ChildIssued,
    End,
    TaskIssued,
    Termination,
    Turn,
    decode_turn,
    encode_turn,
)
from infinitic.messages import AGAIN, Delivery
from infinitic.records import OPEN, RUNNING, TERMINATED, CallRecord, StateRecord, Stored, TurnRow, Version
from infinitic.serialization import error_value
from infinitic.story import tell
from infinitic.story.nodes import Story
from infinitic.worker.changes import Change
from infinitic.worker.held import Held
from infinitic.worker.loading import asked_in, origin_of
from infinitic.worker.questions import query
from infinitic.worker.refusals import finished, is_suspended_by_hand, received, refused
from infinitic.worker.replies import replies
from infinitic.worker.suspending import readable, waiting


def resumes(record: StateRecord | None, deliveries: Sequence[Delivery]) -> bool:
    """Whether somebody wants the instance to go on, and did not before."""
    known = record.starts if record is not None else ()
    events = [readable(one) for one in deliveries if AGAIN not in one.message.headers]
    return any(isinstance(event, ResumeRequested) and event.id not in known for event in events)


def tried_again(stored: Stored) -> Stored:
    """The same, but that it may go on: whoever suspended it, and whichever code could not."""
    return structs.replace(stored, record=structs.replace(stored.record, fingerprint=""))


def stand_still(change: Change, event: SuspendRequested | ResumeRequested, now: int) -> None:
    """What comes of this for an instance from here on; a repeat of what came before changes nothing."""
    refused_before = isinstance(event, ResumeRequested) and change.problem and not is_suspended_by_hand(change)
    if event.id in change.starts and not refused_before:
        received(change, event)
    elif change.status not in OPEN and not (isinstance(event, ResumeRequested) and change.rows):
        finished(change, event, change.status or "unknown", now)
    else:
        change.starts += () if event.id in change.starts else (event.id,)
        change.stands_still = _why(change, event) if isinstance(event, SuspendRequested) else ""
        if isinstance(event, ResumeRequested) and change.problem:
            text = f"{change.workflow} {change.workflow_id!r} cannot go on: {change.problem}"
            refused(change, event, "refused", error_value(InfiniticError(text)), now)
        else:
            received(change, event)


def _why(change: Change, event: SuspendRequested) -> str:
    """Why it stands still: the reason that was given last."""
    if not event.reason and is_suspended_by_hand(change) and change.held is not None and change.held.record is not None:
        return change.held.record.reason
    return f"somebody suspended it{': ' if event.reason else ''}{event.reason}"


def stands_still(change: Change) -> bool:
    """Whether somebody has suspended the instance, and nothing else is known to be wrong with it."""
    record = change.held.record if change.held is not None else None
    return record is not None and is_suspended_by_hand(change) and record.reason == change.problem


def query_still(change: Change, delivery: Delivery, held: Held, problem: BaseException | None) -> None:
    """Answer a query of an instance that stands still: as it stands, if its code can bring it to life (*held*)."""
    asked = Change(change.workflow, change.workflow_id, held)
    asked.problem = "" if asked.instance is not None else str(problem or change.problem)
    query(asked, delivery)
    asked.discard()
    change.hints += asked.hints


def terminates(delivery: Delivery) -> bool:
    """Whether somebody asks by this that an instance ends."""
    return AGAIN not in delivery.message.headers and isinstance(readable(delivery), TerminateRequested)


def ends(change: Change, stored: Stored | None, deliveries: Sequence[Delivery], now: int) -> bool:
    """Whether somebody has ended what its code cannot go on with, just now or with what waits: then that is done."""
    ending = _termination_among(stored, [*deliveries, *waiting(stored)]) if stored is not None else None
    if stored is None or ending is None:
        return False
    change.instance = None
    _terminate_unseen(change, stored, ending, now)
    change.rest = [one for one in deliveries if one is not ending and one.topic]  # to hear that it has ended
    return True


def _termination_among(stored: Stored, deliveries: Sequence[Delivery]) -> Delivery | None:
    """The message that ends a run of which this worker has no code, if there is one."""
    if stored.record.status not in OPEN or not (turns := _so_far(stored, 0)):
        return None
    runs = ("", stored.version.run, turns[0].event.first if isinstance(turns[0].event, Started) else "")
    for delivery in deliveries:
        event = readable(delivery) if delivery.message.workflow == stored.workflow and terminates(delivery) else None
        if isinstance(event, TerminateRequested) and event.run in runs:
            return delivery
    return None


def _so_far(stored: Stored, now: int) -> list[Turn]:
    """The turns of its run. Of one that could not begin a first turn without code: its start, to begin a little later.

    That is the same for whatever code replays it. Empty when even its start is not at hand.
    """
    if stored.turns:
        return [decode_turn(row.body) for row in stored.turns]
    start = next((one for one in map(readable, waiting(stored)) if isinstance(one, Started)), None)
    if start is None or start.run != stored.version.run:
        return []
    return [Turn(structs.replace(start, version=stored.record.version, start_at=now + 1, also=None), now)]


def _terminate_unseen(change: Change, stored: Stored, delivery: Delivery, now: int) -> None:
    """End a run whose code is not at hand; what is open is told from history, and nothing waits any more."""
    event = readable(delivery)
    assert isinstance(event, TerminateRequested)
    turns, record = _so_far(stored, now), stored.record
    end, at = terminated(change.workflow, change.workflow_id, event.reason), max(now, turns[-1].at)
    methods, issued = _running(tell(record, turns), turns), _open(tell(record, turns), turns)
    sends = (*_answers(methods, end), *_stops(issued))
    turn = Turn(event, at, sends=sends, end=end)
    started, number = turns[0].event, len(turns)
    assert isinstance(started, Started)
    change.outputs += outputs(origin_of(change.workflow_id, started), turn, asked_in(turns).get)
    change.hints += replies(change.workflow_id, started.run, record.retries, turn)
    unwritten = enumerate([*turns, turn][stored.version.turns :], stored.version.turns)
    change.rows += [TurnRow(started.run, index, encode_turn(one)) for index, one in unwritten]
    change.runs_ended.append(started.run)
    change.version = Version(started.run, number + 1, stored.version.inbox + 1)
    calls = [CallRecord("" if one is started else one.id, one.method, TERMINATED, error=end.error) for one in methods]
    change.record = structs.replace(
        record,
        status=TERMINATED,
        reason="",
        fingerprint="",
        updated=at,
        ended=at,
        turns=number + 1,
        error=end.error,
        waits=(),
        waiting=0,
        open_calls=(),
        calls=(*record.calls, *calls)[-CALLS - 1 :],
        late=len(issued) - len([*_stops(issued)]),
    )
    change.inbox_removed = tuple(item.key for item in stored.inbox)
    change.problem = ""
    _tell_waiting(change, stored, started, now)
    change.deliveries.append(delivery)
    received(change, event)


def _tell_waiting(change: Change, stored: Stored, started: Started, now: int) -> None:
    """Nothing comes any more of what is in the inbox, beside the start itself."""
    for one in map(readable, waiting(stored)):
        event = one.also if isinstance(one, Started) and one.run == started.run else one
        if event is not None:
            finished(change, event, TERMINATED, now)


def _running(story: Story, turns: Sequence[Turn]) -> list[Started | MethodCalled]:
    """What began the methods that run."""
    running = {method.call_id for method in story.methods if method.status == RUNNING}
    first = [turn.event for turn in turns[:1] if isinstance(turn.event, Started) and "" in running]
    came = [turn.event.also if isinstance(turn.event, Started) else turn.event for turn in turns]
    return [*first, *(one for one in came if isinstance(one, MethodCalled) and one.id in running)]


def _open(story: Story, turns: Sequence[Turn]) -> list[TaskIssued | ChildIssued | CallIssued]:
    """What was asked for and has no answer."""
    waiting = {step.position for step in story.steps if step.status == "waiting" and not step.stopped}
    issued = (one for turn in turns for one in turn.commands if one.position in waiting)
    return [one for one in issued if isinstance(one, TaskIssued | ChildIssued | CallIssued)]


def _answers(methods: Sequence[Started | MethodCalled], end: End) -> Iterator[Answer]:
    """What those are told who wait for them."""
    for one in methods:
        if one.caller is not None or one.reply_to:
            call_id = "" if isinstance(one, Started) else one.id
            yield Answer(call_id, TERMINATED, error=end.error, caller=one.caller, reply_to=one.reply_to)


def _stops(issued: Sequence[TaskIssued | ChildIssued | CallIssued]) -> Iterator[Cancellation | Termination]:
    """What becomes of what is open."""
    for one in issued:
        policy = parent_close(one, cancelled=True)
        if policy != "abandon":
            yield (Termination if policy == "terminate" else Cancellation)(one.position)

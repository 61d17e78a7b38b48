"""Arriving: what each event does to an instance.

A function answers True when the event changed something (that is a turn), False when it is a repeat or too late,
or a `Refusal` to be told to whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from msgspec import Raw

from dsl.calls import Definition
from dsl.errors import Attempt, TaskFailed, TaskTimedOut, WorkerLost
from infinitic import events
from infinitic.engine.branches import MethodRun
from infinitic.engine.ending import run_timed_out
from infinitic.engine.instance import SENDERS, Diverged, Instance, Refusal
from infinitic.engine.issuing import decoded
from infinitic.engine.running import NOTHING, new_branch, run
from infinitic.engine.settling import cancel_branch, complete, fail, settle
from infinitic.engine.slots import CANCELLED, COMPLETED, RemoteSlot, Slot, TaskSlot, TimerSlot
from infinitic.errors import Bug, DecodeError, UnknownWorkflow, WorkflowFailed, WorkflowFinished, WorkflowTimedOut
from infinitic.history import NextAttempt
from infinitic.records import FAILED
from infinitic.serialization import as_decode_error, error_value, rebuild

RUN_TIMEOUT = "timeout"
"""The position of the timer that limits a run; its attempt is the generation."""

Result = bool | Refusal


def start(instance: Instance, event: events.Started) -> Result:
    """The run begins."""
    if instance.started is not None:
        return False
    instance.started = event
    instance.run = event.run
    instance.began = instance.began or instance.at
    instance.senders.update(dict.fromkeys(event.senders))
    for signal in event.signals:
        instance.mailboxes.setdefault(signal.channel, []).append(signal)
    limit_run(instance)
    _begin(instance, event)
    return True


def limit_run(instance: Instance) -> None:
    """Set the timer that limits the run, from now on."""
    if instance.started is not None and instance.started.timeout:
        due = instance.at + instance.started.timeout
        instance.draft.timers_set[RUN_TIMEOUT] = (due, instance.generation)


def _begin(instance: Instance, event: events.Started | events.MethodCalled) -> None:
    """Run a method up to where it first waits."""
    method = MethodRun(instance.method_count, event.method, event.id, event.caller, event.reply_to)
    instance.method_count += 1
    instance.methods.append(method)
    flow = _called(instance, event.method, event.arguments)
    method.branch = new_branch(instance, f"m{method.ordinal}", flow, method)
    run(instance, method.branch, NOTHING)


def _called(instance: Instance, name: str, arguments: Raw) -> Generator[None, None, Any]:
    """Call the method and return what it gives. A generator, so that what it raises is treated like any error."""
    yield from ()
    definition, given = _described(instance, name, arguments)
    program = instance.program
    if instance.state is None and name:
        instance.state = program.new_state()
    return program.start(definition, instance.state, instance.surroundings.signatures[definition], given)


def _described(instance: Instance, name: str, arguments: Raw) -> tuple[Definition, Any]:
    """The method's definition and the decoded arguments. Raises `DecodeError` when there is no such method."""
    definition = instance.program.member(name)
    if definition is None or definition.kind == "query":
        raise DecodeError(f"{instance.program.name} has no method {name!r} {instance.program.known('method')}")
    signature = instance.surroundings.signatures[definition]
    try:
        return definition, signature.decode_arguments(arguments)
    except Exception as error:
        recorded = instance.draft.recorded
        if recorded is not None and (recorded.end is None or recorded.end.status != FAILED):
            raise instance.unreadable(name or instance.program.name, error) from None
        raise


def complete_task(instance: Instance, event: events.TaskCompleted) -> Result:
    """An attempt of a task returned: the first answer wins."""
    slot = _open(instance, event.position, TaskSlot)
    if slot is None:
        return False
    if slot.next_at:
        instance.draft.clear_timer(slot.position)
    _answer(instance, slot, event.value)
    return True


def _answer(instance: Instance, slot: TaskSlot | RemoteSlot, data: Raw) -> None:
    """Settle the slot with what *data* holds, or with the failure to read it, which the turn records."""
    value, error = decoded(slot.decode, data)
    refused, is_task = _refused(instance, slot, error), isinstance(slot, TaskSlot)
    if refused is None:
        complete(instance, slot, value)
    else:
        instance.draft.settled += (slot.position,)
        fail(instance, slot, lambda: TaskFailed(slot.label, rebuild(refused)) if is_task else rebuild(refused))


def _refused(instance: Instance, slot: Slot, error: Exception | None) -> events.ErrorValue | None:
    """Why the answer fails its command: as recorded. Raises `Diverged` if only today's types cannot read it."""
    draft = instance.draft
    if draft.recorded is None:
        if error is not None:
            draft.refused = draft.refused or error_value(error)
            return draft.refused
    elif slot.position in draft.recorded.settled:
        return draft.recorded.refused
    elif error is not None:
        raise instance.unreadable(slot.position, error)
    return None


def fail_attempt(instance: Instance, event: events.AttemptFailed) -> Result:
    """An attempt of a task failed: the next one is set for later, or the task has failed."""
    slot = _open(instance, event.position, TaskSlot)
    if slot is None or slot.next_at or event.attempt != slot.attempt:
        return False
    slot.attempts += (event,)
    if event.retry_in is None:
        fail(instance, slot, lambda: task_failed(slot))
    elif event.retry_in <= 0:
        next_attempt(instance, slot)
    else:
        slot.next_at = instance.at + event.retry_in
        instance.draft.timers_set[slot.position] = (slot.next_at, slot.attempt)
    return True


def next_attempt(instance: Instance, slot: TaskSlot) -> None:
    """Send the task once more."""
    slot.next_at = 0
    slot.attempt += 1
    instance.draft.timers_set.pop(slot.position, None)
    instance.draft.send(NextAttempt(slot.position, slot.attempt, slot.uncounted), slot)


def task_failed(slot: TaskSlot) -> TaskFailed:
    """The error of a task that failed for good, with all its attempts."""
    attempts = tuple(
        Attempt(one.attempt, rebuild(one.error), one.worker, one.began, one.ended) for one in slot.attempts
    )
    last = slot.attempts[-1]
    lost = last.error.type == "dsl.errors:WorkerLost"
    kind = TaskTimedOut if last.timed_out else WorkerLost if lost else TaskFailed
    error = attempts[-1].error
    return kind(slot.label, error.error if isinstance(error, WorkerLost) else error, attempts)


def fire(instance: Instance, event: events.TimerFired) -> Result:
    """A timer is due: the workflow's own, a retry's, or the run's limit."""
    if event.position == RUN_TIMEOUT:
        if instance.ended or event.attempt != instance.generation:
            return False
        run_timed_out(instance)
        return True
    slot = instance.open.get(event.position)
    if isinstance(slot, TimerSlot):
        settle(instance, slot, COMPLETED)
        return True
    if isinstance(slot, TaskSlot) and slot.next_at and slot.attempt == event.attempt:
        next_attempt(instance, slot)
        return True
    _issued_before(instance, event.position)
    return False


def take_signal(instance: Instance, event: events.SignalReceived) -> Result:
    """A signal came: for who waits longest, else into the mailbox. A failed run keeps it for a retry."""
    if event.id in instance.senders:
        return False
    if instance.ended and instance.status != FAILED:
        return _finished(instance)
    waiting = instance.receivers.get(event.channel) or []
    try:
        value = (waiting[0].decode if waiting else _declared(instance, event.channel))(event.value)
    except Exception as error:
        if instance.draft.recorded is not None:
            raise instance.unreadable(waiting[0].position, error) from None
        return Refusal("refused", as_decode_error(error))
    remember(instance, event.id)
    if waiting:
        slot = waiting.pop(0)
        instance.draft.settled += (slot.position,)
        complete(instance, slot, value)
    else:
        signal = events.Signal(event.id, event.channel, event.value)
        instance.mailboxes.setdefault(event.channel, []).append(signal)
    return True


def _declared(instance: Instance, channel: str) -> Callable[[Any], Any]:
    """The decoder of a channel that nobody waits at. Signals for channels of modules are taken as they are."""
    program = instance.program
    if instance.draft.recorded is not None or not isinstance(program.definition, type):
        return lambda data: None
    if channel not in program.channels:
        known = ", ".join(sorted(program.channels)) or "none"
        raise DecodeError(f"{program.name} has no channel {channel!r} (it has: {known})")
    return instance.surroundings.codec.decoder(program.channels[channel].type)


def remember(instance: Instance, event_id: str) -> None:
    """Keep the id of what came from outside, so that a repeat changes nothing; of the last 10,000."""
    instance.senders[event_id] = None
    if len(instance.senders) > SENDERS:
        del instance.senders[next(iter(instance.senders))]


def call_method(instance: Instance, event: events.MethodCalled) -> Result:
    """A method is called: it runs beside the others."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return _finished(instance)
    try:
        _described(instance, event.method, event.arguments)
    except Exception as error:
        return Refusal("refused", error)
    remember(instance, event.id)
    _begin(instance, event)
    return True


def request_cancel(instance: Instance, event: events.CancelRequested) -> Result:
    """The whole instance, or one call of it, is to be cancelled: its methods, and their branches, once."""
    if event.id in instance.senders or event.run not in known_runs(instance):
        return False
    if instance.ended:
        return _finished(instance)
    methods = [one for one in instance.methods if not one.cancelling and event.call_id in ("", one.call_id)]
    if not methods:
        return False
    remember(instance, event.id)
    for method in methods:
        method.cancelling = True
    for branch in list(instance.branches.values()):
        if branch.method in methods:
            cancel_branch(instance, branch)
    return True


def known_runs(instance: Instance) -> tuple[str, str, str]:
    """What this run is known by to those who cancel or retry it: a parent knows the first of a chain."""
    return ("", instance.run, instance.started.first if instance.started is not None else "")


def take_answer(instance: Instance, event: events.Answered) -> Result:
    """A child, or a method called on an instance, answered."""
    slot = _open(instance, event.position, RemoteSlot)
    if slot is None:
        return False
    if event.status == "completed":
        _answer(instance, slot, event.value)
    elif event.status == "cancelled":
        settle(instance, slot, CANCELLED)
    else:
        fail(instance, slot, lambda: remote_error(event, slot))
    return True


def remote_error(event: events.Answered, slot: RemoteSlot) -> BaseException:
    """What somebody sees who awaits a child or a call that did not complete."""
    workflow, workflow_id = slot.issued.workflow, slot.issued.workflow_id
    cause = rebuild(event.error) if event.error is not None else Exception("no reason was given")
    if event.status in ("exists", "finished", "refused"):
        return cause
    if event.status == "unknown":
        return UnknownWorkflow(workflow, workflow_id)
    return (WorkflowTimedOut if event.status == "timed_out" else WorkflowFailed)(workflow, workflow_id, cause)


def _finished(instance: Instance) -> Refusal:
    return Refusal("finished", WorkflowFinished(instance.program.name, instance.workflow_id, instance.status))


def _open(instance: Instance, position: str, kind: type[Any]) -> Any:
    """The open slot at *position*; None when it has its answer. Raises `Diverged` if it was never issued."""
    slot = instance.open.get(position)
    if isinstance(slot, kind):
        return slot
    _issued_before(instance, position)
    return None


def _issued_before(instance: Instance, position: str) -> None:
    """Raises `Diverged` when this history never issued *position*."""
    known = position.partition("~")[0]
    path, _, number = known.rpartition(".")
    branch = instance.branches.get(path)
    count = branch.counter if branch is not None else instance.counters.get(path, 0)
    if known not in instance.voided and not (number.isdecimal() and int(number) < count):
        problem = f"an answer came for position {position}, which was never issued"
        instance.divergence = Diverged(Bug(f"{instance.workflow_id}: {problem}"))
        raise instance.divergence


ARRIVE: dict[type, Callable[[Instance, Any], Result]] = {
    events.Started: start,
    events.TaskCompleted: complete_task,
    events.AttemptFailed: fail_attempt,
    events.TimerFired: fire,
    events.SignalReceived: take_signal,
    events.MethodCalled: call_method,
    events.CancelRequested: request_cancel,
    events.Answered: take_answer,
}
"""What each kind of event does; `Retried` is `replaying.retry`'s."""

"""Arriving: what each event does to an instance.

A function answers True when the event changed something (that is a turn), False when it is a repeat or too late, or a
`Refusal` to be told to whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from dsl.calls import Definition
from dsl.errors import Attempt, TaskFailed, TaskTimedOut, WorkerLost
from infinitic.engine.branches import Branch, MethodRun
from infinitic.engine.ending import branch_raised, branch_returned, run_timed_out
from infinitic.engine.instance import SENDERS, Diverged, Instance, Refusal
from infinitic.engine.running import run
from infinitic.engine.settling import cancel_branch, complete, fail, settle
from infinitic.engine.slots import CANCELLED, COMPLETED, ReceiveSlot, RemoteSlot, Slot, TaskSlot, TimerSlot
from infinitic.errors import (
    Bug,
    DecodeError,
    UnknownWorkflow,
    UnreadableHistory,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from infinitic.events import (
    Answered,
    AttemptFailed,
    CancelRequested,
    MethodCalled,
    Signal,
    SignalReceived,
    Started,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import Answer, NextAttempt
from infinitic.records import FAILED
from infinitic.serialization import error_value, rebuild

RUN_TIMEOUT = "timeout"
"""The position of the timer that limits a run."""

Result = bool | Refusal


def start(instance: Instance, event: Started) -> Result:
    """The run begins."""
    instance.started = event
    instance.run = event.run
    instance.began = instance.at
    instance.senders.update(dict.fromkeys(event.senders))
    for signal in event.signals:
        instance.mailboxes.setdefault(signal.channel, []).append(signal)
    if event.timeout:
        instance.draft.timers_set[RUN_TIMEOUT] = (instance.at + event.timeout, 0)
    method = MethodRun(0, event.method, event.id, event.caller, event.reply_to, instance.at)
    definition = instance.program.member(event.method)
    if definition is None or definition.kind == "query":
        _begin(instance, method, None, event.arguments)
    else:
        _begin(instance, method, definition, event.arguments)
    return True


def _begin(instance: Instance, method: MethodRun, definition: Definition | None, arguments: Raw) -> None:
    """Run a method up to where it first waits."""
    instance.method_count = method.ordinal + 1
    instance.methods[method.ordinal] = method
    branch = Branch(f"m{method.ordinal}", None, method, instance.at)
    method.branch = branch
    instance.branches[branch.path] = branch
    previous, instance.current = instance.current, branch
    try:
        branch.generator = _called(instance, definition, method.name, arguments)
    except Diverged:
        raise
    except Exception as error:
        branch_raised(instance, branch, error)
        return
    finally:
        instance.current = previous
    if hasattr(branch.generator, "send"):
        run(instance, branch, None, None)
    else:
        _plain(instance, branch, branch.generator)


def _called(instance: Instance, definition: Definition | None, name: str, arguments: Raw) -> Any:
    program = instance.program
    if definition is None:
        known = ", ".join(sorted(one for one in program.members if one))
        raise DecodeError(f"{program.name} has no method {name!r} (it has: {known or 'none'})")
    if instance.state is None and name:
        instance.state = program.new_state()
    signature = instance.surroundings.codec.signature(definition)
    return program.start(definition, instance.state, signature, signature.decode_arguments(arguments))


def _plain(instance: Instance, branch: Branch, value: Any) -> None:
    """A plain function completed at once; it is wrapped, so that a command it returned is refused alike."""

    def returned() -> Any:
        return value
        yield

    branch.generator = returned()
    run(instance, branch, None, None)


def complete_task(instance: Instance, event: TaskCompleted) -> Result:
    """An attempt of a task returned: the first answer wins."""
    slot = _open(instance, event.position, TaskSlot)
    if slot is None:
        return False
    if slot.next_at:
        instance.draft.timers_cleared.append(slot.position)
    _answer(instance, slot, slot.decode, event.value)
    return True


def _answer(instance: Instance, slot: Slot, decode: Callable[[Any], Any] | None, data: Raw) -> None:
    """Settle the slot with what *data* holds, or with the failure to read it."""
    draft = instance.draft
    if draft.recorded is not None and draft.recorded.refused is not None:
        refused = draft.recorded.refused
        fail(instance, slot, lambda: _undecodable(slot, rebuild(refused)))
        return
    try:
        value = decode(data) if decode is not None else None
    except Exception as error:
        if draft.recorded is not None:
            raise _unreadable(instance, slot.position, error) from None
        draft.refused = refused = error_value(error)
        fail(instance, slot, lambda: _undecodable(slot, rebuild(refused)))
        return
    complete(instance, slot, value)


def _undecodable(slot: Slot, error: BaseException) -> BaseException:
    return TaskFailed(slot.label, error) if isinstance(slot, TaskSlot) else error


def _unreadable(instance: Instance, position: str, error: Exception) -> Diverged:
    instance.divergence = Diverged(UnreadableHistory(instance.workflow_id, position, str(error)))
    return instance.divergence


def fail_attempt(instance: Instance, event: AttemptFailed) -> Result:
    """An attempt of a task failed: the next one is set for later, or the task has failed."""
    slot = _open(instance, event.position, TaskSlot)
    if slot is None or slot.next_at or event.attempt != slot.attempt:
        return False
    slot.attempts.append(event)
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
    slot.stack = None
    instance.draft.send(NextAttempt(slot.position, slot.attempt, slot.uncounted), slot)


def task_failed(slot: TaskSlot) -> TaskFailed:
    """The error of a task that failed for good, with all its attempts."""
    attempts = tuple(
        Attempt(one.attempt, rebuild(one.error), one.worker, one.began, one.ended) for one in slot.attempts
    )
    last = slot.attempts[-1]
    lost = last.error.type.endswith(":WorkerLost")
    kind = TaskTimedOut if last.timed_out else WorkerLost if lost else TaskFailed
    return kind(slot.label, attempts[-1].error, attempts)


def fire(instance: Instance, event: TimerFired) -> Result:
    """A timer is due: the workflow's own, a retry's, or the run's limit."""
    if event.position == RUN_TIMEOUT:
        if instance.ended:
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


def take_signal(instance: Instance, event: SignalReceived) -> Result:
    """A signal came: for who waits longest, else into the mailbox."""
    if event.id in instance.senders:
        return False
    if instance.ended and instance.status != FAILED:
        return _finished(instance)
    waiting = instance.receivers.get(event.channel)
    slot = waiting[0] if waiting else None
    try:
        value = _signal_value(instance, event, slot)
    except DecodeError as error:
        if instance.draft.recorded is not None:
            raise _unreadable(instance, slot.position if slot else event.channel, error) from None
        return Refusal("refused", error)
    remember(instance, event.id)
    if slot is None or waiting is None:
        instance.mailboxes.setdefault(event.channel, []).append(Signal(event.id, event.channel, event.value))
    else:
        waiting.pop(0)
        instance.draft.settled.append(slot.position)
        complete(instance, slot, value)
    return True


def _signal_value(instance: Instance, event: SignalReceived, slot: ReceiveSlot | None) -> Any:
    if slot is not None:
        return slot.decode(event.value)
    if instance.draft.recorded is not None:
        return None
    channels = instance.program.channels
    if event.channel in channels:
        instance.surroundings.codec.decoder(channels[event.channel].type)(event.value)
    elif channels or instance.state is not None:
        known = ", ".join(sorted(channels)) or "none"
        raise DecodeError(f"{instance.program.name} has no channel {event.channel!r} (it has: {known})")
    return None


def remember(instance: Instance, event_id: str) -> None:
    """Keep the id of what came from outside, so that a repeat changes nothing; of the last 10,000."""
    instance.senders[event_id] = None
    if len(instance.senders) > SENDERS:
        del instance.senders[next(iter(instance.senders))]


def call_method(instance: Instance, event: MethodCalled) -> Result:
    """A method is called: it runs beside the others."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return _finished(instance)
    definition = instance.program.member(event.method)
    try:
        if definition is None or definition.kind != "method":
            _called(instance, None, event.method, event.arguments)
        else:
            instance.surroundings.codec.signature(definition).decode_arguments(event.arguments)
    except Exception as error:
        if instance.draft.recorded is not None:
            raise _unreadable(instance, event.method, error) from None
        return Refusal("refused", error)
    remember(instance, event.id)
    ordinal = instance.method_count
    method = MethodRun(ordinal, event.method, event.id, event.caller, event.reply_to, instance.at)
    _begin(instance, method, definition, event.arguments)
    return True


def request_cancel(instance: Instance, event: CancelRequested) -> Result:
    """The whole instance, or one call of it, is to be cancelled."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return _finished(instance)
    methods = [one for one in instance.methods.values() if not event.call_id or one.call_id == event.call_id]
    if not methods or (instance.cancelling and not event.call_id):
        return False
    remember(instance, event.id)
    if not event.call_id:
        instance.cancelling = True
    for branch in list(instance.branches.values()):
        if branch.method in methods:
            cancel_branch(instance, branch)
    return True


def take_answer(instance: Instance, event: Answered) -> Result:
    """A child, or a method called on an instance, answered."""
    slot = _open(instance, event.position, RemoteSlot)
    if slot is None:
        return False
    if event.status == "completed":
        _answer(instance, slot, slot.decode, event.value)
    elif event.status == "cancelled":
        settle(instance, slot, CANCELLED)
    else:
        fail(instance, slot, lambda: remote_error(event, slot))
    return True


def remote_error(event: Answered, slot: RemoteSlot) -> BaseException:
    """What somebody sees who awaits a child or a call that did not complete."""
    workflow, workflow_id = slot.issued.workflow, slot.issued.workflow_id
    cause = rebuild(event.error) if event.error is not None else Exception("no reason was given")
    match event.status:
        case "timed_out":
            return WorkflowTimedOut(workflow, workflow_id, cause)
        case "unknown":
            return UnknownWorkflow(workflow, workflow_id)
        case "refused":
            return cause
        case "exists" | "finished":
            return cause
    return WorkflowFailed(workflow, workflow_id, cause)


def answered_before(instance: Instance, reply_to: str) -> Answer:
    """The answer of the run's first method, once more, for whoever asks."""
    call = instance.calls[""]
    caller = instance.started.caller if instance.started is not None else None
    return Answer("", call.status, call.value, call.error, caller, reply_to)


def _finished(instance: Instance) -> Refusal:
    return Refusal("finished", WorkflowFinished(instance.program.name, instance.workflow_id, instance.status))


def _open(instance: Instance, position: str, kind: type[Any]) -> Any:
    """The open slot at *position*; None when it has its answer. Raises `Diverged` when it was never issued."""
    slot = instance.open.get(position)
    if isinstance(slot, kind):
        return slot
    _issued_before(instance, position)
    return None


def _issued_before(instance: Instance, position: str) -> None:
    """Raises `Diverged` when this history never issued *position*."""
    path, _, number = position.partition("~")[0].rpartition(".")
    branch = instance.branches.get(path)
    count = branch.counter if branch is not None else instance.counters.get(path, 0)
    if not number.isdigit() or int(number) >= count:
        problem = Bug(f"{instance.workflow_id}: an answer came for position {position}, which was never issued")
        instance.divergence = Diverged(problem)
        raise instance.divergence


ARRIVE: dict[type, Callable[[Instance, Any], Result]] = {
    Started: start,
    TaskCompleted: complete_task,
    AttemptFailed: fail_attempt,
    TimerFired: fire,
    SignalReceived: take_signal,
    MethodCalled: call_method,
    CancelRequested: request_cancel,
    Answered: take_answer,
}

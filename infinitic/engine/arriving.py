"""Arriving: what each event does to an instance.

A function answers True when the event changed something (that is a turn), False when it is a repeat or too late,
or a `Refusal` to be told to whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from dsl.calls import Definition
from dsl.errors import ProtocolError, ReadOnly
from dsl.workflows import Method
from infinitic import events
from infinitic.engine import attempts
from infinitic.engine.branches import MethodRun
from infinitic.engine.completing import Result, complete_task, fail_attempt, issued_before, said_by_attempt, take_answer
from infinitic.engine.ending import give_up, method_ended, run_timed_out
from infinitic.engine.instance import FAILURES, Instance, Refusal
from infinitic.engine.issuing import decoded
from infinitic.engine.operations import complete_timers, finished, known_runs, remember, retry_tasks, terminate
from infinitic.engine.reading import read
from infinitic.engine.receiving import NOBODY, given
from infinitic.engine.running import NOTHING, drain, new_branch, run
from infinitic.engine.settling import cancel_branch, settle
from infinitic.engine.slots import COMPLETED, StartSlot, TaskSlot, TimerSlot
from infinitic.engine.tags import changed
from infinitic.errors import DecodeError, InfiniticError
from infinitic.history import End, TimerIssued
from infinitic.records import FAILED
from infinitic.serialization import as_decode_error, named

RUN_TIMEOUT, START, CLEANUP = "timeout", "start", "cleanup"
"""The positions of timers of the run's own: that limits it (its attempt is the generation), at which its code begins,
and that limits what a cancelled method still does (`cleanup/1`, by the method's ordinal)."""


def start(instance: Instance, event: events.Started) -> Result:
    """The run begins."""
    if instance.started is not None:
        return False
    instance.started = event
    instance.run = event.run
    instance.tags = instance.draft.tags = event.tags
    instance.began = instance.began or event.began or instance.at
    instance.senders.update(dict.fromkeys(event.senders))
    for signal in event.signals:
        instance.mailboxes.setdefault(signal.channel, []).append(signal)
    method, begins = _added(instance, event), event.start_at or instance.at + event.delay
    if begins > instance.at:
        instance.open[START] = StartSlot(START, instance.at, issued=TimerIssued(START, begins))
        instance.draft.timers_set[START] = (begins, 0)
    else:
        _begin_run(instance, method, event)
    return _with(instance, event.also) if event.also is not None else True


def _begin_run(instance: Instance, method: MethodRun, event: events.Started) -> None:
    limit_run(instance)
    _begin(instance, method, event.arguments)


def _with(instance: Instance, also: events.SignalReceived | events.MethodCalled) -> Result:
    """What came along with the start, as if it had come right after it; the start is refused if it is."""
    drain(instance)
    result = ARRIVE[type(also)](instance, also) if not instance.ended else True
    return result if isinstance(result, Refusal) else True


def limit_run(instance: Instance) -> None:
    """Set the timer that limits the run, from now on."""
    if instance.started is not None and instance.started.timeout:
        due = instance.at + instance.started.timeout
        instance.draft.timers_set[RUN_TIMEOUT] = (due, instance.generation)


def _added(instance: Instance, event: events.Started | events.MethodCalled) -> MethodRun:
    """A method that is among the instance's, and has not begun."""
    callers = (event.caller,) if event.caller is not None else ()
    method = MethodRun(instance.method_count, event.method, event.id, callers, event.reply_to)
    instance.method_count += 1
    instance.methods.append(method)
    return method


def _begin(instance: Instance, method: MethodRun, arguments: Raw) -> None:
    """Run a method up to where it first waits."""
    flow = _called(instance, method.name, arguments)
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


def _described(instance: Instance, name: str, arguments: Raw, *, new: bool = False) -> tuple[Definition, Any]:
    """The method's definition and the decoded arguments. Raises `DecodeError` when there is no such method.

    Code may have dropped a parameter that it had before: only in a *new* call an unknown argument is an error.
    """
    definition = instance.program.member(name)
    if definition is None or definition.kind == "query":
        raise DecodeError(f"{instance.program.name} has no method {name!r} {instance.program.known('method')}")
    signature = instance.surroundings.signatures[definition]
    if new:
        signature.check_names(arguments)
    try:
        return definition, signature.decode_arguments(arguments)
    except Exception as error:
        recorded = instance.draft.recorded if not instance.draft.again else None
        if recorded is not None and (recorded.end is None or recorded.end.status != FAILED):
            raise instance.unreadable(name or instance.program.name, error) from None
        raise


def fire(instance: Instance, event: events.TimerFired) -> Result:
    """A timer is due: the workflow's own, one of a task's, or the run's limit."""
    if event.position == RUN_TIMEOUT:
        if instance.ended or event.attempt != instance.generation:
            return False
        run_timed_out(instance)
        return True
    slot = instance.open.get(event.position)
    if isinstance(slot, TimerSlot):
        settle(instance, slot, COMPLETED)
        if isinstance(slot, StartSlot) and instance.started is not None:
            _begin_run(instance, instance.methods[0], instance.started)
        return True
    if event.position.startswith(CLEANUP):
        return _give_up(instance, event.position)
    if attempts.fired(instance, event):
        return True
    if event.position != START:  # which was cancelled
        issued_before(instance, event.position)
    return False


def awaits_timer(instance: Instance, position: str) -> bool:
    """Whether a timer at *position* is yet to fire."""
    if position == RUN_TIMEOUT:
        return not instance.ended
    if position.startswith(CLEANUP):
        return any(_cleanup_of(one) == position for one in instance.methods)
    command, slash, deadline = position.partition("/")
    slot = instance.open.get(command)
    return isinstance(slot, TimerSlot) or (isinstance(slot, TaskSlot) and attempts.awaits(slot, slash + deadline))


def take_signal(instance: Instance, event: events.SignalReceived) -> Result:
    """A signal came: for the first that waits for such a one, else into the mailbox if its channel has one.

    A failed run keeps it for a retry, which applies it anew: whatever today's types are, it keeps what nobody takes.
    """
    signal = events.Signal(event.id, event.channel, event.value)
    if event.id in instance.senders:
        return False
    if instance.ended and instance.status != FAILED:
        return _moves_over(instance, signal) or finished(instance)
    recorded, again = instance.draft.recorded, instance.draft.again
    if recorded is None and not again:
        wrong = _misfit(instance, event)
        if wrong is not None:
            return Refusal("refused", wrong)
    remember(instance, event.id)
    if given(instance, signal if again else event):
        return True
    if again:
        instance.draft.settled += (NOBODY,)
    elif _drops(instance, event.channel) if recorded is None else recorded.dropped:
        instance.draft.dropped = True
        return True
    instance.mailboxes.setdefault(event.channel, []).append(signal)
    return True


def _misfit(instance: Instance, event: events.SignalReceived) -> Exception | None:
    """Why nobody here could read the signal."""
    waiting = instance.receivers.get(event.channel)
    try:
        decode = waiting[0].decode if waiting else _declared(instance, event.channel)
    except Exception as error:
        return as_decode_error(error)
    _, wrong = decoded(decode, event.value)
    return wrong and named(f"channel {event.channel!r}", wrong)


def _moves_over(instance: Instance, signal: events.Signal) -> bool:
    """Whether the run went on as new a moment ago, in this retry: then the next one has the signal."""
    new = instance.draft.continued
    if new is not None:
        remember(instance, signal.id)
        instance.draft.continued = replace(new, signals=(*new.signals, signal), senders=tuple(instance.senders))
    return new is not None


def _declared(instance: Instance, channel: str) -> Callable[[Any], Any]:
    """The decoder of a channel that nobody waits at. Signals for channels of modules are taken as they are."""
    program = instance.program
    if not isinstance(program.definition, type):
        return lambda data: None
    if channel not in program.channels:
        known = ", ".join(sorted(program.channels)) or "none"
        raise DecodeError(f"{program.name} has no channel {channel!r} (it has: {known})")
    return instance.surroundings.codec.decoder(program.channels[channel].type)


def _drops(instance: Instance, channel: str) -> bool:
    """Whether the channel keeps nothing."""
    return not getattr(instance.program.channels.get(channel), "buffered", True)


def call_method(instance: Instance, event: events.MethodCalled) -> Result:
    """A method is called: it runs beside the others."""
    if event.id in instance.senders:
        return _called_before(instance, event)
    if instance.ended:
        return finished(instance)
    try:
        new = instance.draft.recorded is None
        definition, arguments = _described(instance, event.method, event.arguments, new=new)
        if isinstance(definition, Method) and definition.check:
            _validate(instance, definition, arguments)
    except FAILURES as error:
        if not instance.draft.again:  # else its caller believes that it runs: it fails
            return Refusal("refused", error, spoilt=isinstance(error, ReadOnly))
    remember(instance, event.id)
    _begin(instance, _added(instance, event), event.arguments)
    return True


def _validate(instance: Instance, definition: Method[..., Any, Any], arguments: Any) -> None:
    """Raises what the method's validator says against a call that comes for the first time."""
    if instance.draft.recorded is not None or instance.draft.again:
        return
    if read(instance, definition, arguments, definition.check) is not None:
        raise ProtocolError(f"{definition.check}() returned something: a validator raises what it has against a call.")


def _called_before(instance: Instance, event: events.MethodCalled) -> Result:
    """The call runs or has run; a workflow that makes it once more while it runs is told too when it ends."""
    method = next((one for one in instance.methods if one.call_id == event.id), None)
    if method is not None and event.caller is not None and event.caller not in method.callers:
        method.callers += (event.caller,)
        return True
    if method is None and event.id not in instance.calls:
        text = f"{instance.program.name} {instance.workflow_id!r} had this call before, and has forgotten its answer"
        return Refusal("refused", InfiniticError(text))
    return False


def request_cancel(instance: Instance, event: events.CancelRequested) -> Result:
    """The whole instance, or one call of it, is to be cancelled: its methods, and their branches, once."""
    if event.id in instance.senders or event.run not in known_runs(instance):
        return False
    if instance.ended:
        return finished(instance)
    methods = [one for one in instance.methods if not one.cancelling and event.call_id in ("", one.call_id)]
    if not methods:
        return False
    remember(instance, event.id)
    for method in methods:
        _cancel(instance, method)
    return True


def _cancel(instance: Instance, method: MethodRun) -> None:
    """Cancel all branches of a method, which has so long for its cleanup; one that has not begun is over."""
    method.cancelling = True
    if method.branch is None:
        instance.open.pop(START, None)
        instance.draft.clear_timer(START)
        method_ended(instance, method, End("cancelled"))
        return
    limit_cleanup(instance, method)
    for branch in list(instance.branches.values()):
        if branch.method is method:
            cancel_branch(instance, branch)


def limit_cleanup(instance: Instance, method: MethodRun) -> None:
    """Set the timer that limits the cleanup of a method that was cancelled, from now on."""
    if method.cancelling and instance.cleanup_timeout:
        instance.draft.timers_set[_cleanup_of(method)] = (instance.at + instance.cleanup_timeout, 0)


def _cleanup_of(method: MethodRun) -> str:
    return f"{CLEANUP}/{method.ordinal}"


def _give_up(instance: Instance, position: str) -> bool:
    """The cleanup of a method took too long."""
    method = next((one for one in instance.methods if one.cancelling and _cleanup_of(one) == position), None)
    if method is not None:
        give_up(instance, method)
    return method is not None


def change_tags(instance: Instance, event: events.TagsChanged) -> Result:
    """The instance gets and loses tags, while it runs."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return finished(instance)
    remember(instance, event.id)
    instance.tags = instance.draft.tags = changed(instance.tags, event)
    return True


ARRIVE: dict[type, Callable[[Instance, Any], Result]] = {
    events.Started: start,
    events.TaskCompleted: complete_task,
    events.AttemptFailed: fail_attempt,
    events.TaskStarted: said_by_attempt(attempts.begin_attempt),
    events.Heartbeat: said_by_attempt(attempts.beat),
    events.TimerFired: fire,
    events.SignalReceived: take_signal,
    events.MethodCalled: call_method,
    events.TagsChanged: change_tags,
    events.CancelRequested: request_cancel,
    events.TerminateRequested: terminate,
    events.TimersCompleted: complete_timers,
    events.Retried: retry_tasks,
    events.Answered: take_answer,
}
"""What each kind of event does. A `Retried` that takes up a failed run is `replaying.retry`'s; `SuspendRequested` and
`ResumeRequested` are the worker's."""

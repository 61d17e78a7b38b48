"""Operations: what people do to a running instance that its code did not ask for.

As for all that arrives: True is a turn, False changes nothing, a `Refusal` is told to whoever asked.
"""

from __future__ import annotations

from infinitic import events
from infinitic.engine.attempts import next_attempt, watch
from infinitic.engine.ending import end_run
from infinitic.engine.instance import SENDERS, Instance, Refusal
from infinitic.engine.settling import settle
from infinitic.engine.slots import COMPLETED, RUNNING, TaskSlot, TimerSlot
from infinitic.errors import InfiniticError, WorkflowFinished, WorkflowTerminated
from infinitic.history import End
from infinitic.records import TERMINATED
from infinitic.serialization import error_value


def remember(instance: Instance, event_id: str) -> None:
    """Keep the id of what came from outside, so that a repeat changes nothing; of the last 10,000."""
    instance.senders[event_id] = None
    if len(instance.senders) > SENDERS:
        del instance.senders[next(iter(instance.senders))]


def known_runs(instance: Instance) -> tuple[str, str, str]:
    """What this run is known by to those who end or retry it: a parent knows the first of a chain."""
    return ("", instance.run, instance.started.first if instance.started is not None else "")


def finished(instance: Instance) -> Refusal:
    """What is told of an instance that has ended."""
    return Refusal("finished", WorkflowFinished(instance.program.name, instance.workflow_id, instance.status))


def terminated(workflow: str, workflow_id: str, reason: str) -> End:
    """How a run ends that is terminated."""
    return End(TERMINATED, error=error_value(WorkflowTerminated(workflow, workflow_id, reason)))


def terminate(instance: Instance, event: events.TerminateRequested) -> bool | Refusal:
    """The run ends, and no code of it runs for that."""
    if event.id in instance.senders or event.run not in known_runs(instance):
        return False
    if instance.ended:
        return finished(instance)
    remember(instance, event.id)
    end_run(instance, terminated(instance.program.name, instance.workflow_id, event.reason))
    return True


def complete_timers(instance: Instance, event: events.TimersCompleted) -> bool | Refusal:
    """The timers that are waited for are over, as if they were due: all, or those of one method."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return finished(instance)
    meant = [one for one in instance.methods if event.method in ("", one.name, one.call_id)]
    if event.method and not meant:
        known = ", ".join(sorted({one.name for one in instance.methods if one.name})) or "none that has a name"
        text = f"{instance.program.name} {instance.workflow_id!r} runs no method {event.method!r} (it runs: {known})"
        return Refusal("refused", InfiniticError(text))
    paths = tuple(f"m{one.ordinal}." for one in meant)
    timers = [slot for slot in instance.open.values() if type(slot) is TimerSlot and slot.position.startswith(paths)]
    for slot in timers:
        if slot.position in instance.open:  # not lost by one that was completed before
            instance.draft.settled += (slot.position,)
            instance.draft.clear_timer(slot.position)
            settle(instance, slot, COMPLETED)
    if timers:
        remember(instance, event.id)
    return bool(timers)


def retry_tasks(instance: Instance, event: events.Retried) -> bool | Refusal:
    """Tasks that have failed run again, of those whose answer somebody can still await."""
    if event.id in instance.senders:
        return False
    if instance.ended:
        return finished(instance)
    slots = failed_tasks(instance, event)
    if not slots:
        text = f"{instance.program.name} {instance.workflow_id!r} has dispatched no such task that has failed"
        return Refusal("refused", InfiniticError(text))
    remember(instance, event.id)
    for slot in slots:
        again(instance, slot)
    return True


def again(instance: Instance, slot: TaskSlot) -> None:
    """Run a failed task again; attempts and limits begin anew, and whoever awaits it from now on waits for that."""
    slot.status, slot.fresh_error, slot.uncounted = RUNNING, None, slot.attempt
    instance.open[slot.position] = slot
    instance.unseen = tuple(one for one in instance.unseen if one is not slot)
    del instance.failed[slot.position]
    instance.overran.discard(slot.position)
    watch(instance, slot)
    next_attempt(instance, slot)


def failed_tasks(instance: Instance, event: events.Retried) -> list[TaskSlot]:
    """The failed tasks that a retry means, of those that were dispatched."""
    return [
        slot
        for slot in instance.failed.values()
        if event.task in ("", slot.issued.name, slot.label)
        and event.service in ("", slot.issued.service)
        and event.status in ("", "timed_out" if slot.timed_out else "failed")
    ]

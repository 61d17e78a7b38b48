"""Completing: what comes back for a task, a child or a called method, from who runs it or from somebody outside.

As for all that arrives: True is a turn, False changes nothing, a `Refusal` is told to whoever sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from dsl.errors import InvalidId, TaskFailed
from infinitic import events
from infinitic.engine import attempts
from infinitic.engine.instance import Diverged, Instance, Refusal
from infinitic.engine.issuing import decoded
from infinitic.engine.operations import remember
from infinitic.engine.settling import complete, fail, settle
from infinitic.engine.slots import CANCELLED, RemoteSlot, Slot, TaskSlot
from infinitic.errors import Bug, UnknownWorkflow, WorkflowFailed, WorkflowTerminated, WorkflowTimedOut
from infinitic.ids import task_id
from infinitic.serialization import error_value, named, rebuild

Result = bool | Refusal


def complete_task(instance: Instance, event: events.TaskCompleted) -> Result:
    """An attempt of a task returned, or somebody completed it: the first answer wins."""
    slot = _task_of(instance, event)
    if isinstance(slot, TaskSlot):
        if slot.next_at:
            instance.draft.clear_timer(slot.position)
        _answer(instance, slot, event.value)
        return True
    late = slot is None and bool(event.attempt) and event.position in instance.overran
    if late:  # it is recorded, once, and nothing comes of it
        instance.overran.discard(event.position)
    return slot or late


def fail_attempt(instance: Instance, event: events.AttemptFailed) -> Result:
    """An attempt of a task failed, or somebody failed the task."""
    slot = _task_of(instance, event)
    return attempts.fail_attempt(instance, event, slot) if isinstance(slot, TaskSlot) else slot or False


def _task_of(instance: Instance, event: events.TaskCompleted | events.AttemptFailed) -> TaskSlot | Refusal | None:
    """The open task; None when it has its answer; why it is not answered by this."""
    return by_hand(instance, event) if event.attempt == 0 else open_slot(instance, event.position, TaskSlot)


def by_hand(instance: Instance, event: events.TaskCompleted | events.AttemptFailed) -> TaskSlot | Refusal | None:
    """The open task that is meant; None when it has its answer; why it is not answered by this."""
    slot = instance.open.get(event.position)
    if event.id in instance.senders or (slot is None and was_issued(instance, event.position)):
        return None
    if not isinstance(slot, TaskSlot):
        name = instance.program.name
        given = repr(task_id(name, instance.workflow_id, instance.run, event.position))
        expected = f"one of a task that {name} {instance.workflow_id!r} has asked for"
        return Refusal("refused", InvalidId("a task id", given, expected))
    if isinstance(event, events.TaskCompleted) and instance.draft.recorded is None:
        _, error = decoded(slot.decode, event.value)
        if error is not None:
            return Refusal("refused", named(f"the answer of {slot.label}", error))
    remember(instance, event.id)
    return slot


def said_by_attempt(change: Callable[[Instance, Any, TaskSlot], bool]) -> Callable[[Instance, Any], Result]:
    """What an attempt that goes on says *changes* its task, if that is still open."""

    def arrive(instance: Instance, event: Any) -> bool:
        slot = open_slot(instance, event.position, TaskSlot)
        return slot is not None and change(instance, event, slot)

    return arrive


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


def take_answer(instance: Instance, event: events.Answered) -> Result:
    """A child, or a method called on an instance, answered."""
    slot = open_slot(instance, event.position, RemoteSlot)
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
    if event.status == "terminated":
        return WorkflowTerminated(workflow, workflow_id, getattr(cause, "reason", ""))
    return (WorkflowTimedOut if event.status == "timed_out" else WorkflowFailed)(workflow, workflow_id, cause)


def open_slot(instance: Instance, position: str, kind: type[Any]) -> Any:
    """The open slot at *position*; None when it has its answer. Raises `Diverged` if it was never issued."""
    slot = instance.open.get(position)
    if isinstance(slot, kind):
        return slot
    issued_before(instance, position)
    return None


def issued_before(instance: Instance, position: str) -> None:
    """Raises `Diverged` when this history never issued *position*."""
    if not was_issued(instance, position.partition("/")[0]):
        problem = f"an answer came for position {position}, which was never issued"
        instance.divergence = Diverged(Bug(f"{instance.workflow_id}: {problem}"))
        raise instance.divergence


def was_issued(instance: Instance, position: str) -> bool:
    """Whether this history has a command at *position*."""
    known = position.partition("~")[0]
    path, _, number = known.rpartition(".")
    branch = instance.branches.get(path)
    count = branch.counter if branch is not None else instance.counters.get(path, 0)
    return known in instance.voided or (number.isdecimal() and int(number) < count)

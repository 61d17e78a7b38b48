"""Attempts: what becomes of a task's attempts: failures, retries, heartbeats and deadlines.

A task's own timer, at its position, is the next attempt's; each deadline is a timer beside it: `m0.3/total` (of all
attempts), `m0.3/queue` (of the wait for a worker, for each attempt), `m0.3/beat` (of an attempt's silence).
"""

from __future__ import annotations

from dsl.errors import Attempt, TaskFailed, TaskTimedOut, WorkerLost
from infinitic.engine.instance import Instance
from infinitic.engine.settling import fail
from infinitic.engine.slots import TaskSlot, Watch, task_label
from infinitic.events import NULL, AttemptFailed, ErrorValue, Heartbeat, TaskStarted, TimerFired
from infinitic.history import Cancellation, NextAttempt, TaskIssued
from infinitic.serialization import error_value, rebuild

TOTAL, QUEUE, BEAT = "/total", "/queue", "/beat"
LIMITS = {TOTAL: "total_timeout", QUEUE: "queue_timeout", BEAT: "heartbeat"}
"""The option that each deadline comes from."""
FAR = 1 << 62
GRACE = 3
"""A silent attempt has a third of its heartbeat more: its worker says so itself, unless that is gone."""
TEXTS = {
    "timeout": "{} took longer than its timeout of {:g} s",
    "total_timeout": "{} took longer than its total_timeout of {:g} s",
    "queue_timeout": "no worker began {} within its queue_timeout of {:g} s",
    "heartbeat": "{} said nothing for longer than its heartbeat of {:g} s",
}


def overrun(label: str, limit: str, length: float) -> TimeoutError:
    """What is said of a task that broke a *limit*, one of `TEXTS`, of so many microseconds."""
    return TimeoutError(TEXTS[limit].format(label, length / 1_000_000))


def silence(issued: TaskIssued, heartbeat: int) -> ErrorValue:
    """Why an attempt failed whose worker is not heard of any more."""
    return error_value(overrun(task_label(issued), "heartbeat", heartbeat))


# --- deadlines ---


def watch(instance: Instance, slot: TaskSlot, deadlines: tuple[str, ...] = (TOTAL, QUEUE)) -> None:
    """The task begins, or with its last one an attempt: set what it was asked for with of *deadlines*, from now on."""
    for which in deadlines if slot.issued.options else ():
        if LIMITS[which] in slot.issued.options:
            _due(instance, slot, which, slot.issued.options[LIMITS[which]])


def _due(instance: Instance, slot: TaskSlot, which: str, length: int) -> None:
    if not instance.ended:  # then nobody waits any more
        due = _watched(slot).deadlines[which] = instance.at + length
        instance.draft.timers_set[slot.position + which] = (due, 0)


def _watched(slot: TaskSlot) -> Watch:
    slot.watch = slot.watch or Watch()
    return slot.watch


def _clear(instance: Instance, slot: TaskSlot, *deadlines: str) -> None:
    for which in deadlines:
        if slot.watch is not None and slot.watch.deadlines.pop(which, None) is not None:
            instance.draft.clear_timer(slot.position + which)


def watch_all_anew(instance: Instance) -> None:
    """The run was taken up again: all deadlines begin anew."""
    for slot in instance.open.values():
        if isinstance(slot, TaskSlot):
            _watch_anew(instance, slot)


def _watch_anew(instance: Instance, slot: TaskSlot) -> None:
    begun = slot.delegated or _has_begun(slot)
    watch(instance, slot)
    if begun or slot.next_at:
        _clear(instance, slot, QUEUE)
    if begun and slot.watch is not None and slot.watch.heartbeat and not slot.next_at:
        _listen(instance, slot, slot.watch)


def _has_begun(slot: TaskSlot) -> bool:
    return slot.watch is not None and slot.watch.attempt == slot.attempt


# --- what comes of an attempt ---


def begin_attempt(instance: Instance, event: TaskStarted, slot: TaskSlot) -> bool:
    """A worker began the attempt, or once more after the first one died. From now on it must be heard of."""
    if not _is_under_way(slot, event.attempt):
        return False
    if event.delegated:
        return _left_open(instance, slot)
    seen = _watched(slot)
    if seen.attempt == slot.attempt and not event.heartbeat:
        return False
    seen.attempt, seen.worker, seen.began, seen.heartbeat = event.attempt, event.worker, event.began, event.heartbeat
    _clear(instance, slot, QUEUE, BEAT)
    _listen(instance, slot, seen)
    return True


def _is_under_way(slot: TaskSlot, attempt: int) -> bool:
    """Not that of a delegated task whose function has returned: whatever a copy of it says comes too late."""
    return attempt == slot.attempt and not slot.next_at and not slot.delegated


def _left_open(instance: Instance, slot: TaskSlot) -> bool:
    """The function of a delegated task has returned: the task waits for somebody to complete it, silently."""
    slot.delegated = True
    _clear(instance, slot, QUEUE, BEAT)
    if slot.watch is not None:
        slot.watch.heartbeat = slot.watch.heard = 0
    return True


def beat(instance: Instance, event: Heartbeat, slot: TaskSlot) -> bool:
    """An attempt goes on."""
    if not _is_under_way(slot, event.attempt):
        return False
    _keep_details(slot, event)
    _listen(instance, slot, _watched(slot))
    return True


def _listen(instance: Instance, slot: TaskSlot, seen: Watch) -> None:
    seen.heard = instance.at
    if seen.heartbeat:
        _due(instance, slot, BEAT, seen.heartbeat + seen.heartbeat // GRACE)


def _keep_details(slot: TaskSlot, event: Heartbeat | AttemptFailed) -> None:
    if bytes(event.details) != bytes(NULL):
        _watched(slot).details = event.details


def keep_attempt(slot: TaskSlot, event: AttemptFailed) -> None:
    """Remember a failed attempt; one that a worker refused because of a *limit* has not run."""
    _keep_details(slot, event)
    if event.ran:
        slot.attempts += (event,)


def fail_attempt(instance: Instance, event: AttemptFailed, slot: TaskSlot) -> bool:
    """An attempt failed: there is another one, now or later, or the task has failed. By hand (0), whichever it is."""
    if event.attempt and not _is_under_way(slot, event.attempt):
        return False
    if slot.next_at:
        instance.draft.clear_timer(slot.position)
    keep_attempt(slot, event)
    _clear(instance, slot, QUEUE, BEAT)
    copied = event.limit == "queue_timeout" and _has_begun(slot)  # its worker is gone, and the next one refused it
    if event.retry_in is None and not copied:
        if event.limit:
            instance.overran.add(slot.position)
        fail(instance, slot, lambda: task_failed(slot, event))
    elif not event.retry_in:
        next_attempt(instance, slot)
    else:
        slot.next_at = instance.at + event.retry_in
        instance.draft.timers_set[slot.position] = (slot.next_at, slot.attempt)
    return True


def next_attempt(instance: Instance, slot: TaskSlot, *, lost: bool = False) -> None:
    """Send the task once more. *lost*: the attempt before fell silent, and nobody has asked the policy."""
    slot.next_at, slot.delegated = 0, False
    slot.attempt += 1
    instance.draft.timers_set.pop(slot.position, None)
    _clear(instance, slot, BEAT)
    watch(instance, slot, (QUEUE,))
    instance.draft.send(NextAttempt(slot.position, slot.attempt, slot.uncounted, lost), slot)


def task_failed(slot: TaskSlot, last: AttemptFailed) -> TaskFailed:
    """The error of a task that failed for good, with all its attempts."""
    attempts = _attempts(slot)
    error = attempts[-1].error if last in slot.attempts else rebuild(last.error)
    if last.timed_out:
        return TaskTimedOut(slot.label, error, attempts, last.limit or "timeout")
    if last.error.type == "dsl.errors:WorkerLost":
        return WorkerLost(slot.label, error.error if isinstance(error, WorkerLost) else error, attempts)
    return TaskFailed(slot.label, error, attempts)


def _attempts(slot: TaskSlot) -> tuple[Attempt, ...]:
    return tuple(Attempt(one.attempt, rebuild(one.error), one.worker, one.began, one.ended) for one in slot.attempts)


# --- deadlines that pass ---


def fired(instance: Instance, event: TimerFired) -> bool:
    """One of a task's timers is due: its next attempt's, or a deadline."""
    position, slash, which = event.position.partition("/")
    slot = instance.open.get(position)
    if not isinstance(slot, TaskSlot):
        return False
    if slash:
        deadlines = slot.watch.deadlines if slot.watch is not None else {}
        if instance.at < deadlines.get(slash + which, FAR):  # it was moved meanwhile, or is gone
            return False
        del deadlines[slash + which]  # its row goes once what comes of it is sent, as every timer's
        if slash + which == BEAT:
            _silent(instance, slot)
        else:
            _too_late(instance, slot, LIMITS[slash + which])
    elif slot.next_at and slot.attempt == event.attempt:
        next_attempt(instance, slot)
    else:
        return False
    return True


def awaits(slot: TaskSlot, deadline: str) -> bool:
    """Whether the task's timer for *deadline*, "" for the next attempt's, is yet to fire."""
    return deadline in slot.watch.deadlines if deadline and slot.watch is not None else bool(slot.next_at)


def _too_late(instance: Instance, slot: TaskSlot, limit: str) -> None:
    """The task has failed whatever its attempts do; the one that is under way is told."""
    if slot.next_at:
        instance.draft.clear_timer(slot.position)
    else:
        instance.draft.send(Cancellation(slot.position), slot)
    instance.overran.add(slot.position)
    length = slot.issued.options[limit]
    fail(instance, slot, lambda: TaskTimedOut(slot.label, overrun(slot.label, limit, length), _attempts(slot), limit))


def _silent(instance: Instance, slot: TaskSlot) -> None:
    """The attempt's worker is gone: the next attempt asks the policy whether it may run."""
    seen = _watched(slot)
    error = silence(slot.issued, seen.heartbeat)
    said = slot.attempt, 0, True, seen.worker, seen.began, instance.at
    slot.attempts += (AttemptFailed("", slot.position, error, *said),)
    next_attempt(instance, slot, lost=True)

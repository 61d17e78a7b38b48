"""Ends: how branches, methods and runs end, and what callers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from infinitic.engine.branches import Branch, MethodRun, raised_stack
from infinitic.engine.instance import CALLS, Instance
from infinitic.engine.settling import complete, fail, settle
from infinitic.engine.slots import CANCELLED as SLOT_CANCELLED
from infinitic.engine.slots import RemoteSlot, TaskSlot
from infinitic.events import NULL, ErrorValue, Started
from infinitic.history import Answer, Cancellation, End
from infinitic.records import CANCELLED, COMPLETED, CONTINUED, FAILED, CallRecord
from infinitic.serialization import error_value


def branch_ended(instance: Instance, branch: Branch, finish: Callable[[], None]) -> None:
    """The branch's code is over; *finish* settles it, once its compensations are done."""
    branch.waiting = None
    if branch.undos:
        branch.outcome = finish
        return
    instance.branches.pop(branch.path, None)
    instance.counters[branch.path] = branch.counter
    finish()
    if branch.undoes is not None:
        _undone(instance, branch.undoes)


def _undone(instance: Instance, branch: Branch) -> None:
    branch.undos -= 1
    if branch.outcome is not None and not branch.undos:
        branch_ended(instance, branch, branch.outcome)


def branch_returned(instance: Instance, branch: Branch, value: Any) -> None:
    """The branch's code returned *value*."""
    method = branch.method
    if method.branch is not branch:
        branch_ended(instance, branch, lambda: complete(instance, branch.slot, value))
        return
    try:
        data = Raw(instance.surroundings.codec.encode(value))
    except Exception as error:
        branch_raised(instance, branch, error)
        return
    branch_ended(instance, branch, lambda: method_ended(instance, method, COMPLETED, data, None))


def branch_raised(instance: Instance, branch: Branch, error: BaseException) -> None:
    """The branch's code raised *error*."""
    method = branch.method
    if method.branch is not branch:
        traceback = error.__traceback__
        branch_ended(
            instance, branch, lambda: fail(instance, branch.slot, lambda: error.with_traceback(traceback))
        )
        return
    stack = raised_stack(error, instance.surroundings.source)
    branch_ended(
        instance, branch, lambda: method_ended(instance, method, FAILED, NULL, error_value(error, stack=stack))
    )


def branch_cancelled(instance: Instance, branch: Branch) -> None:
    """The branch's code let `Cancelled` through."""
    method = branch.method
    if method.branch is not branch:
        branch_ended(instance, branch, lambda: settle(instance, branch.slot, SLOT_CANCELLED))
        return
    branch_ended(instance, branch, lambda: method_ended(instance, method, CANCELLED, NULL, None))


def method_ended(
    instance: Instance, method: MethodRun, status: str, value: Raw, error: ErrorValue | None
) -> None:
    """A method ended: its caller is told; the run ends with its last method, or when its first one fails."""
    instance.methods.pop(method.ordinal, None)
    answer(instance, method, status, value, error)
    if method.ordinal == 0 and status == FAILED:
        end_run(instance, End(FAILED, error=error))
    elif not instance.methods and not instance.ended:
        main = instance.calls[""]
        end_run(instance, End(main.status, main.value, main.error))


def answer(
    instance: Instance, method: MethodRun, status: str, value: Raw = NULL, error: ErrorValue | None = None
) -> None:
    """Tell whoever called the method, and remember it for those who ask again."""
    call_id = "" if method.ordinal == 0 else method.call_id
    record_call(instance, CallRecord(call_id, method.name, status, value, error))
    if method.caller is not None or method.reply_to:
        instance.draft.sends.append(Answer(call_id, status, value, error, method.caller, method.reply_to))


def record_call(instance: Instance, record: CallRecord) -> None:
    """Remember how a call ended: the run's own always, of the others the last hundred."""
    instance.calls[record.call_id] = record
    if len(instance.calls) > CALLS + 1:
        del instance.calls[next(key for key in instance.calls if key)]


def end_run(instance: Instance, end: End) -> None:
    """The run is over: what still runs is dropped, who still waits is told, what is open is cancelled or runs on."""
    instance.status = end.status
    instance.end = end
    instance.ended_at = instance.at
    for method in list(instance.methods.values()):
        answer(instance, method, FAILED if end.status == FAILED else CANCELLED, NULL, end.error)
    instance.methods.clear()
    drop_branches(instance)
    if end.status in (CANCELLED, CONTINUED):
        cancel_open(instance)
    keep_under_way(instance)


def drop_branches(instance: Instance) -> None:
    """Close all generators; what their cleanup asks for is ignored."""
    instance.ready.clear()
    for branch in list(instance.branches.values()):
        instance.counters[branch.path] = branch.counter
    close_generators(instance)
    instance.branches.clear()


def close_generators(instance: Instance) -> None:
    """Close what is suspended, in a mode in which its cleanup can change nothing."""
    mode, instance.mode = instance.mode, "evicting"
    for branch in instance.branches.values():
        if not getattr(branch.generator, "gi_running", getattr(branch.generator, "cr_running", False)):
            close_quietly(branch.generator)
    instance.mode = mode


def close_quietly(generator: Any) -> None:
    """Close a generator or coroutine whatever its cleanup yields or raises."""
    for _ in range(100):
        try:
            generator.close()
        except RuntimeError:  # it yielded: go on closing
            continue
        except BaseException:
            pass
        return


def cancel_open(instance: Instance) -> None:
    """Cancel all tasks, children and calls that are under way."""
    for slot in list(instance.open.values()):
        if isinstance(slot, TaskSlot | RemoteSlot):
            instance.draft.send(Cancellation(slot.position), slot)
    instance.open.clear()


def keep_under_way(instance: Instance) -> None:
    """After the end only tasks, children and calls stay open; of the timers only those of retries."""
    kept = {position: slot for position, slot in instance.open.items() if isinstance(slot, TaskSlot | RemoteSlot)}
    instance.open = kept
    instance.receivers.clear()
    draft = instance.draft
    draft.timers_cleared.clear()
    draft.timers_set = {
        slot.position: (slot.next_at, slot.attempt)
        for slot in kept.values()
        if isinstance(slot, TaskSlot) and slot.next_at
    }


def run_timed_out(instance: Instance) -> None:
    """The run took longer than its timeout."""
    assert instance.started is not None
    seconds = instance.started.timeout / 1_000_000
    error = error_value(TimeoutError(f"the run took longer than its timeout of {seconds:g} s"))
    main = next((one for one in instance.methods.values() if one.ordinal == 0), None)
    if main is not None:
        instance.methods.pop(0)
        answer(instance, main, "timed_out", NULL, error)
    cancel_open(instance)
    end_run(instance, End(FAILED, error=error, timed_out=True))


def continue_run(instance: Instance, started: Started) -> None:
    """The run ends in favour of the next, which keeps its waiters."""
    instance.methods.clear()
    instance.draft.continued = started
    end_run(instance, End(CONTINUED))



"""Ends: how branches, methods and runs end, and what callers are told."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from msgspec import Raw

from infinitic.engine.branches import Branch, MethodRun, chain_of, discard, raised_stack
from infinitic.engine.instance import CALLS, EVICTING, Instance
from infinitic.engine.settling import fail, interrupt, settle, unseen, withdraw
from infinitic.engine.slots import RUNNING, RemoteSlot, TaskSlot
from infinitic.errors import EncodeError
from infinitic.events import NULL, ErrorValue
from infinitic.history import Answer, AnyIssued, Cancellation, ChildIssued, End, Termination
from infinitic.records import CANCELLED, COMPLETED, CONTINUED, FAILED, TERMINATED, CallRecord
from infinitic.serialization import error_value

ATTEMPTS = 1_000


def branch_ended(
    instance: Instance, branch: Branch, status: str, value: Any = None, error: BaseException | None = None
) -> None:
    """The branch's code is over: it returned *value* or raised *error*. It settles once no cleanup holds it."""
    main = branch.method.branch
    if main is branch and status == COMPLETED:
        try:
            value = Raw(instance.surroundings.codec.encode(value))
        except EncodeError as unfit:
            status, error = FAILED, EncodeError(unfit.message, unfit.path)
        except Exception as unfit:
            status, error = FAILED, unfit
    branch.outcome = (status, value, error)
    if not branch.held:
        _finish(instance, branch, status, value, error)
    if branch.fatal is not None and main.fatal is None:  # a wrong yield fails the method, whatever that is at
        main.fatal = branch.fatal
        interrupt(instance, main)


def _finish(instance: Instance, branch: Branch, status: str, value: Any, error: BaseException | None) -> None:
    del instance.branches[branch.position]
    instance.counters[branch.position] = branch.counter
    if branch.method.branch is branch:
        branch.status = status
        method_ended(
            instance, branch.method, End(status, value if status == COMPLETED else NULL, _told(instance, error))
        )
    elif error is not None:
        traceback = error.__traceback__
        fail(instance, branch, lambda: error.with_traceback(traceback))
    else:
        branch.value = value
        settle(instance, branch, status)
    for holder in branch.holds:
        holder.held -= 1
        if holder.outcome is not None and holder.status == RUNNING and not holder.held:
            _finish(instance, holder, *holder.outcome)


def _told(instance: Instance, error: BaseException | None) -> ErrorValue | None:
    return error_value(error, stack=raised_stack(error, instance.surroundings.source)) if error is not None else None


def method_ended(instance: Instance, method: MethodRun, end: End) -> None:
    """The method's caller is told; the run ends with its last method, or when its first one fails."""
    instance.methods.remove(method)
    answer(instance, method, end)
    if method.ordinal == 0 and end.status == FAILED:
        end_run(instance, end)
    elif not instance.methods:
        main = instance.calls[""]
        end_run(instance, End(main.status, main.value, main.error))


def answer(instance: Instance, method: MethodRun, end: End) -> None:
    """Tell whoever called the method. For those who ask again, the run's own and the last hundred are kept."""
    call_id, told = method.call_id if method.ordinal else "", (end.status, end.value, end.error)
    instance.calls[call_id] = CallRecord(call_id, method.name, *told)
    if len(instance.calls) > CALLS + 1:
        del instance.calls[next(key for key in instance.calls if key)]
    first, *others = method.callers or (None,)
    if first is not None or method.reply_to:
        instance.draft.sends += (Answer(call_id, *told, first, method.reply_to),)
    instance.draft.sends += tuple(Answer(call_id, *told, one) for one in others)


def end_run(instance: Instance, end: End) -> None:
    """The run is over: what runs is dropped, who waits is told, what is open is cancelled or runs on."""
    instance.status, instance.end, instance.ended_at = end.status, end, instance.at
    told = end.status if end.status in (FAILED, TERMINATED) else CANCELLED
    for method in instance.methods:
        answer(instance, method, End(told, error=end.error))
    instance.methods.clear()
    instance.ready.clear()
    close_branches(instance)
    for slot in instance.unseen:
        unseen(instance, slot)
    instance.unseen = ()
    keep_under_way(instance, cancelled=end.status in (CANCELLED, CONTINUED, TERMINATED))


def close_branches(instance: Instance) -> None:
    """Give up all branches: their generators are closed, and nothing of their cleanup has any effect."""
    for branch in instance.branches.values():
        instance.counters[branch.position] = branch.counter
        close_quietly(instance, branch.generator)
    instance.branches.clear()


def close_quietly(instance: Instance, generator: Any) -> None:
    """Close a generator or coroutine: whatever its cleanup yields, raises or asks for has no effect."""
    # from the innermost out, because one that delegates would leave half closed what yields in its cleanup
    mode, instance.mode = instance.mode, EVICTING
    try:
        for _ in range(ATTEMPTS):
            chain = chain_of(generator)
            if not chain or getattr(chain[-1], "gi_running", False) or getattr(chain[-1], "cr_running", False):
                return
            with suppress(BaseException):
                discard(chain[-1].throw(GeneratorExit()))
    finally:
        instance.mode = mode


def keep_under_way(instance: Instance, cancelled: bool) -> None:
    """Of what is open, tasks, children and calls run on, if they are not cancelled; of the timers, retries'.

    What becomes of a child is for its own policy to say, where it has one.
    """
    draft, slots = instance.draft, list(instance.open.values())
    instance.open.clear()
    instance.receivers.clear()
    draft.timers_cleared = ()
    draft.timers_set.clear()
    for slot in slots:
        slot.observers = ()
        if not isinstance(slot, TaskSlot | RemoteSlot):
            continue
        policy = parent_close(slot.issued, cancelled=cancelled)
        if policy != "abandon":
            draft.send((Termination if policy == "terminate" else Cancellation)(slot.position), slot)
            if instance.status != FAILED:  # else a retry may yet ask what became of it
                continue
        instance.open[slot.position] = slot
        if isinstance(slot, TaskSlot) and slot.watch is not None:
            slot.watch.deadlines.clear()
        if isinstance(slot, TaskSlot) and slot.next_at:
            draft.timers_set[slot.position] = (slot.next_at, slot.attempt)


def parent_close(issued: AnyIssued, *, cancelled: bool) -> str:
    """What becomes of an open command when its run ends: "abandon", "cancel" or "terminate"."""
    default = "cancel" if cancelled else "abandon"
    return str(issued.options.get("parent_close", default)) if isinstance(issued, ChildIssued) else default


def give_up(instance: Instance, method: MethodRun) -> None:
    """End a method that was cancelled, whatever it is at: its cleanup took too long."""
    for branch in [one for one in instance.branches.values() if one.method is method]:
        withdraw(instance, branch)
        del instance.branches[branch.position]
        instance.counters[branch.position] = branch.counter
        close_quietly(instance, branch.generator)
        settle(instance, branch, CANCELLED)
    method_ended(instance, method, End(CANCELLED))


def run_timed_out(instance: Instance) -> None:
    """The run took longer than its timeout: it fails, unless its first method has ended before."""
    assert instance.started is not None
    main = instance.calls.get("")
    if main is not None:
        end_run(instance, End(main.status, main.value, main.error))
        return
    seconds = instance.started.timeout / 1_000_000
    error = error_value(TimeoutError(f"the run took longer than its timeout of {seconds:g} s"))
    answer(instance, instance.methods.pop(0), End("timed_out", error=error))
    end_run(instance, End(FAILED, error=error, timed_out=True))

"""Settling: a slot gets its answer, what observes it moves on, and what lost is withdrawn or cancelled.

Nothing runs here: branches that can go on are put into the instance's queue.
"""

from __future__ import annotations

from typing import Any

from infinitic.engine.branches import Branch
from infinitic.engine.instance import Instance
from infinitic.engine.joins import CANCEL
from infinitic.engine.slots import (
    CANCELLED,
    COMPLETED,
    FAILED,
    RUNNING,
    BranchSlot,
    Fresh,
    JoinSlot,
    ReceiveSlot,
    RemoteSlot,
    Slot,
    TaskSlot,
    TimerSlot,
)
from infinitic.history import Cancellation


def complete(instance: Instance, slot: Slot, value: Any) -> None:
    """The slot has its answer."""
    slot.value = value
    settle(instance, slot, COMPLETED)


def fail(instance: Instance, slot: Slot, fresh: Fresh) -> None:
    """The slot has failed; *fresh* makes the error anew each time it is thrown."""
    slot.fresh_error = fresh
    if not slot.observers and not slot.owned:
        instance.draft.unawaited.append((slot.position, fresh()))
    settle(instance, slot, FAILED)


def settle(instance: Instance, slot: Slot, status: str) -> None:
    """Give the slot its final status and tell all that observe it."""
    slot.status = status
    instance.open.pop(slot.position, None)
    observers, slot.observers = slot.observers, []
    for observer in observers:
        if isinstance(observer, Branch):
            observer.waiting = None
            instance.ready.append((observer, slot))
        else:
            joined(instance, *observer)


def joined(instance: Instance, join: JoinSlot, index: int) -> None:
    """The combinator learns that its item *index* has settled; -1 looks whether it is complete as it is."""
    if join.status != RUNNING or not join.rule(join, index):
        return
    for item in join.items:
        lose(instance, item, join.losers)
    settle(instance, join, join.status)


def lose(instance: Instance, slot: Slot, losers: str) -> None:
    """A command that a combinator owns has lost: timers and receives go, tasks and children as *losers* says."""
    if slot.status != RUNNING or not slot.owned:
        return
    if isinstance(slot, JoinSlot):
        slot.status = CANCELLED
        for item in slot.items:
            lose(instance, item, losers)
    elif isinstance(slot, TimerSlot | ReceiveSlot):
        withdraw(instance, slot)
    elif losers == CANCEL:
        cancel(instance, slot)


def withdraw(instance: Instance, slot: Slot) -> None:
    """A timer or a receive is no longer wanted."""
    slot.status = CANCELLED
    instance.open.pop(slot.position, None)
    if isinstance(slot, TimerSlot):
        instance.draft.timers_cleared.append(slot.position)
    elif isinstance(slot, ReceiveSlot):
        instance.receivers[slot.channel].remove(slot)


def cancel(instance: Instance, slot: Slot) -> None:
    """Cancel what the slot stands for: a task at once, a branch at its next yield, a child when it answers."""
    if slot.status != RUNNING:
        return
    if isinstance(slot, BranchSlot):
        cancel_branch(instance, slot.branch)
    elif isinstance(slot, RemoteSlot):
        instance.draft.send(Cancellation(slot.position), slot)
    elif isinstance(slot, JoinSlot):
        for item in slot.items:
            lose(instance, item, CANCEL)
        settle(instance, slot, CANCELLED)
    elif isinstance(slot, TaskSlot):
        instance.draft.send(Cancellation(slot.position), slot)
        if slot.next_at:
            instance.draft.timers_cleared.append(slot.position)
        settle(instance, slot, CANCELLED)
    else:
        withdraw(instance, slot)
        settle(instance, slot, CANCELLED)


def cancel_branch(instance: Instance, branch: Branch) -> None:
    """Have `Cancelled` thrown at the branch's current yield; at its next one when it is executing just now."""
    if branch.shielded or branch.path not in instance.branches or branch.outcome is not None:
        return
    branch.cancelling = True
    slot, branch.waiting = branch.waiting, None
    if slot is not None:
        slot.observers.remove(branch)
        lose(instance, slot, CANCEL)
        instance.ready.append((branch, None))

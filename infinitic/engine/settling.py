"""Settling: a slot gets its answer, what observes it moves on, and what lost is withdrawn or cancelled.

Nothing runs here: branches that can go on are put into the instance's queue.
"""

from __future__ import annotations

from typing import Any

from infinitic.engine import slots
from infinitic.engine.branches import Branch
from infinitic.engine.instance import Instance
from infinitic.engine.joins import CANCEL
from infinitic.engine.slots import CANCELLED, COMPLETED, FAILED, RUNNING, Fresh, JoinSlot, RemoteSlot, Slot, TaskSlot
from infinitic.history import Cancellation


def complete(instance: Instance, slot: Slot, value: Any = None) -> Slot:
    """The slot, now that it has its answer."""
    slot.value = value
    settle(instance, slot, COMPLETED)
    return slot


def fail(instance: Instance, slot: Slot, fresh: Fresh) -> None:
    """The slot has failed; *fresh* makes the error anew each time it is thrown."""
    slot.fresh_error = fresh
    if isinstance(slot, TaskSlot) and not slot.owned:
        instance.failed[slot.position] = slot
    if not slot.owned and not slot.observers:
        unseen(instance, slot)
    settle(instance, slot, FAILED)


def unseen(instance: Instance, slot: Slot) -> None:
    """Remember a failure that nobody waits for: it is told when the run ends and nobody has come to look."""
    if instance.end is not None:
        instance.draft.unawaited += ((slot.position, slot.error()),)
    else:
        instance.unseen += (slot,)


def settle(instance: Instance, slot: Slot, status: str) -> None:
    """Give the slot its final status and tell all that observe it."""
    slot.status = status
    instance.open.pop(slot.position, None)
    if isinstance(slot, TaskSlot) and slot.watch is not None:
        for which in slot.watch.deadlines:
            instance.draft.clear_timer(slot.position + which)
    observers, slot.observers = slot.observers, ()
    for observer in observers:
        if isinstance(observer, Branch):
            observer.waiting = None
            instance.ready.append((observer, slot))
        else:
            joined(instance, *observer)


def joined(instance: Instance, join: JoinSlot, index: int) -> None:
    """The combinator learns that its item *index* has settled; -1 looks whether it is complete as it is."""
    if join.status == RUNNING and join.rule(join, index):
        _let_go(instance, join, join.losers)
        settle(instance, join, join.status)


def _let_go(instance: Instance, join: JoinSlot, losers: str) -> None:
    """What the combinator still waited for has lost, and is no longer observed."""
    for index, item in enumerate(join.items):
        if item.status == RUNNING:
            item.observers = tuple(one for one in item.observers if one != (join, index))
            lose(instance, item, losers)


def lose(instance: Instance, slot: Slot, losers: str) -> None:
    """A command that its combinator owns has lost: timers and receives go, the rest as *losers* says."""
    if slot.status != RUNNING or not slot.owned:
        return
    if isinstance(slot, JoinSlot):
        slot.status = CANCELLED
        _let_go(instance, slot, losers)
    elif losers == CANCEL or isinstance(slot, slots.TimerSlot | slots.ReceiveSlot):
        cancel(instance, slot)


def cancel(instance: Instance, slot: Slot) -> None:
    """Cancel what the slot stands for: a task at once, a branch at its next yield, a child when it answers."""
    if slot.status != RUNNING:
        return
    if isinstance(slot, Branch):
        cancel_branch(instance, slot)
        return
    if isinstance(slot, TaskSlot | RemoteSlot):
        instance.draft.send(Cancellation(slot.position), slot)
    if isinstance(slot, RemoteSlot):
        return
    if isinstance(slot, slots.TimerSlot) or (isinstance(slot, TaskSlot) and slot.next_at):
        instance.draft.clear_timer(slot.position)
    elif isinstance(slot, slots.ReceiveSlot):
        instance.receivers[slot.channel].remove(slot)
    elif isinstance(slot, JoinSlot):
        slot.status = CANCELLED
        _let_go(instance, slot, CANCEL)
    settle(instance, slot, CANCELLED)


def cancel_branch(instance: Instance, branch: Branch) -> None:
    """Have `Cancelled` thrown at the branch's current yield; at its next one when it is executing just now."""
    if branch.shielded or branch.status != RUNNING:
        return
    branch.cancelling = True
    hold(branch, branch.method.branch)  # so that its cleanup is done when the method settles
    interrupt(instance, branch)


def interrupt(instance: Instance, branch: Branch) -> None:
    """Take the branch from what it waits for, which has lost by that, and have it go on."""
    if withdraw(instance, branch):
        instance.ready.append((branch, None))


def withdraw(instance: Instance, branch: Branch) -> bool:
    """What the branch waits for has lost; whether it waited."""
    slot, branch.waiting = branch.waiting, None
    if slot is not None:
        slot.observers = tuple(one for one in slot.observers if one is not branch)
        lose(instance, slot, CANCEL)
    return slot is not None


def hold(branch: Branch, *holders: Branch) -> None:
    """None of *holders* settles before *branch* has."""
    for holder in holders:
        if holder is not branch and holder not in branch.holds:
            branch.holds += (holder,)
            holder.held += 1

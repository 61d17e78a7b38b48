"""The rules of combinators: given the item that just settled, whether the whole settles, and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsl.combinators import All, First, Gather, Outcome, Race, Settle, Timeout
from infinitic.engine.slots import COMPLETED, FAILED, JoinSlot, Slot

RUN_ON, CANCEL = "run on", "cancel"


def _fails(join: JoinSlot, item: Slot) -> bool:
    join.status, join.fresh_error = FAILED, item.error
    return True


def _completes(join: JoinSlot, value: Any) -> bool:
    join.status, join.value = COMPLETED, value
    return True


def gather(join: JoinSlot, index: int) -> bool:
    """All answers, or the first failure."""
    if index >= 0:
        if join.items[index].status != COMPLETED:
            return _fails(join, join.items[index])
        join.left -= 1
    return join.left == 0 and _completes(join, tuple(item.value for item in join.items))


def first(join: JoinSlot, index: int) -> bool:
    """The first answer, or the last failure."""
    item = join.items[index]
    if item.status == COMPLETED:
        return _completes(join, item.value)
    join.left -= 1
    return join.left == 0 and _fails(join, item)


def race(join: JoinSlot, index: int) -> bool:
    """The first to settle, by name."""
    item = join.items[index]
    return _completes(join, (join.names[index], item.value)) if item.status == COMPLETED else _fails(join, item)


def settle(join: JoinSlot, index: int) -> bool:
    """An outcome of each."""
    if index >= 0:
        join.left -= 1
    return join.left == 0 and _completes(join, tuple(_outcome(item) for item in join.items))


def _outcome(item: Slot) -> Outcome[Any]:
    return Outcome(item.value) if item.status == COMPLETED else Outcome(error=item.error())


def timeout(join: JoinSlot, index: int) -> bool:
    """The item's end, or a TimeoutError."""
    item = join.items[index]
    if index == 0:
        return _completes(join, item.value) if item.status == COMPLETED else _fails(join, item)
    join.status = FAILED
    join.fresh_error = lambda: TimeoutError("timeout() was first: what it waited for took longer")
    return True


RULES: dict[type, tuple[Callable[[JoinSlot, int], bool], str]] = {
    Gather: (gather, RUN_ON),
    All: (gather, RUN_ON),
    First: (first, RUN_ON),
    Race: (race, CANCEL),
    Settle: (settle, RUN_ON),
    Timeout: (timeout, CANCEL),
}

"""The state record of a live instance: what anyone can read of it with no worker alive. Bounded in size."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from infinitic.engine.attempts import LIMITS
from infinitic.engine.branches import Branch, stack_of
from infinitic.engine.instance import Instance
from infinitic.engine.slots import ReceiveSlot, RemoteSlot, Slot, TaskSlot, TimerSlot, Watch
from infinitic.events import NULL, Frame
from infinitic.records import StateRecord, Wait
from infinitic.serialization import type_name

WAITS = 20
STARTS = 100


def state_record(instance: Instance, starts: tuple[str, ...] = ()) -> StateRecord:
    """The record as of the last turn. *starts* are the ids of the starts that the instance has seen."""
    started = instance.started
    assert started is not None
    main = instance.calls.get("")
    end = instance.end
    waiting = instance.open if end is None else {}
    return StateRecord(
        workflow=instance.program.name,
        workflow_id=instance.workflow_id,
        run=instance.run,
        status=instance.status,
        version=started.version,
        method=started.method,
        tags=instance.tags,
        meta=started.meta,
        caller=started.caller,
        root=started.root,
        started=instance.began,
        updated=instance.at,
        ended=instance.ended_at,
        turns=instance.turns,
        reply_to=started.reply_to,
        value=main.value if main is not None else NULL,
        error=end.error if end is not None else main.error if main is not None else None,
        timed_out=end.timed_out if end is not None else False,
        waits=tuple(wait(instance, slot) for slot in islice(waiting.values(), WAITS)),
        waiting=len(waiting),
        buffered={name: len(mailbox) for name, mailbox in instance.mailboxes.items() if mailbox},
        calls=tuple(instance.calls.values()),
        open_calls=tuple(one.call_id for one in islice(instance.methods, STARTS) if one.ordinal),
        starts=starts[-STARTS:],
        late=len(instance.open) - len(waiting),
        retries=instance.generation,
        retention=instance.program.retention if started.retention is None else started.retention,
    )


def wait(instance: Instance, slot: Slot) -> Wait:
    """What the instance waits for with one open slot, and where in the source."""
    last = slot.attempts[-1].error if isinstance(slot, TaskSlot) and slot.attempts else None
    return Wait(
        position=slot.position,
        kind=slot.kind,
        name=slot.label,
        since=slot.since,
        attempt=slot.attempt if isinstance(slot, TaskSlot) else 0,
        next_at=slot.next_at if isinstance(slot, TaskSlot) else slot.issued.due if isinstance(slot, TimerSlot) else 0,
        error=last and msgspec.structs.replace(last, cause=None, traceback="", stack=last.stack[-3:]),
        stack=_stack(instance, slot),
        workflow_id=slot.issued.workflow_id if isinstance(slot, RemoteSlot) else "",
        delegated=isinstance(slot, TaskSlot) and slot.delegated,
        expects=type_name(slot.receive.type or slot.receive.channel.type) if isinstance(slot, ReceiveSlot) else "",
        which=slot.receive.which if isinstance(slot, ReceiveSlot) else "",
        **(_watched(slot) if isinstance(slot, TaskSlot) and slot.watch is not None else {}),
    )


def _watched(slot: TaskSlot) -> dict[str, Any]:
    """When a task breaks its limits, and when its attempt was heard of."""
    seen = slot.watch or Watch()
    deadlines = {LIMITS[which]: due for which, due in seen.deadlines.items()}
    return {"deadlines": deadlines, "heard": seen.heard if seen.attempt == slot.attempt and not slot.next_at else 0}


def _stack(instance: Instance, slot: Slot) -> tuple[Frame, ...]:
    """Where the code waits for this slot; kept until its branch moves."""
    branch = _waiter(slot)
    if branch is not None and branch.stack is None:
        branch.stack = stack_of(branch.generator, instance.surroundings.source)
    return (branch.stack if branch is not None else None) or ()


def _waiter(slot: Slot) -> Branch | None:
    """The branch that waits for the slot, directly or through combinators and branches."""
    for observer in slot.observers:
        if isinstance(observer, Branch):
            return observer
        join, _ = observer
        found = _waiter(join)
        if found is not None:
            return found
    return None

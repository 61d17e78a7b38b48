"""Marks: up to which turn an instance's outputs are known to be sent; written with the next append, or alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from infinitic.backends import Backend
from infinitic.records import Append, Mark
from infinitic.worker.changes import Change, expiry
from infinitic.worker.held import Held


def move_mark(held: Held, change: Change, marks: bool) -> bool:
    """The change was committed, and its outputs with it; whether the stored mark is behind now."""
    assert change.version is not None
    held.stored_mark = gone = held.mark
    held.mark = Mark(change.version.run, change.version.turns)
    if not marks:
        return False
    held.fired = [one for one in held.fired if one[1] == gone.run and one[0] >= gone.turns] + change.fired
    return held.mark != held.stored_mark


def write_marks(backend: Backend, held: Sequence[tuple[str, Held]], token: str, retention: int) -> Iterable[str]:
    """Write the marks that are behind, in one round trip; the ids of those that another worker has moved."""
    behind = {workflow_id: one for workflow_id, one in held if one.mark != one.stored_mark}
    appends = [_append(workflow_id, one, token, retention) for workflow_id, one in behind.items()]
    won = backend.storage.append(appends) if appends else []  # a worker of services alone has none
    for (workflow_id, one), wins in zip(behind.items(), won, strict=True):
        if wins:
            one.stored_mark, one.fired = one.mark, []
        else:
            yield workflow_id


def _append(workflow_id: str, held: Held, token: str, retention: int) -> Append:
    return Append(
        workflow=held.record.workflow if held.record is not None else "",
        workflow_id=workflow_id,
        expected=held.version,
        version=held.version,
        token=token,
        mark=held.mark,
        timers_cleared=tuple((run, position) for _, run, position in held.fired),
        expires=expiry(held.record, retention),
    )

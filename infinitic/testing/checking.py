"""Checking: a history is replayed from its bytes, and must come to the same as when it was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infinitic.engine import turns
from infinitic.engine.instance import Diverged, Instance, Surroundings
from infinitic.engine.programs import Program
from infinitic.errors import NonDeterminismError, PayloadError
from infinitic.history import InlineIssued, Turn, decode_turn
from infinitic.records import COMPLETED
from infinitic.testing.errors import Undetermined


def replayed(program: Program, workflow_id: str, bodies: Sequence[bytes], around: Surroundings) -> Instance:
    """The instance that a history makes, to be closed. Raises `NonDeterminismError`, `UnreadableHistory`."""
    again = Instance(program, workflow_id, around)
    try:
        turns.replay(again, bodies)
    except Diverged as diverged:
        turns.close(again)
        raise diverged.error from None
    return again


def check(
    program: Program, workflow_id: str, bodies: Sequence[bytes], around: Surroundings, live: Instance | None = None
) -> None:
    """Raises `Undetermined` unless a replay comes to the same: commands, attributes, result.

    *live* is the instance that wrote the history, where it is at hand.
    """
    try:
        again = replayed(program, workflow_id, bodies, around)
    except NonDeterminismError as error:
        raise Undetermined(*error.args) from None
    try:
        if live is not None:
            _same_attributes(live, again)
    finally:
        turns.close(again)
    _same_result(program, workflow_id, bodies, around)


def _same_attributes(live: Instance, again: Instance) -> None:
    before, now = _attributes(live), _attributes(again)
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            said = [f"self.{name} = {shown[name].decode(errors='replace')}" for shown in (before, now)]
            raise _undetermined(live, name, *said)


def _attributes(instance: Instance) -> dict[str, bytes]:
    """The attributes of a workflow class, as JSON: those that JSON can hold."""
    found = {}
    for name, value in vars(instance.state).items() if instance.state is not None else ():
        try:
            found[name] = instance.surroundings.codec.encode(value)
        except PayloadError:
            continue
    return found


def _same_result(program: Program, workflow_id: str, bodies: Sequence[bytes], around: Surroundings) -> None:
    """Replay takes the end from history: so the last turn is made anew, where it returned."""
    last = decode_turn(bodies[-1])
    runs_again = any(isinstance(one, InlineIssued) for one in last.commands)
    if last.end is None or last.end.status != COMPLETED or runs_again:
        return
    again = replayed(program, workflow_id, bodies[:-1], around)
    try:
        made: Any = turns.apply(again, last.event, last.at)
        value = made.end.value if isinstance(made, Turn) and made.end is not None else None
        if value is None or bytes(value) != bytes(last.end.value):
            said = [f"the result {bytes(one).decode()}" if one else "no result" for one in (last.end.value, value)]
            raise _undetermined(again, "m0", *said)
    finally:
        turns.close(again)


def _undetermined(instance: Instance, position: str, recorded: str, now: str) -> Undetermined:
    method = instance.started.method if instance.started is not None else ""
    code = getattr(getattr(instance.program.member(method), "fn", None), "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code is not None else ("?", 0)
    return Undetermined(instance.workflow_id, position, recorded, now, file, line)

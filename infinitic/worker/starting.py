"""Starting: whether a start begins a run, and what is wrong with one that would."""

from __future__ import annotations

from collections.abc import Mapping

from dsl.calls import check_id
from infinitic.engine.instance import Surroundings
from infinitic.engine.programs import Program
from infinitic.errors import DecodeError, InvalidId
from infinitic.events import Started
from infinitic.worker.changes import Change
from infinitic.worker.suspending import may_restart


def begins(change: Change, event: Started) -> bool:
    """Whether a start begins a run: there is none of this id, or one that it may take the place of."""
    return change.status is None or (event.if_exists == "restart" and may_restart(change, event))


def unfit(
    change: Change, event: Started, programs: Mapping[str, Program], surroundings: Surroundings
) -> InvalidId | DecodeError | None:
    """What is wrong with a start that has just come, so that nothing of it may be recorded: its id, a name in it.

    Values of wrong types are for the run, which fails: other code may read them when it is taken up again.
    """
    try:
        check_id(change.workflow_id)
        if begins(change, event):
            program = programs[event.workflow]
            definition = program.versions.get(event.version, program).member(event.method)
            if definition is not None:
                surroundings.signatures[definition].check_names(event.arguments)
    except (InvalidId, DecodeError) as error:
        return error
    return None

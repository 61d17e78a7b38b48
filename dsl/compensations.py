"""The saga helper: what was done is undone, last first, when the block that did it fails or is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dsl.commands import Command, Flow, described
from dsl.context import running
from dsl.errors import Cancelled


@contextmanager
def compensations() -> Iterator[Callable[[Command[Any]], None]]:
    """`with compensations() as undo: … undo(Hotels.cancel(booking))`.

    Leaving the block by an exception or by a cancellation spawns a branch that runs the undos, last first;
    the method settles only after that branch. An undo that fails becomes a note on the error, and the others
    still run. Leaving the block without an error runs none. Inside a workflow only (`OutsideWorkflow`).
    """
    context = running("compensations()")
    undos: list[Command[Any]] = []

    def undo(command: Command[Any]) -> None:
        """Remember *command*, to be run should the block fail. Raises `TypeError` for what is no command."""
        if not isinstance(command, Command):
            raise TypeError(f"undo() takes a command such as a task call, not {described(command)}")
        undos.append(command)

    try:
        yield undo
    except (Exception, Cancelled) as error:
        if undos:
            context.compensate(_undone(undos, error))
        raise


def _undone(undos: list[Command[Any]], error: BaseException) -> Flow[None]:
    for command in reversed(undos):
        try:
            yield from command
        except Exception as failure:
            error.add_note(f"while undoing, {described(command)} failed: {failure}")

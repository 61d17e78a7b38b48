"""Comparing what code asks for on replay with what history says: kind, name, position, arguments, nothing missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dsl.commands import described
from infinitic.engine.branches import Branch, stack_of
from infinitic.engine.instance import Diverged, Instance
from infinitic.errors import NonDeterminismError
from infinitic.history import (
    AnyIssued,
    CallIssued,
    ChildIssued,
    ContinueIssued,
    InlineIssued,
    Issued,
    ReceiveIssued,
    SignalIssued,
    TaskIssued,
    TimerIssued,
)

I = TypeVar("I", bound=Issued)  # noqa: E741  # the one letter that says it

WRAPPED = b'{"$codec"'


def recorded_command(instance: Instance, branch: Branch, kind: type[I], position: str, command: Any) -> I:
    """The next command of the recorded turn, which must be of this kind and at this position. Raises `Diverged`."""
    draft = instance.draft
    assert draft.recorded is not None
    commands = draft.recorded.commands
    issued = commands[draft.taken] if draft.taken < len(commands) else None
    if type(issued) is not kind or issued.position != position:
        raise diverged(instance, branch, position, issued, command)
    draft.taken += 1
    return issued


def same_arguments(recorded: bytes, asked: bytes, canonical: Callable[[bytes], bytes | None]) -> bool:
    """Whether two encoded arguments mean the same to today's types; pickled ones are not compared."""
    if recorded == asked:
        return True
    if recorded.startswith(WRAPPED) or asked.startswith(WRAPPED):
        return True
    return _canonical(recorded, canonical) == _canonical(asked, canonical)


def _canonical(data: bytes, canonical: Callable[[bytes], bytes | None]) -> bytes | None:
    try:
        return canonical(data)
    except Exception:  # today's types cannot read it: then the bytes alone decide
        return data


def check_all_taken(instance: Instance) -> None:
    """Raises `Diverged` when the recorded turn holds commands that the code did not ask for."""
    draft = instance.draft
    assert draft.recorded is not None
    commands = draft.recorded.commands
    if draft.taken < len(commands):
        missing = commands[draft.taken]
        raise diverged(instance, _likeliest(instance, missing.position), missing.position, missing, None)


def _likeliest(instance: Instance, position: str) -> Branch | None:
    """The branch that should have asked for *position*."""
    return instance.branches.get(position.rpartition(".")[0])


def diverged(
    instance: Instance, branch: Branch | None, position: str, issued: AnyIssued | Issued | None, command: Any
) -> Diverged:
    """The error for history saying *issued* (None: nothing) where the code asks for *command* (None: nothing)."""
    stack = stack_of(branch.generator, instance.surroundings.source) if branch is not None else ()
    definition = instance.program.definition
    code = getattr(getattr(definition, "fn", None), "__code__", None)
    file = stack[-1].file if stack else code.co_filename if code is not None else getattr(definition, "__module__", "?")
    line = stack[-1].line if stack else code.co_firstlineno if code is not None else 0
    error = NonDeterminismError(
        workflow_id=instance.workflow_id,
        position=position,
        recorded=shown(issued) if issued is not None else "nothing more",
        replayed=described(command) if command is not None else "nothing more",
        file=file,
        line=line,
    )
    instance.divergence = Diverged(error)
    return instance.divergence


def shown(issued: AnyIssued | Issued) -> str:
    """A recorded command, for people."""
    match issued:
        case TaskIssued():
            label = issued.name if issued.name == issued.service else f"{issued.service}.{issued.name}"
            return f"{label}({_short(issued.arguments)})"
        case TimerIssued():
            return f"sleep({issued.delay / 1_000_000:g} s)" if issued.delay is not None else "sleep_until(…)"
        case ChildIssued() | ContinueIssued():
            what = "continue_as_new " if isinstance(issued, ContinueIssued) else ""
            return f"{what}{issued.workflow}({_short(issued.arguments)})"
        case CallIssued():
            return f"{issued.workflow}.{issued.method}({_short(issued.arguments)})"
        case SignalIssued():
            return f"{issued.channel}.send({_short(issued.value)})"
        case ReceiveIssued():
            return f"{issued.channel}.receive()"
        case InlineIssued():
            return f"inline({issued.name})"
    return type(issued).__name__


def _short(data: Any) -> str:
    text = bytes(data).decode(errors="replace")
    return text if len(text) <= 80 else text[:79] + "…"

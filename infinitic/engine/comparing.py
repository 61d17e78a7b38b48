"""Comparing what code asks for on replay with history: kind, name, position, arguments, nothing missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from dsl.commands import described
from dsl.workflows import Check
from infinitic import history
from infinitic.engine.branches import Branch, stack_of
from infinitic.engine.instance import Diverged, Draft, Instance
from infinitic.engine.slots import task_label
from infinitic.errors import EncodeError, NonDeterminismError
from infinitic.events import Frame
from infinitic.history import AnyIssued, TaskIssued
from infinitic.serialization import canonical

WRAPPED = b'{"$codec"'
ARGUMENTS, NOTHING = attrgetter("arguments"), None


class Kind(NamedTuple):
    """What of a recorded command must agree, beside its position; what it carries; what people call it.

    *names* is as much of the identity as is no argument: all of it where that is None.
    """

    identity: Callable[[Any], Any]
    payload: Callable[[Any], Any] | None
    label: Callable[[Any], str]
    names: Callable[[Any], Any] | None = None


def _timer(one: Any) -> str:
    return f"sleep({one.delay / 1_000_000:g} s)" if one.delay is not None else "sleep_until(…)"


def _tags(one: Any) -> str:
    return f"add_tags({', '.join(one.added)})" if one.added else f"remove_tags({', '.join(one.removed)})"


KINDS: dict[type, Kind] = {
    TaskIssued: Kind(attrgetter("service", "name"), ARGUMENTS, task_label),
    history.TimerIssued: Kind(lambda one: (one.delay, one.delay is None and one.due), NOTHING, _timer, type),
    history.ChildIssued: Kind(attrgetter("workflow", "method"), ARGUMENTS, attrgetter("workflow")),
    history.CallIssued: Kind(
        attrgetter("workflow", "method", "workflow_id", "to_tag"),
        ARGUMENTS,
        "{0.workflow}.{0.method}".format,
        attrgetter("workflow", "method"),
    ),
    history.SignalIssued: Kind(
        attrgetter("workflow", "channel", "workflow_id", "to_tag"),
        attrgetter("value"),
        "{0.channel}.send".format,
        attrgetter("workflow", "channel"),
    ),
    history.ReceiveIssued: Kind(
        lambda one: (one.channel, not one.which), NOTHING, "{0.channel}.receive({0.which})".format
    ),
    history.InlineIssued: Kind(attrgetter("name"), NOTHING, "inline({0.name})".format),
    history.TagsIssued: Kind(attrgetter("added", "removed"), NOTHING, _tags),
    history.ContinueIssued: Kind(attrgetter("workflow", "method"), ARGUMENTS, "continue_as_new {0.workflow}".format),
    history.PatchIssued: Kind(attrgetter("patch"), NOTHING, "patched({0.patch!r})".format),
}


def same(recorded: Any, asked: Any, declared: Any) -> bool:
    """Whether code asks for what history recorded, wherever it is; *declared* is the type of the payload."""
    kind = KINDS[type(asked)]
    if type(recorded) is not type(asked) or kind.identity(recorded) != kind.identity(asked):
        return False
    if kind.payload is None:
        return True
    if recorded.failure is not None or asked.failure is not None:
        return recorded.failure is not None  # it failed then, and that is what replay goes by
    if isinstance(asked, history.ChildIssued) and asked.workflow_id not in ("", recorded.workflow_id):
        return False
    return same_payload(bytes(kind.payload(recorded)), bytes(kind.payload(asked)), declared)


def agrees(check: Check, recorded: Any, asked: Any, declared: Any) -> bool:
    """Whether what was recorded stands for what code asks for, compared as *check* says."""
    if check == "strict":
        return same(recorded, asked, declared)
    if type(recorded) is not type(asked):
        return False
    names = KINDS[type(asked)].names or KINDS[type(asked)].identity
    return check == "off" or names(recorded) == names(asked)


def same_payload(recorded: bytes, asked: bytes, declared: Any) -> bool:
    """Whether two payloads mean the same to today's type; pickled ones are not compared."""
    if recorded == asked or recorded.startswith(WRAPPED) or asked.startswith(WRAPPED):
        return True
    known = canonical(recorded, declared)
    return known is not None and known == canonical(asked, declared)


def next_recorded(instance: Instance, branch: Branch, asked: Any, declared: Any, command: Any) -> Any:
    """The next command of the recorded turn, which must be the one that is *asked* for. Raises `Diverged`."""
    draft, check = instance.draft, instance.program.check
    assert draft.recorded is not None
    commands = _passed(draft)
    issued = commands[draft.taken] if draft.taken < len(commands) else None
    if issued is None or issued.position != asked.position or not agrees(check, issued, asked, declared):
        raise diverged(instance, branch, asked.position, issued, described(command))
    draft.taken += 1
    return issued


def _passed(draft: Draft) -> Sequence[AnyIssued]:
    """The recorded turn's commands. What it keeps of patches is passed: the code may ask about them no more."""
    assert draft.recorded is not None
    commands = draft.recorded.commands
    while draft.taken < len(commands) and type(commands[draft.taken]) is history.PatchIssued:
        draft.taken += 1
    return commands


def recorded_task(instance: Instance, branch: Branch, call: Any) -> TaskIssued | None:
    """The next command of the recorded turn when it is, to the letter, the task that *call* asks for."""
    draft, task = instance.draft, call.definition
    if draft.recorded is None or draft.taken >= len(draft.recorded.commands):
        return None
    issued = draft.recorded.commands[draft.taken]
    if type(issued) is not TaskIssued or issued.position != f"{branch.prefix}{branch.counter}":
        return None
    if issued.name != task.name or issued.service != task.owner or issued.failure is not None:
        return None
    try:
        if bytes(issued.arguments) != instance.surroundings.codec.encode(call.arguments):
            return None
    except EncodeError:
        return None
    branch.counter += 1
    draft.taken += 1
    return issued


def check_all_taken(instance: Instance) -> None:
    """Raises `Diverged` when the recorded turn holds commands that the code did not ask for."""
    draft = instance.draft
    commands = _passed(draft) if draft.recorded is not None else ()
    if draft.taken < len(commands):
        missing = commands[draft.taken]
        likely = instance.branches.get(missing.position.rpartition(".")[0])
        raise diverged(instance, likely, missing.position, missing, "nothing more")


def diverged(instance: Instance, branch: Branch | None, position: str, issued: Any, replayed: str) -> Diverged:
    """The error for history saying *issued* (None: nothing) where the code now does what *replayed* says."""
    recorded = "nothing more" if issued is None else shown(issued)
    if issued is not None and issued.position != position:
        recorded += f" at {issued.position}"
    stack = places_of(instance, branch)
    error = NonDeterminismError(instance.workflow_id, position, recorded, replayed, stack[-1].file, stack[-1].line)
    instance.divergence = Diverged(error, stack)
    return instance.divergence


def places_of(instance: Instance, branch: Branch | None) -> tuple[Frame, ...]:
    """The lines where the branch is, outermost first; its definition's when it is nowhere."""
    source = instance.surroundings.source
    stack = stack_of(branch.generator, source) if branch is not None else ()
    method = branch.method.name if branch is not None else instance.started.method if instance.started else ""
    code = getattr(getattr(instance.program.member(method), "fn", None), "__code__", None)
    first = (
        Frame(code.co_filename, code.co_firstlineno, code.co_qualname) if code is not None else Frame("?", 0, method)
    )
    return stack or (first,)


def shown(issued: Any) -> str:
    """A recorded command, for people."""
    kind = KINDS[type(issued)]
    if kind.payload is None:
        return kind.label(issued)
    text = bytes(kind.payload(issued)).decode(errors="replace")
    return f"{kind.label(issued)}({text if len(text) <= 80 else text[:79] + '…'})"

"""Issuing: each command that workflow code yields or dispatches gets a position, a record and a slot.

What cannot be sent (not encodable, of the wrong type, too large) is the command's own failure, recorded with it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from dsl.calls import NO_OPTIONS, Call, MethodCall, Options, Send, StartCall, TaskCall
from dsl.inlines import Inline
from dsl.policies import Retry
from dsl.tags import ChangeTags
from dsl.timers import Timer
from infinitic import history
from infinitic.engine.alone import AsItIs, EncodedTask
from infinitic.engine.attempts import watch
from infinitic.engine.branches import Branch, discard
from infinitic.engine.comparing import next_recorded, recorded_task, same
from infinitic.engine.instance import FAILURES, Instance
from infinitic.engine.settling import complete, settle
from infinitic.engine.slots import FAILED, RUNNING, RemoteSlot, Slot, TaskSlot, TimerSlot
from infinitic.engine.tags import changed
from infinitic.errors import EncodeError
from infinitic.events import NULL, ErrorValue, from_datetime
from infinitic.ids import derived_id, derived_run
from infinitic.serialization import as_decode_error, encode, error_value, plain_meta, rebuild

SAID = tuple(name for name in Options.__struct_fields__ if name not in ("id", "retry"))


def record(instance: Instance, branch: Branch, command: Any, asked: Any, declared: Any = None) -> Any:
    """The record of a command: history's, a failed turn's for the same, else *asked*. *declared* is its data's type."""
    position = asked.position
    if position in instance.voided:
        old = instance.voided.pop(position)
        if old is not None and same(old, asked, declared):
            instance.draft.carried += (old.position,)
            return old
        asked = msgspec.structs.replace(asked, position=f"{position}~{instance.generation}")
    if instance.draft.recorded is not None:
        return next_recorded(instance, branch, asked, declared, command)
    made = _sendable(_named(instance, asked))
    instance.draft.commands.append(made)
    return made


def _named(instance: Instance, asked: Any) -> Any:
    """The record with the ids that its position gives it."""
    if not isinstance(asked, history.ChildIssued | history.ContinueIssued):
        return asked
    named = {"run": derived_run(instance.run, asked.position)}
    if isinstance(asked, history.ChildIssued) and not asked.workflow_id:
        named["workflow_id"] = derived_id(instance.run, asked.position)
    return msgspec.structs.replace(asked, **named)


def _sendable(asked: Any) -> Any:
    """The record with its options as plain JSON; a failure when they cannot be that."""
    if not getattr(asked, "options", None):
        return asked
    try:
        return msgspec.structs.replace(asked, options=msgspec.json.decode(encode(asked.options)))
    except EncodeError as error:
        failure = error_value(EncodeError(error.message, error.path))
        return msgspec.structs.replace(asked, options={}, failure=failure)


def payload(instance: Instance, value: Any, decode: Callable[[Any], Any]) -> tuple[Raw, ErrorValue | None]:
    """The value as JSON that the declared type accepts; or why it cannot be sent."""
    limit = instance.surroundings.limit
    try:
        data = instance.surroundings.codec.encode(value)
        if instance.draft.recorded is None:
            if limit and len(data) > limit:
                raise EncodeError(f"{len(data)} bytes are more than one message may carry ({limit})")
            decode(data)
    except EncodeError as error:
        return NULL, error_value(EncodeError(error.message, error.path))
    except Exception as error:
        return NULL, error_value(as_decode_error(error).with_traceback(None))
    return Raw(data), None


def failed(instance: Instance, slot: Slot, failure: ErrorValue) -> Slot:
    """The slot, settled with a failure that the record holds."""
    slot.fresh_error = lambda: rebuild(failure)
    settle(instance, slot, FAILED)
    return slot


def task_options(given: Options) -> dict[str, Any]:
    """What a call says of its task, as JSON holds it."""
    options = said(given)
    if given.retry is not None:
        options["retry"] = retry_fields(given.retry)
    return options


def said(given: Options) -> dict[str, Any]:
    """What a call says beside its id and its retry policy, as JSON holds it."""
    if given is NO_OPTIONS:
        return {}
    options = {name: getattr(given, name) for name in SAID} | {"meta": plain_meta(given.meta)}
    return {name: value for name, value in options.items() if value not in (None, (), {})}


def retry_fields(retry: Retry) -> dict[str, Any]:
    """A retry policy as JSON holds it, error classes by name."""
    fields = {name: getattr(retry, name) for name in ("max_attempts", "initial", "factor", "maximum", "jitter")}
    for name in ("retry_on", "never_on"):
        fields[name] = [f"{one.__module__}:{one.__qualname__}" for one in getattr(retry, name)]
    return fields


def _sent(instance: Instance, branch: Branch, call: Any, kind: Any, slot_kind: Any, **named: Any) -> Slot:
    """Ask for what somebody else answers: *named* are the fields of its record."""
    signature = AsItIs if isinstance(call, EncodedTask) else instance.surroundings.signatures[call.definition]
    arguments, failure = payload(instance, call.arguments, signature.decode_arguments)
    asked = kind(position=branch.place(), arguments=arguments, failure=failure, **named)
    issued = record(instance, branch, call, asked, signature.arguments_type)
    slot: Slot = slot_kind(issued.position, instance.at, issued=issued, decode=signature.decode_result)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    instance.open[issued.position] = slot
    if isinstance(slot, TaskSlot):
        watch(instance, slot)
    return slot


def issue_task(instance: Instance, branch: Branch, call: TaskCall[Any]) -> Slot:
    """Run a task of a service."""
    task = call.definition
    issued = recorded_task(instance, branch, call)
    if issued is not None:
        decode = instance.surroundings.signatures[task].decode_result
        again = instance.open[issued.position] = TaskSlot(issued.position, instance.at, issued=issued, decode=decode)
        watch(instance, again)
        return again
    return _sent(instance, branch, call, history.TaskIssued, TaskSlot, **task_fields(call))


def issue_encoded(instance: Instance, branch: Branch, task: EncodedTask) -> Slot:
    """Run a task of a service, whose arguments somebody else encoded."""
    named = {"service": task.service, "name": task.name, "options": task.options}
    return _sent(instance, branch, task, history.TaskIssued, TaskSlot, **named)


def task_fields(call: Call[Any]) -> dict[str, Any]:
    """What the record of a task holds, beside position and arguments."""
    task = call.definition
    return {"service": task.owner, "name": task.name, "options": {**task.limits, **task_options(call.given)}}


def issue_start(instance: Instance, branch: Branch, call: StartCall[Any]) -> Slot:
    """Start a child."""
    named = start_fields(call) | {"workflow_id": call.given.id or ""}
    return _sent(instance, branch, call, history.ChildIssued, partial(RemoteSlot, kind="child"), **named)


def start_fields(call: Call[Any]) -> dict[str, Any]:
    """What the record of a start holds, beside position, arguments and ids."""
    definition = call.definition
    method = "" if definition.kind == "workflow" else definition.name
    options = said(call.given)
    return {"workflow": definition.owner, "run": "", "method": method, "options": options}


def issue_call(instance: Instance, branch: Branch, call: MethodCall[Any]) -> Slot:
    """Call a method of another instance."""
    method = call.definition
    named = {"workflow": method.owner, "workflow_id": call.workflow_id, "method": method.name}
    named |= {"call_id": call.given.id or "", "to_tag": call.tag}
    slot = _sent(instance, branch, call, history.CallIssued, partial(RemoteSlot, kind="call"), **named)
    return complete(instance, slot) if call.tag and slot.status == RUNNING else slot


def issue_timer(instance: Instance, branch: Branch, timer: Timer) -> Slot:
    """Set a timer; one that is due already completes at once."""
    delay = timer.delay if timer.due is None else None
    due = instance.at + timer.delay if timer.due is None else from_datetime(timer.due)
    issued = record(instance, branch, timer, history.TimerIssued(branch.place(), due, delay))
    slot = TimerSlot(issued.position, instance.at, issued=issued)
    if issued.due <= instance.at:
        return complete(instance, slot)
    instance.open[issued.position] = slot
    instance.draft.timers_set[issued.position] = (issued.due, 0)
    return slot


def issue_send(instance: Instance, branch: Branch, send: Send) -> Slot:
    """Send a signal to an instance; done as soon as it is recorded."""
    channel = send.definition
    value, failure = payload(instance, send.arguments, instance.surroundings.codec.decoder(channel.type))
    place, signal_id = (branch.place(), channel.owner, send.workflow_id, channel.name), send.given.id or ""
    asked = history.SignalIssued(*place, value, failure, signal_id, send.tag)
    issued = record(instance, branch, send, asked, channel.type)
    slot = Slot(issued.position, instance.at)
    return failed(instance, slot, issued.failure) if issued.failure else complete(instance, slot)


def decoded(decode: Callable[[Any], Any], data: Raw) -> tuple[Any, Exception | None]:
    """What *data* holds, or why it cannot be read."""
    try:
        return decode(data), None
    except Exception as error:
        return None, as_decode_error(error).with_traceback(None)


def issue_inline(instance: Instance, branch: Branch, command: Inline[Any]) -> Slot:
    """Run a function now, or answer what it gave when history was written."""
    decode = instance.surroundings.codec.decoder(result_type(command.fn))
    issued = record(instance, branch, command, history.InlineIssued(branch.place(), command.name))
    commands = instance.draft.commands
    if commands and commands[-1] is issued:
        issued = commands[-1] = _ran(instance, command, issued.position, decode)
    slot = Slot(issued.position, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    value, error = decoded(decode, issued.value)
    if error is not None:
        raise instance.unreadable(issued.position, error)
    return complete(instance, slot, value)


def _ran(instance: Instance, command: Inline[Any], position: str, decode: Any) -> history.InlineIssued:
    """Run an inline function; helpers of workflow code are not for there, and say so."""
    current, instance.current = instance.current, None
    try:
        result = instance.surroundings.run_inline(command)
    except FAILURES as error:
        return history.InlineIssued(position, command.name, failure=error_value(error))
    finally:
        instance.current = current
    value, failure = payload(instance, result, decode)
    discard(result)
    return history.InlineIssued(position, command.name, value, failure)


def issue_tags(instance: Instance, branch: Branch, change: ChangeTags) -> Slot:
    """Give the instance tags, or take some from it; done as soon as it is recorded."""
    asked = history.TagsIssued(branch.place(), change.added, change.removed)
    issued = record(instance, branch, change, asked)
    instance.tags = changed(instance.tags, issued)
    return complete(instance, Slot(issued.position, instance.at))


def result_type(fn: Any) -> Any:
    """What a plain function says that it returns; `Any` when it does not say, or by a name that is unknown."""
    with suppress(Exception):
        return typing.get_type_hints(fn).get("return", Any)
    return Any


ISSUE: dict[type, Callable[[Instance, Branch, Any], Slot]] = {
    TaskCall: issue_task,
    EncodedTask: issue_encoded,
    Timer: issue_timer,
    StartCall: issue_start,
    MethodCall: issue_call,
    Send: issue_send,
    Inline: issue_inline,
    ChangeTags: issue_tags,
}

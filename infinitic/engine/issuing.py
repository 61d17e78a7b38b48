"""Issuing: each command that workflow code yields or dispatches gets a position, is recorded or compared, and a slot.

What cannot be sent (not encodable, of the wrong type, too large) is the command's own failure, recorded with it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Raw

from dsl.calls import MethodCall, Options, Send, StartCall, TaskCall
from dsl.channels import Receive
from dsl.inlines import Inline
from dsl.policies import Retry
from dsl.timers import Timer
from infinitic.engine.branches import Branch
from infinitic.engine.comparing import diverged, recorded_command, same_arguments
from infinitic.engine.instance import Instance
from infinitic.engine.settling import settle
from infinitic.engine.slots import COMPLETED, FAILED, ReceiveSlot, RemoteSlot, Slot, TaskSlot, TimerSlot
from infinitic.errors import EncodeError, InvalidId
from infinitic.events import NULL, ErrorValue, from_datetime
from infinitic.history import (
    CallIssued,
    ChildIssued,
    InlineIssued,
    ReceiveIssued,
    SignalIssued,
    TaskIssued,
    TimerIssued,
)
from infinitic.ids import check_id, derived_id, derived_run
from infinitic.serialization import canonical, error_value, rebuild

I = TypeVar("I")  # noqa: E741  # the one letter that says it


def place(branch: Branch) -> str:
    """The position of the branch's next command."""
    number = branch.counter
    branch.counter = number + 1
    return f"{branch.prefix}{number}"


def issued_at(
    instance: Instance,
    branch: Branch,
    command: Any,
    kind: type[I],
    same: Callable[[I], bool],
    make: Callable[[str], I],
) -> tuple[I, bool]:
    """The record of a command, and whether a failed turn had issued the very same (then nothing is sent again).

    On replay it is history's, compared; else it is made, and kept for the turn. Raises `Diverged`.
    """
    position = place(branch)
    if instance.voided and position in instance.voided:
        old = instance.voided.pop(position)
        if type(old) is kind and same(old):
            return old, True
        position = f"{position}~{instance.generation}"
    if instance.draft.recorded is None:
        issued = make(position)
        instance.draft.commands.append(issued)  # type: ignore[arg-type]  # every kind is one of AnyIssued
        return issued, False
    recorded: Any = recorded_command(instance, branch, kind, position, command)  # type: ignore[type-var]  # as above
    if not same(recorded):
        raise diverged(instance, branch, position, recorded, command)
    return recorded, False


def encoded(instance: Instance, value: Any) -> bytes | ErrorValue:
    """The value as JSON, or why it cannot be sent."""
    try:
        data = instance.surroundings.codec.encode(value)
    except EncodeError as error:
        return error_value(error)
    limit = instance.surroundings.limit
    if limit and len(data) > limit:
        return error_value(EncodeError(f"{len(data)} bytes are more than one message may carry ({limit})"))
    return data


def checked_arguments(instance: Instance, definition: Any, arguments: Any) -> bytes | ErrorValue:
    """The arguments as JSON that the definition's types accept, or why not."""
    data = encoded(instance, arguments)
    if isinstance(data, ErrorValue) or not instance.live:
        return data
    try:
        instance.surroundings.codec.signature(definition).decode_arguments(data)
    except Exception as error:
        return error_value(error)
    return data


def _parts(data: bytes | ErrorValue) -> tuple[Raw, ErrorValue | None]:
    return (NULL, data) if isinstance(data, ErrorValue) else (Raw(data), None)


def _same(recorded: Raw, failure: ErrorValue | None, asked: bytes | ErrorValue, type: Callable[[], Any]) -> bool:
    if failure is not None or isinstance(asked, ErrorValue):
        return failure is not None  # it failed then, and that is what replay goes by
    data = bytes(recorded)
    return data == asked or same_arguments(data, asked, lambda one: canonical(one, type()))


def failed(instance: Instance, slot: Slot, failure: ErrorValue) -> Slot:
    """The slot, settled with a failure that the record holds."""
    slot.fresh_error = lambda: rebuild(failure)
    settle(instance, slot, FAILED)
    return slot


def task_options(given: Options) -> dict[str, Any]:
    """What a call says of its task, as JSON holds it."""
    if given.retry is None and given.timeout is None and not given.tags and not given.meta:
        return {}
    options: dict[str, Any] = {}
    if given.retry is not None:
        options["retry"] = retry_fields(given.retry)
    if given.timeout is not None:
        options["timeout"] = given.timeout
    return options | start_options(Options(tags=given.tags, meta=given.meta))


def retry_fields(retry: Retry) -> dict[str, Any]:
    """A retry policy as JSON holds it, error classes by name."""
    names = {name: [f"{c.__module__}:{c.__qualname__}" for c in getattr(retry, name)] for name in ("retry_on", "never_on")}
    plain = {name: getattr(retry, name) for name in ("max_attempts", "initial", "factor", "maximum", "jitter")}
    return plain | names


def start_options(given: Options) -> dict[str, Any]:
    """What a call says of the instance that it starts, as JSON holds it."""
    options: dict[str, Any] = {}
    if given.tags:
        options["tags"] = list(given.tags)
    if given.meta:
        options["meta"] = given.meta
    if given.timeout is not None:
        options["timeout"] = given.timeout
    return options


def issue_task(instance: Instance, branch: Branch, call: TaskCall[Any]) -> Slot:
    """Run a task of a service."""
    definition = call.definition
    signature = instance.surroundings.codec.signature(definition)
    asked = checked_arguments(instance, definition, call.arguments)

    def same(old: TaskIssued) -> bool:
        return (old.service, old.name) == (definition.owner, definition.name) and _same(
            old.arguments, old.failure, asked, lambda: signature.arguments_type
        )

    def make(position: str) -> TaskIssued:
        arguments, failure = _parts(asked)
        options = task_options(call.given)
        return TaskIssued(position, definition.owner, definition.name, arguments, options, failure)

    issued, _ = issued_at(instance, branch, call, TaskIssued, same, make)
    slot = TaskSlot(issued, signature.decode_result, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    instance.open[issued.position] = slot
    return slot


def issue_timer(instance: Instance, branch: Branch, timer: Timer) -> Slot:
    """Set a timer; one that is due already completes at once."""
    delay = timer.delay if timer.due is None else None
    due = instance.at + timer.delay if timer.due is None else from_datetime(timer.due)

    def same(old: TimerIssued) -> bool:
        return old.delay == delay and (delay is not None or old.due == due)

    issued, _ = issued_at(instance, branch, timer, TimerIssued, same, lambda at: TimerIssued(at, due, delay))
    slot = TimerSlot(issued, instance.at)
    if issued.due <= instance.at:
        settle(instance, slot, COMPLETED)
        return slot
    instance.open[issued.position] = slot
    instance.draft.timers_set[issued.position] = (issued.due, 0)
    return slot


def issue_start(instance: Instance, branch: Branch, call: StartCall[Any]) -> Slot:
    """Start a child."""
    definition = call.definition
    method = "" if definition.kind == "workflow" else definition.name
    signature = instance.surroundings.codec.signature(definition)
    asked = checked_arguments(instance, definition, call.arguments)
    if call.given.id is not None:
        try:
            check_id(call.given.id)
        except InvalidId as error:
            asked = error_value(error)

    def same(old: ChildIssued) -> bool:
        named = (old.workflow, old.method) == (definition.owner, method)
        given = call.given.id is None or old.failure is not None or old.workflow_id == call.given.id
        return named and given and _same(old.arguments, old.failure, asked, lambda: signature.arguments_type)

    def make(position: str) -> ChildIssued:
        arguments, failure = _parts(asked)
        return ChildIssued(
            position,
            definition.owner,
            call.given.id if call.given.id is not None else derived_id(instance.run, position),
            derived_run(instance.run, position),
            method,
            arguments,
            start_options(call.given),
            failure,
        )

    issued, _ = issued_at(instance, branch, call, ChildIssued, same, make)
    slot = RemoteSlot(issued, signature.decode_result, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    instance.open[issued.position] = slot
    return slot


def issue_call(instance: Instance, branch: Branch, call: MethodCall[Any]) -> Slot:
    """Call a method of another instance."""
    definition = call.definition
    signature = instance.surroundings.codec.signature(definition)
    asked = checked_arguments(instance, definition, call.arguments)

    def same(old: CallIssued) -> bool:
        named = (old.workflow, old.method, old.workflow_id) == (definition.owner, definition.name, call.workflow_id)
        return named and _same(old.arguments, old.failure, asked, lambda: signature.arguments_type)

    def make(position: str) -> CallIssued:
        arguments, failure = _parts(asked)
        return CallIssued(position, definition.owner, call.workflow_id, definition.name, arguments, failure)

    issued, _ = issued_at(instance, branch, call, CallIssued, same, make)
    slot = RemoteSlot(issued, signature.decode_result, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    instance.open[issued.position] = slot
    return slot


def issue_send(instance: Instance, branch: Branch, send: Send) -> Slot:
    """Send a signal to an instance; done as soon as it is recorded."""
    channel = send.definition
    asked = _checked_signal(instance, channel, send.arguments)

    def same(old: SignalIssued) -> bool:
        named = (old.workflow, old.channel, old.workflow_id) == (channel.owner, channel.name, send.workflow_id)
        return named and _same(old.value, old.failure, asked, lambda: channel.type)

    def make(position: str) -> SignalIssued:
        value, failure = _parts(asked)
        return SignalIssued(position, channel.owner, send.workflow_id, channel.name, value, failure)

    issued, _ = issued_at(instance, branch, send, SignalIssued, same, make)
    slot = Slot(issued.position, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    settle(instance, slot, COMPLETED)
    return slot


def _checked_signal(instance: Instance, channel: Any, value: Any) -> bytes | ErrorValue:
    data = encoded(instance, value)
    if isinstance(data, ErrorValue) or not instance.live:
        return data
    try:
        instance.surroundings.codec.decoder(channel.type)(data)
    except Exception as error:
        return error_value(error)
    return data


def issue_receive(instance: Instance, branch: Branch, receive: Receive[Any]) -> Slot:
    """Wait for a signal; the oldest buffered one answers at once."""
    channel = receive.channel
    decode = instance.surroundings.codec.decoder(channel.type)
    buffered = instance.mailboxes.get(channel.name)
    signal = buffered.pop(0) if buffered else None
    value, failure = _decoded_signal(decode, signal.value) if signal is not None else (None, None)
    taken = signal.id if signal is not None else ""

    def same(old: ReceiveIssued) -> bool:
        return old.channel == channel.name and old.signal == taken

    issued, _ = issued_at(
        instance, branch, receive, ReceiveIssued, same, lambda at: ReceiveIssued(at, channel.name, taken, failure)
    )
    slot = ReceiveSlot(issued.position, channel.name, decode, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    if signal is not None:
        slot.value = value
        settle(instance, slot, COMPLETED)
        return slot
    instance.open[issued.position] = slot
    instance.receivers.setdefault(channel.name, []).append(slot)
    return slot


def _decoded_signal(decode: Callable[[Any], Any], data: Raw) -> tuple[Any, ErrorValue | None]:
    try:
        return decode(data), None
    except Exception as error:
        return None, error_value(error)


def issue_inline(instance: Instance, branch: Branch, command: Inline[Any]) -> Slot:
    """Run a function now, or answer what it gave when history was written."""

    def make(position: str) -> InlineIssued:
        try:
            result = instance.surroundings.run_inline(command)
        except Exception as error:
            return InlineIssued(position, command.name, failure=error_value(error))
        value, failure = _parts(encoded(instance, result))
        return InlineIssued(position, command.name, value, failure)

    issued, _ = issued_at(instance, branch, command, InlineIssued, lambda old: old.name == command.name, make)
    slot = Slot(issued.position, instance.at)
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    slot.value = instance.surroundings.codec.decoder(result_type(command.fn))(issued.value)
    settle(instance, slot, COMPLETED)
    return slot


def result_type(fn: Any) -> Any:
    """What a plain function says that it returns; `Any` when it does not say, or says it by a name that is unknown."""
    try:
        return typing.get_type_hints(fn).get("return", Any)
    except Exception:
        return Any


ISSUE: dict[type, Callable[[Instance, Branch, Any], Slot]] = {
    TaskCall: issue_task,
    Timer: issue_timer,
    StartCall: issue_start,
    MethodCall: issue_call,
    Send: issue_send,
    Receive: issue_receive,
    Inline: issue_inline,
}

"""From a call to the message that carries it: checked and encoded before anything is sent. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from attrs import Factory, evolve, frozen
from msgspec import Raw
from msgspec.structs import replace

from dsl.calls import Call, MethodCall, Options, Query, Send, StartCall, TaskCall, as_meta, as_tags, check_id
from dsl.commands import Command, R
from dsl.services import Task
from dsl.timers import Duration
from dsl.workflows import Described, Workflow, WorkflowFunction
from infinitic import messages
from infinitic.client.operations import OPERATIONS, Operation
from infinitic.clock import Clock
from infinitic.engine.alone import ALONE, alone
from infinitic.engine.issuing import task_fields
from infinitic.engine.outputs import ROUTER, broadcast_message
from infinitic.events import AnyEvent, Event, MethodCalled, SignalReceived, Started
from infinitic.ids import new_id, new_run
from infinitic.messages import AGAIN, Broadcast, Message, Outgoing, encode_payload, event_message
from infinitic.serialization import DECODE_ERRORS, Serializer, encode, named, plain_meta
from infinitic.topics import workflow_topic

IfExists: TypeAlias = Literal["attach", "fail", "restart"]
Decode: TypeAlias = Callable[[Any], Any]
Also: TypeAlias = SignalReceived | MethodCalled

IF_EXISTS = ("attach", "fail", "restart")


@frozen
class Request:
    """A message to an instance, and what is known of its answer.

    *answer_id* is the `call_id` of the reply to the message itself, *call_id* that of the method whose end is
    awaited: "" for a run. *decode* makes the result of a reply's value.
    """

    outgoing: Outgoing
    workflow: str
    workflow_id: str
    label: str
    answer_id: str
    call_id: str = ""
    run: str = ""
    decode: Decode | None = None


@frozen
class Given:
    """What `client.start` was given beside the call."""

    id: str | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = Factory(dict)
    if_exists: IfExists = "attach"

    @classmethod
    def checked(cls, id: str | None, tags: Iterable[str], meta: Any, if_exists: Any) -> Given:
        """Raises `InvalidId`, `TypeError` or `ValueError` for what cannot be meant."""
        if if_exists not in IF_EXISTS:
            known = ", ".join(map(repr, IF_EXISTS))
            raise ValueError(f"if_exists is one of {known}, not {if_exists!r}")
        return cls(None if id is None else check_id(id, "id="), as_tags(tags), as_meta(meta), if_exists)

    def only_id(self, label: str) -> Given:
        """Itself. Raises `TypeError` when there is more than an id: only a start takes that."""
        if self != Given(self.id):
            raise TypeError(f"{label} starts nothing: tags, meta and if_exists are for a start")
        return self


NOTHING = Given()


@frozen
class Writer:
    """Writes the messages of one client."""

    client_id: str
    serializer: Serializer
    clock: Clock
    new_run: Callable[[], str] = new_run

    # --- for a call ---

    def start(self, call: StartCall[Any], given: Given = NOTHING, also: Also | None = None) -> Request:
        """The start of an instance, and what comes along with it.

        Raises `EncodeError` and `DecodeError` for arguments that do not fit, `TypeError` for a child's options.
        """
        if call.given.parent_close is not None:
            raise TypeError(f"{call.label} has no parent here: parent_close= is for what a workflow starts")
        definition, run = call.definition, self.new_run()
        workflow_id = _the_id(call, given) or new_id()
        at = self.clock()
        event = Started(
            id=new_id(),
            workflow=definition.owner,
            run=run,
            method=definition.name if definition.bound else "",
            arguments=self.arguments(call),
            tags=tuple(sorted({*call.given.tags, *given.tags})),
            meta=_plain_meta(call.given.meta | given.meta),
            reply_to=self.client_id,
            if_exists=given.if_exists,
            timeout=call.given.timeout or 0,
            cleanup_timeout=call.given.cleanup_timeout or 0,
            retention=call.given.retention,
            delay=call.given.delay or 0,
            start_at=call.given.start_at or 0,
            sent=at,
            also=also,
        )
        return Request(
            self._event(event, definition.owner, workflow_id),
            definition.owner,
            workflow_id,
            definition.owner,
            answer_id=event.id,
            run=run,
            decode=result_decoder(self.serializer, definition),
        )

    def task(self, call: TaskCall[Any], given: Given = NOTHING) -> Request:
        """The start of the built-in workflow that runs this one task. Raises as `start` does."""
        fields = task_fields(call)
        options = {name: value for name, value in fields.pop("options").items() if name not in ("tags", "meta")}
        arguments = alone.bind((), {**fields, "arguments": self.arguments(call), "options": options})
        around = StartCall[Any](alone, arguments, given=Options(tags=call.given.tags, meta=call.given.meta))
        decode = result_decoder(self.serializer, call.definition)
        return evolve(self.start(around, given), label=call.definition.label, decode=decode)

    def method(self, call: MethodCall[Any], given: Given = NOTHING) -> Request:
        """The call of a method. Raises `EncodeError` and `DecodeError` for arguments that do not fit."""
        event = self._called(call, given)
        return self._of_call(call, event, self._addressed(event, call.definition.owner, call))

    def _called(self, call: MethodCall[Any], given: Given) -> MethodCalled:
        call_id = _the_id(call, given.only_id(call.label)) or new_id()
        return MethodCalled(call_id, call.definition.name, self.arguments(call), reply_to=self.client_id)

    def _of_call(self, call: MethodCall[Any], event: MethodCalled, outgoing: Outgoing) -> Request:
        definition, decode = call.definition, result_decoder(self.serializer, call.definition)
        whose = definition.owner, call.workflow_id, definition.label
        return Request(outgoing, *whose, answer_id=event.id, call_id=event.id, decode=decode)

    def signal(self, call: Send, workflow: str, given: Given = NOTHING, *, answered: bool) -> Request:
        """A signal; to the router when *workflow* is "". Raises `EncodeError` and `DecodeError`."""
        event = self._signalled(call, given, answered=answered)
        return self._of_signal(call, event, self._addressed(event, workflow, call), workflow)

    def _signalled(self, call: Send, given: Given, *, answered: bool) -> SignalReceived:
        signal_id = _the_id(call, given.only_id(call.label)) or new_id()
        reply_to = self.client_id if answered else ""
        return SignalReceived(signal_id, call.definition.name, self._signal_value(call), reply_to)

    def _of_signal(self, call: Send, event: SignalReceived, outgoing: Outgoing, workflow: str) -> Request:
        label = f"{call.definition.label}.send(…)"
        return Request(outgoing, workflow, call.workflow_id, label, event.id, event.id)

    def together(self, command: MethodCall[Any] | Send, start: StartCall[Any], id: str | None) -> Request:
        """A start, and a call or a signal that comes in the same step; what is awaited is *command*'s answer.

        Raises as `start` and `method` do, and `TypeError` or `ValueError` when the two are not of one instance.
        """
        owner, of_command = start.definition.owner, command.definition.owner
        if of_command not in ("", owner):
            raise TypeError(f"{command.label} is for {of_command}, and start= begins an instance of {owner}")
        given = Given(command.workflow_id)
        if id not in (None, command.workflow_id) or _the_id(start, given) != command.workflow_id:
            raise ValueError(f"{command.label} is for {command.workflow_id!r}, and id= says {id!r}: give one")
        if isinstance(command, MethodCall):
            called = self._called(command, NOTHING)
            return self._of_call(command, called, self.start(start, given, called).outgoing)
        signal = self._signalled(command, NOTHING, answered=True)
        return self._of_signal(command, signal, self.start(start, given, signal).outgoing, owner)

    def query(self, query: Query[Any]) -> Request:
        """A question. Raises `EncodeError` and `DecodeError` for arguments that do not fit."""
        definition, query_id = query.definition, new_id()
        payload = messages.Query(definition.name, self.arguments(query))
        message = self._message("query", query_id, payload, definition.owner, query.workflow_id)
        return Request(
            _to(message),
            definition.owner,
            query.workflow_id,
            definition.label,
            answer_id=query_id,
            call_id=query_id,
            decode=result_decoder(self.serializer, definition),
        )

    # --- for an instance ---

    def operation(self, event: Operation, workflow: str, workflow_id: str, label: str) -> Request:
        """Something that is to be done to an instance, and answered by it."""
        told = replace(event, reply_to=self.client_id)
        outgoing = self._event(told, workflow, workflow_id)
        return Request(outgoing, workflow, workflow_id, f"{OPERATIONS[type(event)]} {label}", event.id, event.id)

    def broadcast(self, event: AnyEvent, workflow: str, tag: str) -> Outgoing:
        """An event for all instances that have the tag, none of which answers."""
        event = replace(event, reply_to="")
        return broadcast_message(Broadcast(tag, event, workflow), at=self.clock(), sender=self.client_id)

    def ask(self, workflow: str, waits: Sequence[tuple[str, str]]) -> Outgoing:
        """How these (workflow id, call id) stand."""
        payload = messages.Ask(tuple(waits))
        return _to(self._message("ask", new_id(), payload, workflow, waits[0][0]))

    # --- parts ---

    def arguments(self, call: Any) -> Raw:
        """The arguments of a call or a query by name, as its receiver will be able to read them."""
        data = self.serializer.encode(call.arguments)
        self.serializer.signature(call.definition).decode_arguments(data)
        return Raw(data)

    def _signal_value(self, call: Send) -> Raw:
        data = self.serializer.encode(call.arguments)
        decoded(self.serializer.decoder(call.definition.type), data, f"{call.definition.label}.send(…)")
        return Raw(data)

    def _addressed(self, event: SignalReceived | MethodCalled, workflow: str, call: Call[Any]) -> Outgoing:
        """An event for one instance, or for all that have a tag."""
        if call.tag:
            return self.broadcast(event, workflow, call.tag)
        return self._event(event, workflow, call.workflow_id)

    def _event(self, event: Event, workflow: str, workflow_id: str) -> Outgoing:
        sent = {"reply_to": getattr(event, "reply_to", ""), "at": self.clock(), "sender": self.client_id}
        return _to(event_message(event, workflow=workflow or ROUTER, workflow_id=workflow_id, **sent))

    def _message(self, kind: str, id: str, payload: Any, workflow: str, workflow_id: str) -> Message:
        return Message(
            kind=kind,
            id=id,
            workflow=workflow,
            workflow_id=workflow_id,
            at=self.clock(),
            sender=self.client_id,
            reply_to=self.client_id,
            payload=encode_payload(payload),
        )


def _to(message: Message) -> Outgoing:
    return Outgoing(workflow_topic(message.workflow), message.workflow_id, message)


def repeat_of(outgoing: Outgoing) -> Outgoing:
    """The same message once more, because its answer may be lost.

    The transport holds the first one before it, under the same key: an event that is marked so, and whose id
    the instance does not know, was refused, or belongs to a former run.
    """
    message = outgoing.message
    return replace(outgoing, message=replace(message, headers={**message.headers, AGAIN: "1"}))


def _the_id(call: Call[Any], given: Given) -> str | None:
    """The id that the call's options or `start` say."""
    of_call = call.given.id
    if None not in (of_call, given.id) and of_call != given.id:
        raise ValueError(f"{call.label} has the id {of_call!r} by its options, and {given.id!r} by id=: give one")
    return given.id if of_call is None else of_call


def _plain_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """*meta* as JSON has it. Raises `EncodeError` with the path."""
    if not meta:
        return {}
    data: dict[str, Any] = json.loads(encode({"meta": plain_meta(meta)}))
    return dict(data["meta"])


def decoded(decode: Decode, data: Any, what: str) -> Any:
    """What *decode* makes of *data*. Raises `DecodeError` that names *what*."""
    try:
        return decode(data)
    except DECODE_ERRORS as error:
        raise named(what, error, data) from None


def result_decoder(serializer: Serializer, definition: Any) -> Decode:
    """Makes results of what *definition* declares."""
    decode, what = serializer.signature(definition).decode_result, f"the result of {definition.label}"
    return lambda data: decoded(decode, data, what)


def decoder_of(serializer: Serializer, workflow: Any, name: str) -> Decode:
    """Makes results of what *workflow* declares: plain JSON data when only a class or a name is known."""
    definition = definition_of(workflow)
    if definition is not None:
        return result_decoder(serializer, definition)
    decode, what = serializer.decoder(Any), f"the result of {name}"
    return lambda data: decoded(decode, data, what)


# --- what a client is given ---


def check_call(call: object, method: str) -> None:
    """Raises `TypeError`, which says what to write instead, unless a client can carry *call*."""
    if method == "run" and isinstance(call, Call) and call.tag:
        raise TypeError(
            f"{call.label} is for all instances tagged {call.tag!r}, and nobody can wait for all their answers: "
            "client.start(…) it, or address one by its id."
        )
    if isinstance(call, StartCall | TaskCall | MethodCall | Send) or (isinstance(call, Query) and method == "run"):
        return
    raise TypeError(_advice(call, method))


def _advice(call: object, method: str) -> str:
    if isinstance(call, Query):
        return f"{call.label} is a query, which is answered at once: client.run(…)"
    name = _defined_name(call)
    if name:
        return f"{name} is a definition: call it, as in client.{method}({name}(…))"
    takes = f"client.{method}(…) takes the call of a workflow, a task, a method or a send"
    if isinstance(call, Command):
        label = getattr(call, "label", type(call).__name__)
        return f"{label} is for workflow code: {takes}"
    return f"{takes}, not {call!r}"


def _defined_name(value: object) -> str:
    """The name of a definition that was not called; "" for anything else."""
    if isinstance(value, type) and issubclass(value, Workflow):
        return f"{value.__name__}.run" if "run" in value.members() else value.__name__
    if isinstance(value, WorkflowFunction | Task):
        return value.label
    return value.definition.label if isinstance(value, Described) else ""


def begun(call: Call[R], delay: Duration | None, start_at: datetime | None) -> Call[R]:
    """The start that *call* is, later. Raises `TypeError` for what is no start, `ValueError` for what cannot be."""
    return call if delay is None and start_at is None else call.options(delay=delay, start_at=start_at)


def check_together(command: object, start: object) -> None:
    """Raises `TypeError` unless *start* may begin the instance that *command* is for."""
    if not isinstance(start, StartCall):
        given = "nothing" if start is None else repr(start)
        raise TypeError(f"client.run(…, start=trip(…)) takes the start of a workflow, not {given}")
    if not isinstance(command, MethodCall | Send):
        raise TypeError(f"client.run(…, start=…) takes a method's call or a signal beside the start, not {command!r}")


def definition_of(workflow: Any) -> Any:
    """The definition whose result a handle decodes; None when only a name or a class is known."""
    if isinstance(workflow, Task):
        return workflow
    if isinstance(workflow, Described) and workflow.definition.kind == "method":
        return workflow.definition
    return workflow if isinstance(workflow, WorkflowFunction) else None


def name_of(workflow: Any) -> str:
    """The name of a workflow that is given by its definition, class, method or name, or by a task that runs alone.

    Raises `TypeError`.
    """
    if isinstance(workflow, str):
        return workflow
    if isinstance(workflow, Task):
        return ALONE
    if isinstance(workflow, type) and issubclass(workflow, Workflow) and workflow.workflow_name:
        return workflow.workflow_name
    definition = definition_of(workflow)
    if definition is None:
        raise TypeError(f"a workflow is named by its function, class, method or name, not by {workflow!r}")
    return str(definition.owner)

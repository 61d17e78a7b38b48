"""Rehearsing: one workflow in the real engine, answered by the test; then replayed from the bytes of its history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, overload

from attrs import frozen
from msgspec import Raw, structs

from dsl.calls import Call, StartCall
from dsl.commands import Command, Coro, Flow
from dsl.inlines import ContinueAsNew, Inline
from dsl.workflows import workflow
from infinitic import events
from infinitic.client.calls import decoded, result_decoder
from infinitic.client.session import instant_of
from infinitic.engine import turns
from infinitic.engine.attempts import BEAT, LIMITS
from infinitic.engine.comparing import same, shown
from infinitic.engine.instance import Diverged, Instance, Refusal
from infinitic.engine.programs import Program
from infinitic.events import NULL
from infinitic.history import AnyIssued, ChildIssued, InlineIssued, ReceiveIssued, Turn, decode_turn, encode_turn
from infinitic.ids import derived_id
from infinitic.records import COMPLETED
from infinitic.serialization import Codec, Serializer, error_value, plain_meta, rebuild
from infinitic.testing import answers as told
from infinitic.testing.answers import Answer
from infinitic.testing.checking import check, replayed
from infinitic.testing.errors import Unexpected, Unfinished
from infinitic.testing.flows import call_of
from infinitic.testing.stepped import around

R = TypeVar("R")

BEGIN = datetime(2030, 1, 1, 9, tzinfo=UTC)
"""When a rehearsal, and a stage, begins unless it is told."""
ID, RUN = "rehearsal", "0" * 31 + "1"


@frozen(eq=False)
class Asked:
    """A command that workflow code asked for, as history records it.

    Equal to a command that asks for the same: `rehearse(trip("Oslo")).commands == (Hotels.book("Oslo"),)`.
    *position* is what an answer names; *kind* is task, timer, receive, child, call, signal, inline, tags or continue.
    """

    position: str
    issued: AnyIssued
    codec: Serializer

    @property
    def kind(self) -> str:
        return kind_of(self.issued)

    @property
    def failure(self) -> str:
        """Why it could not even be sent, "" where it was: its arguments cannot be encoded, or are not as declared."""
        failure = getattr(self.issued, "failure", None)
        return failure.summary if failure is not None else ""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Asked):
            return self.issued == other.issued
        return asks_for(self, other) if isinstance(other, Command) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.position)

    def __str__(self) -> str:
        return f"{shown(self.issued)} at {self.position}"

    def __repr__(self) -> str:
        return f"<{self}>"


def kind_of(issued: AnyIssued) -> str:
    """The word by which history tells a command from others."""
    return str(issued.__struct_config__.tag)


def asks_for(asked: Asked, command: Command[Any]) -> bool:
    """Whether *command* would be recorded as what was *asked* for, wherever it is."""
    issued = asked.issued
    if isinstance(command, Inline):
        return isinstance(issued, InlineIssued) and issued.name == command.name  # it is not run for this

    def probe() -> Any:
        yield command

    name = command.call.definition.owner if isinstance(command, ContinueAsNew) else "probe"
    start: Any = workflow(name=name)(probe)()
    with closing(Rehearsing(start, BEGIN, asked.codec)) as rehearsing:
        recorded = rehearsing.rehearsal().commands
    if len(recorded) != 1 or type(recorded[0].issued) is not type(issued):
        return False
    other = recorded[0].issued
    if isinstance(other, ChildIssued) and other.workflow_id == derived_id(RUN, other.position):
        other = structs.replace(other, workflow_id="")
    if isinstance(other, ReceiveIssued) and isinstance(issued, ReceiveIssued) and other.which != issued.which:
        return False
    return same(issued, other, Any)


class Rehearsal(Generic[R]):
    """How a workflow stands after the answers that it was given.

    *commands* are all that it asked for, in order; *waiting* those that have no answer yet; *status* is running,
    completed, failed, cancelled or continued; *history* holds the turns, as a worker would store them.
    """

    def __init__(self, instance: Instance, bodies: Sequence[bytes], decode: Callable[[Any], R]) -> None:
        codec, end = instance.surroundings.codec, instance.end
        self.workflow = instance.program.name
        self.status = instance.status
        self.history = tuple(decode_turn(body) for body in bodies)
        self.commands = tuple(Asked(one.position, one, codec) for turn in self.history for one in turn.commands)
        positions = set() if instance.ended else {*instance.open}
        self.waiting = tuple(one for one in self.commands if one.position in positions)
        self.error = _rebuilt(end.error) if end is not None and end.error is not None else None
        """What the workflow raised; None where it did not."""
        self._value, self._decode = end.value if end is not None else NULL, decode

    @property
    def result(self) -> R:
        """What the workflow returned, as its caller gets it. Raises what it raised, and `Unfinished`."""
        if self.error is not None:
            raise self.error
        if self.status != COMPLETED:
            raise Unfinished(self.workflow, self.status, tuple(map(str, self.waiting)))
        return self._decode(self._value)

    def __repr__(self) -> str:
        return f"<Rehearsal of {self.workflow}, {self.status}: {len(self.commands)} commands>"


@overload
def rehearse(
    flow: Call[R], answers: Sequence[Answer] = (), *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[R]: ...
@overload
def rehearse(
    flow: Flow[R] | Coro[R], answers: Sequence[Answer] = (), *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[R]: ...
def rehearse(
    flow: Any, answers: Sequence[Answer] = (), *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[Any]:
    """Run a workflow in the engine, without tasks, timers or others: what they answer is given by the test.

    *flow* is the call of a workflow (`trip("Oslo")`, `Loyalty.run(weeks=3)`) or a generator that was not started. The
    *answers* come in their order, beginning *at* an aware datetime. All values are encoded and decoded as a worker
    does. In the end the history is replayed from its bytes, so every rehearsal is a test of determinism.

    Raises `Unexpected` for an answer that nobody waits for, `EncodeError` and `DecodeError` for values that do not
    fit, `NonDeterminismError` when the replay comes to something else.
    """
    with closing(Rehearsing(call_of(flow), at, Serializer(codecs))) as rehearsing:
        for answer in answers:
            rehearsing.take(answer)
        rehearsing.check()
        return rehearsing.rehearsal()


@overload
def replay(
    flow: Call[R], answers: Sequence[Answer | Turn], *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[R]: ...
@overload
def replay(
    flow: Flow[R] | Coro[R], answers: Sequence[Answer | Turn], *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[R]: ...
def replay(
    flow: Any, answers: Sequence[Answer | Turn], *, at: datetime = BEGIN, codecs: Sequence[Codec] = ()
) -> Rehearsal[Any]:
    """Rehearse, and give what comes of the history's bytes, as on a worker that takes the instance over.

    In place of answers a history will do (`rehearsal.history`, `handle.history()`): then *flow* says whose code is
    to follow it, which may be newer than the code that wrote it. Raises what `rehearse` raises.
    """
    with closing(Rehearsing(call_of(flow), at, Serializer(codecs))) as rehearsing:
        turns_given = [encode_turn(one) for one in answers if isinstance(one, Turn)]
        if turns_given and len(turns_given) < len(answers):
            raise TypeError("replay() takes answers or a history, not both")
        for answer in answers if not turns_given else ():
            rehearsing.take(answer)  # type: ignore[arg-type]  # there is no turn among them
        return rehearsing.again(turns_given or rehearsing.bodies)


class Rehearsing:
    """A rehearsal under way; it has begun."""

    def __init__(self, call: StartCall[Any], at: datetime, codec: Serializer) -> None:
        definition = call.definition
        self.program = Program(definition if definition.kind == "workflow" else definition.holder)
        self.bodies: list[bytes] = []
        self._kinds: dict[str, str] = {}  # of what was asked for, by position
        self._at, self._codec, self._around = instant_of(at, "at"), codec, around(codec)
        self._decode = result_decoder(codec, definition)
        self._instance = Instance(self.program, ID, self._around)
        start = events.Started("start", self.program.name, RUN, definition.name if definition.bound else "")
        given = {"arguments": self._arguments(call), "tags": call.given.tags, "meta": plain_meta(call.given.meta)}
        self._apply(structs.replace(start, **given))

    def take(self, answer: Answer) -> None:
        """Have the workflow hear *answer*. Raises `TypeError`, `Unexpected`, `EncodeError`, `DecodeError`."""
        if not isinstance(answer, Answer):
            raise TypeError(f"an answer is TaskCompleted(…), SignalSent(…) or the like, not {answer!r}")
        self._apply(self._event(answer))

    def _event(self, answer: Answer) -> events.AnyEvent:
        match answer:
            case told.TaskCompleted(position, value):
                return events.TaskCompleted("", position, self._value(answer, value, "task"))
            case told.TaskRaised(position, error):
                self._slot(answer, "task")
                return events.AttemptFailed("", position, error_value(error))
            case told.TimedOut():
                return self._timed_out(answer)
            case told.TimerFired(position):
                slot = self._slot(answer, "timer")
                self._at = self._at if slot is None else max(self._at, slot.issued.due)
                return events.TimerFired("", position)
            case told.ChildCompleted(position, value):
                return events.Answered("", position, value=self._value(answer, value, "child", "call"))
            case told.ChildRaised(position, error):
                self._slot(answer, "child", "call")
                return events.Answered("", position, "failed", error=error_value(error))
            case _:
                return self._event_from_outside(answer, f"outside-{len(self.bodies)}")

    def _timed_out(self, answer: told.TimedOut) -> events.AnyEvent:
        """A deadline of the task's own passes; or its worker says that the last attempt broke its limit."""
        slot, (position, limit) = self._slot(answer, "task"), (answer.position, answer.limit)
        which = next((one for one, name in LIMITS.items() if name == limit and one != BEAT), "")
        if slot is None or not which:
            error = TimeoutError(f"the task broke its {limit}")
            attempt = slot.attempt if slot is not None else 1
            said = "" if limit == "timeout" else limit
            return events.AttemptFailed("", position, error_value(error), attempt, None, True, began=1, limit=said)
        due = slot.watch.deadlines.get(which) if slot.watch is not None else None
        if due is None:
            raise self._unexpected(answer, f"the task at {position!r} has no {limit}")
        self._at = max(self._at, due)
        return events.TimerFired("", f"{position}{which}")

    def _event_from_outside(
        self, answer: told.SignalSent | told.MethodCalled | told.CancelRequested, key: str
    ) -> events.AnyEvent:
        match answer:
            case told.SignalSent(channel, value):
                return events.SignalReceived(key, channel, Raw(self._codec.encode(value)))
            case told.MethodCalled(call):
                return events.MethodCalled(key, call.definition.name, self._arguments(call))
            case told.CancelRequested():
                return events.CancelRequested(key)

    def _slot(self, answer: Any, *kinds: str) -> Any:
        """The open slot that *answer* is for; None when that is settled already. Raises `Unexpected`."""
        kind = self._kinds.get(answer.position)
        if kind is None:
            raise self._unexpected(answer, f"nothing was asked for at {answer.position!r}")
        if kind not in kinds:
            raise self._unexpected(answer, f"at {answer.position!r} a {kind} was asked for")
        return self._instance.open.get(answer.position)

    def _value(self, answer: Any, value: Any, *kinds: str) -> Raw:
        slot, data = self._slot(answer, *kinds), Raw(self._codec.encode(value))
        if slot is not None:
            decoded(slot.decode, data, repr(answer))
        return data

    def _arguments(self, call: Call[Any]) -> Raw:
        data = self._codec.encode(call.arguments)
        self._codec.signature(call.definition).decode_arguments(data)
        return Raw(data)

    def _apply(self, event: events.AnyEvent) -> None:
        try:
            made = turns.apply(self._instance, event, self._at)
        except Diverged as diverged:
            raise diverged.error from None
        if isinstance(made, Refusal) and made.status != "finished":
            raise made.error
        if isinstance(made, Turn):  # else it came too late to change anything
            self.bodies.append(encode_turn(made))
            self._kinds.update({one.position: kind_of(one) for one in made.commands})

    def _unexpected(self, answer: Any, problem: str) -> Unexpected:
        return Unexpected(repr(answer), problem, tuple(map(str, self.rehearsal().waiting)))

    def check(self) -> None:
        """Raises `NonDeterminismError` unless a replay comes to the same."""
        check(self.program, ID, self.bodies, self._around, self._instance)

    def rehearsal(self) -> Rehearsal[Any]:
        """How it stands."""
        return Rehearsal(self._instance, self.bodies, self._decode)

    def again(self, bodies: Sequence[bytes]) -> Rehearsal[Any]:
        """How the replay of a history stands."""
        again = replayed(self.program, ID, bodies, self._around)
        try:
            return Rehearsal(again, bodies, self._decode)
        finally:
            turns.close(again)

    def close(self) -> None:
        """Give it up."""
        turns.close(self._instance)


def _rebuilt(error: events.ErrorValue) -> BaseException:
    """The exception, with the text of its traceback."""
    raised = rebuild(error)
    if error.traceback:
        raised.add_note(error.traceback)
    return raised

"""Applying: one instance's messages, in order, become one change. No threads and no commit here.

What cannot be applied here and now (divergence, unreadable history, code that killed its workers) suspends the
instance: its messages wait in its inbox, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from infinitic.engine import turns
from infinitic.engine.arriving import answered_before
from infinitic.engine.instance import Diverged, Instance, Refusal, Surroundings
from infinitic.engine.outputs import Origin, answer_message, reply_message
from infinitic.engine.record import state_record
from infinitic.errors import DecodeError, InfiniticError, UnknownWorkflow, WorkflowExists, WorkflowFinished
from infinitic.events import (
    AnyEvent,
    CancelRequested,
    ErrorValue,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
)
from infinitic.history import Answer
from infinitic.ids import InvalidId, check_id
from infinitic.messages import (
    FORMAT,
    Ask,
    Delivery,
    Query,
    Reply,
    decode_message,
    encode_message,
    event_of,
)
from infinitic.records import FAILED, OPEN, SUSPENDED, CallRecord, InboxItem, StateRecord, Stored, Version
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.worker.changes import Change
from infinitic.worker.held import Held
from infinitic.worker.loading import held_of, origin_of
from infinitic.worker.registry import Registry

DEATHS = 3
"""How often work may kill its worker, with nothing beside it, before it is given up."""


class Applier:
    """Makes changes. *now* gives the storage's time in microseconds."""

    def __init__(
        self,
        registry: Registry,
        surroundings: Surroundings,
        storage: Callable[[], Storage],
        now: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._surroundings = surroundings
        self._storage = storage
        self._now = now

    def change(
        self, workflow: str, workflow_id: str, held: Held | None, deliveries: Sequence[Delivery]
    ) -> Change:
        """What the *deliveries* for one instance come to; *held* is it where it is in hand already.

        A change may settle fewer than all deliveries (its `deliveries` tells): the rest is to be applied again.
        """
        problem: BaseException | None = None
        stored: Stored | None = None
        if held is None:
            stored = self._storage().load(workflow_id)
            if stored is not None:
                held, problem = held_of(
                    stored, self._registry.programs.get(stored.workflow), self._surroundings
                )
        change = Change(held.record.workflow if held and held.record else workflow, workflow_id, held)
        if stored is not None and stored.inbox and held is not None and held.instance is not None:
            deliveries = [*_waiting(stored), *deliveries]
            change.inbox_removed = tuple(item.key for item in stored.inbox)
        elif held is not None and held.instance is None and change.over is None:
            change.problem = (
                str(problem) if problem is not None else held.record.reason if held.record else ""
            )
        if any(one.deaths >= DEATHS for one in deliveries):
            change.problem = f"applying a message killed its worker {DEATHS} times"
            change.instance = None
        self._apply_all(change, deliveries)
        self._complete(change)
        return change

    def suspended(
        self, workflow: str, workflow_id: str, deliveries: Sequence[Delivery], problem: str
    ) -> Change:
        """The change that suspends an instance for *problem*, its *deliveries* in the inbox."""
        stored = self._storage().load(workflow_id)
        held = Held(None, stored.version, stored.mark, stored.record) if stored is not None else None
        change = Change(stored.workflow if stored is not None else workflow, workflow_id, held)
        change.problem = problem
        self._suspend(change, deliveries)
        return change

    def _apply_all(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        for index, delivery in enumerate(deliveries):
            if change.problem:
                self._suspend(change, deliveries[index:])
                return
            try:
                self._apply(change, delivery)
            except Diverged as error:
                if index and not change.inbox_removed:
                    change.rest = list(deliveries[index:])
                    change.redo = list(deliveries[:index])
                    return
                change.problem = str(error.error)
                change.reset()
                self._suspend(change, deliveries)
                return
            change.deliveries.append(delivery)

    # --- one message ---

    def _apply(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        if message.format > FORMAT + 1:
            raise Diverged(
                InfiniticError(f"a message of a newer release (format {message.format}) came for it")
            )
        if message.kind == "query":
            self._query(change, delivery)
        elif message.kind == "ask":
            self._ask(change, delivery)
        elif message.kind == "event":
            self._event(change, delivery)

    def _event(self, change: Change, delivery: Delivery) -> None:
        try:
            event = event_of(delivery)
        except msgspec.DecodeError as error:
            change.dead.append((delivery, f"the payload is no event: {error}"))
            return
        run = delivery.message.run
        if isinstance(event, Started):
            self._start(change, event)
        elif change.over is not None:
            error = WorkflowFinished(change.workflow, change.workflow_id, change.over.status)
            self._refused(change, event, "finished", error_value(error))
        elif change.instance is None:
            self._unknown(change, event)
        elif run and run != change.instance.run:
            return  # an answer for another run
        elif delivery.message.workflow != change.workflow:
            self._unknown(change, event)
        elif isinstance(event, Retried):
            self._retry(change, event)
        else:
            self._advance(change, change.instance, event)

    def _advance(self, change: Change, instance: Instance, event: AnyEvent) -> None:
        made = turns.apply(instance, event, self._now())
        if isinstance(made, Refusal):
            self._refused(change, event, made.status, error_value(made.error))
            return
        if made is None:
            self._repeated(change, instance, event)
            return
        change.take(instance, made, self._now())
        if isinstance(event, SignalReceived | CancelRequested):
            change.refuse(event.reply_to, event.id, "received", None)
        following = instance.draft.continued
        if following is not None:
            self._begin(change, following)

    def _begin(self, change: Change, event: Started) -> None:
        program = self._registry.programs[event.workflow]
        instance = Instance(program, change.workflow_id, self._surroundings)
        change.starts = (*change.starts, event.id)
        self._advance(change, instance, event)

    # --- starts ---

    def _start(self, change: Change, event: Started) -> None:
        try:
            check_id(change.workflow_id)
        except InvalidId as error:
            self._refused(change, event, "refused", error_value(error))
            return
        if event.id in change.starts:
            self._started_before(change, event)
        elif change.status is None or (event.if_exists == "restart" and _may_restart(change, event)):
            change.runs_ended += [change.held.version.run] if change.held is not None else []
            self._begin(change, event)
            if event.if_exists != "attach":
                change.refuse(event.reply_to, event.id, "received", None)
        elif event.workflow != change.workflow or event.if_exists != "attach" or event.caller is not None:
            error = error_value(WorkflowExists(change.workflow, change.workflow_id, change.status))
            self._refused(change, event, "exists", error)
        else:
            self._watch(change, event.reply_to, "")

    def _started_before(self, change: Change, event: Started) -> None:
        if event.if_exists != "attach":
            change.refuse(event.reply_to, event.id, "received", None)
        else:
            self._watch(change, event.reply_to, "")

    # --- retries ---

    def _retry(self, change: Change, event: Retried) -> None:
        instance = change.instance
        assert instance is not None
        if event.id in instance.senders:
            change.refuse(event.reply_to, event.id, "received", None)
        elif instance.status == FAILED and instance.failed_turn >= 0 and not change.rows:
            self._take_up_again(change, instance, event)
        elif instance.ended and "" in instance.calls:
            self._answer_again(change, instance)
            error = WorkflowFinished(change.workflow, change.workflow_id, instance.status)
            change.refuse(event.reply_to, event.id, "refused", error_value(error))
        else:
            text = f"{change.workflow} {change.workflow_id!r} is {instance.status}; only a failed run can be retried"
            change.refuse(event.reply_to, event.id, "refused", error_value(InfiniticError(text)))

    def _take_up_again(self, change: Change, failed: Instance, event: Retried) -> None:
        bodies = [row.body for row in self._storage().history(change.workflow_id, failed.run)]
        if len(bodies) != failed.turns:
            raise Diverged(InfiniticError(f"{change.workflow_id}: its history moved on; to be applied again"))
        instance = Instance(failed.program, change.workflow_id, self._surroundings)
        made = turns.retry(instance, bodies, failed.failed_turn, event, self._now())
        instance.senders[event.id] = None
        change.take(instance, made, self._now())
        change.refuse(event.reply_to, event.id, "received", None)

    def _answer_again(self, change: Change, instance: Instance) -> None:
        """A parent that was retried asks for the answer of a child that has one by now."""
        answer = answered_before(instance, "")
        if answer.caller is not None and answer.status == "completed" and instance.started is not None:
            origin = origin_of(change.workflow_id, instance.started)
            change.outputs.append(answer_message(origin, answer, self._now()))

    # --- what changes nothing ---

    def _repeated(self, change: Change, instance: Instance, event: AnyEvent) -> None:
        if isinstance(event, SignalReceived | CancelRequested):
            change.refuse(event.reply_to, event.id, "received", None)
        elif isinstance(event, MethodCalled):
            self._watch(change, event.reply_to, event.id)

    def _refused(self, change: Change, event: AnyEvent, status: str, error: ErrorValue) -> None:
        change.refuse(getattr(event, "reply_to", ""), event.id, status, error)
        caller = getattr(event, "caller", None)
        if caller is not None:
            answer = Answer(event.id, status, error=error, caller=caller)
            change.outputs.append(answer_message(self._origin(change), answer, self._now()))

    def _unknown(self, change: Change, event: AnyEvent) -> None:
        if isinstance(event, SignalReceived | MethodCalled | CancelRequested | Retried):
            error = error_value(UnknownWorkflow(change.workflow, change.workflow_id))
            self._refused(change, event, "unknown", error)

    def _origin(self, change: Change) -> Origin:
        return origin_of(change.workflow_id, Started("", change.workflow, ""))

    # --- questions ---

    def _query(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        told: Reply
        if change.instance is None or message.workflow != change.workflow:
            error = error_value(UnknownWorkflow(message.workflow, change.workflow_id))
            told = Reply(change.workflow_id, "unknown", message.id, error=error)
        else:
            told = self._answer(change, change.instance, message.id, message.payload)
        change.hints.append(reply_message(message.reply_to, told))

    def _answer(self, change: Change, instance: Instance, query_id: str, payload: Raw) -> Reply:
        try:
            asked = msgspec.json.decode(payload, type=Query)
            value = turns.query(instance, asked.name, asked.arguments)
        except (DecodeError, msgspec.DecodeError) as error:
            return Reply(change.workflow_id, "refused", query_id, error=error_value(error))
        except Exception as error:
            change.spoilt = True  # whatever it did to the state is gone with the cached instance
            return Reply(change.workflow_id, "failed", query_id, error=error_value(error))
        return Reply(change.workflow_id, "completed", query_id, value=Raw(value))

    def _ask(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        try:
            waits = msgspec.json.decode(message.payload, type=Ask).waits
        except msgspec.DecodeError as error:
            change.dead.append((delivery, f"the payload is no question: {error}"))
            return
        others = [one for one in waits if one[0] != change.workflow_id]
        for workflow_id, call_id in waits:
            if workflow_id == change.workflow_id:
                self._watch(change, message.reply_to, call_id)
        if others:
            records = self._storage().records([workflow_id for workflow_id, _ in others])
            for (workflow_id, call_id), record in zip(others, records, strict=True):
                told = told_by(record, workflow_id, call_id)
                if told is not None:
                    change.hints.append(reply_message(message.reply_to, told))

    def _watch(self, change: Change, client: str, call_id: str) -> None:
        """Answer a client that asks for a result: now if there is one, else when there is."""
        if not client:
            return
        instance = change.instance
        if instance is None:
            told = told_by(change.held.record if change.held else None, change.workflow_id, call_id)
        else:
            told = _told(instance.calls.get(call_id), change.workflow_id, instance.run)
        if told is not None:
            change.hints.append(reply_message(client, told))
        elif len(change.watchers) < 1_000:
            change.watchers.add((client, call_id))

    # --- the end of a change ---

    def _suspend(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        """Put what cannot be applied into the inbox; questions are answered with the reason."""
        if change.held is None:  # there is no inbox yet
            change.dead += [(one, change.problem) for one in deliveries]
            change.deliveries += deliveries
            change.problem = ""
            return
        for delivery in deliveries:
            self._wait(change, delivery)
            change.deliveries.append(delivery)
        record, version = change.held.record, change.held.version
        assert record is not None
        program = self._registry.programs.get(change.workflow)
        change.instance = None
        change.outputs = [*change.held.unsent]
        mine = program.fingerprint if program is not None else ""
        if not change.inbox_added:  # a question alone suspends nobody
            return
        change.version = Version(version.run, version.turns, version.inbox + 1)
        change.record = msgspec.structs.replace(
            record,
            status=SUSPENDED,
            reason=change.problem,
            fingerprint=mine,
            updated=max(record.updated, self._now()),
        )

    def _wait(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        if message.kind == "event":
            event = event_of(delivery)
            change.inbox_added.append(InboxItem(_key(delivery, event), encode_message(message)))
            if not delivery.receipt and delivery.event is not None and hasattr(event, "position"):
                change.timers_cleared[message.run, event.position] = None
        elif message.kind == "query":
            text = f"{change.workflow} {change.workflow_id!r} is suspended: {change.problem}"
            told = Reply(change.workflow_id, "failed", message.id, error=error_value(InfiniticError(text)))
            change.hints.append(reply_message(message.reply_to, told))
        elif message.kind == "ask":
            self._ask(change, delivery)

    def _complete(self, change: Change) -> None:
        instance = change.instance
        if instance is None or change.problem or change.redo:
            return
        inbox = change.held.version.inbox if change.held is not None else 0
        change.version = Version(instance.run, instance.turns, inbox + bool(change.inbox_removed))
        suspended = (
            change.held is not None
            and change.held.record is not None
            and change.held.record.status == SUSPENDED
        )
        if change.rows or change.inbox_removed or suspended:
            change.record = state_record(instance, change.starts)


def _may_restart(change: Change, event: Started) -> bool:
    return change.status not in OPEN and event.workflow == change.workflow


def _waiting(stored: Stored) -> list[Delivery]:
    """The messages of the inbox, as if they had just come."""
    return [Delivery("", decode_message(item.body)) for item in stored.inbox]


def _key(delivery: Delivery, event: AnyEvent) -> str:
    position = getattr(event, "position", None)
    if position is None:
        return event.id
    attempt = getattr(event, "attempt", 0)
    return f"{delivery.message.run}/{position}/{type(event).__name__}/{attempt}"


def _told(call: CallRecord | None, workflow_id: str, run: str) -> Reply | None:
    if call is None:
        return None
    return Reply(workflow_id, call.status, call.call_id, run, call.value, call.error)


def told_by(record: StateRecord | None, workflow_id: str, call_id: str) -> Reply | None:
    """What a state record tells of a run ("") or a call; None while that has no end."""
    if record is None:
        error = error_value(UnknownWorkflow("", workflow_id))
        return Reply(workflow_id, "unknown", call_id, error=error)
    call = next((one for one in record.calls if one.call_id == call_id), None)
    return _told(call, workflow_id, record.run)

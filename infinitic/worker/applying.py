"""Applying: one instance's messages, in order, become one change. No threads and no commit here.

What cannot be applied here and now (divergence, unreadable history, code that killed its workers) suspends the
instance: its messages wait in its inbox, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from dsl.calls import check_id
from infinitic.engine import turns
from infinitic.engine.arriving import RUN_TIMEOUT, known_runs
from infinitic.engine.instance import Diverged, Instance, Refusal, Surroundings
from infinitic.engine.outputs import Origin, answer_message
from infinitic.engine.programs import Program
from infinitic.engine.record import state_record
from infinitic.engine.slots import TimerSlot
from infinitic.errors import (
    InfiniticError,
    InvalidId,
    UnknownWorkflow,
    WorkflowExists,
    WorkflowFinished,
)
from infinitic.events import (
    AnyEvent,
    CancelRequested,
    ErrorValue,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
    TimerFired,
)
from infinitic.history import Answer
from infinitic.messages import AGAIN, FORMAT, Delivery, event_of
from infinitic.records import FAILED, OPEN, SUSPENDED, Stored, Version
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.worker.changes import Change
from infinitic.worker.held import Held
from infinitic.worker.loading import failed_turn, held_of, origin_of
from infinitic.worker.questions import ask, query, watch
from infinitic.worker.registry import Registry
from infinitic.worker.suspending import create_suspended, put_by, readable, retry_among, suspend, waiting
from infinitic.worker.work import Work

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
        self.apply, self.retry = turns.apply, turns.retry  # by which turns are made; a worker may watch over them

    def change(self, workflow: str, workflow_id: str, held: Held | None, deliveries: Sequence[Delivery]) -> Change:
        """What the *deliveries* for one instance come to; *held* is it where it is in hand already.

        A change may settle fewer than all deliveries (its `deliveries` tells): the rest is to be applied again.
        """
        stored = self._storage().load(workflow_id) if held is None else None
        came, problem, retry = deliveries, None, None
        if stored is not None:
            program = self._registry.programs.get(stored.workflow)
            held, problem = self._held(stored, program)
            came = [*waiting(stored), *deliveries]
            retry = retry_among(stored, came) if problem is not None and program is not None else None
        change = Change(held.record.workflow if held and held.record else workflow, workflow_id, held)
        if problem is not None and retry is None and change.over is None:
            change.problem = str(problem)
        elif stored is not None:
            deliveries = sorted(came, key=lambda one: one is not retry)
            change.inbox_removed = tuple(item.key for item in stored.inbox)
        if any(one.deaths >= DEATHS for one in deliveries):
            change.problem = f"applying a message killed its worker {DEATHS} times"
            change.instance = None
        self._apply_all(change, deliveries)
        self._complete(change)
        return change

    def suspended(self, work: Work, problem: str) -> Change:
        """The change that suspends a work's instance for *problem*, its deliveries in the inbox."""
        stored, held = self._storage().load(work.workflow_id), None
        if stored is not None:
            if work.held is not None and work.held.version == stored.version:
                stored = msgspec.structs.replace(stored, mark=work.held.mark)  # what it sent is not sent again
            held, _ = self._held(stored, None)
        change = Change(stored.workflow if stored is not None else work.workflow, work.workflow_id, held)
        change.problem = problem
        self._suspend(change, work.deliveries)
        return change

    def _held(self, stored: Stored, program: Program | None) -> tuple[Held, BaseException | None]:
        return held_of(stored, program, self._surroundings, partial(self._storage().history, stored.workflow_id))

    def _apply_all(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        for index, delivery in enumerate(deliveries):
            if change.problem:
                self._suspend_up_to_restart(change, deliveries)
                return
            if change.spoilt:
                change.rest = list(deliveries[index:])
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
            raise Diverged(InfiniticError(f"a message of a newer release (format {message.format}) came for it"))
        if message.kind == "query":
            query(change, delivery)
        elif message.kind == "ask":
            ask(change, delivery, self._storage())
        elif message.kind == "event":
            self._event(change, delivery)
        elif message.kind != "offer":
            change.dead.append((delivery, f"{message.kind!r} is no kind of message"))

    def _event(self, change: Change, delivery: Delivery) -> None:
        try:
            event = event_of(delivery)
        except msgspec.DecodeError as problem:
            change.dead.append((delivery, f"the payload is no event: {problem}"))
            return
        if AGAIN in delivery.message.headers:
            self._asked_again(change, event)
        elif isinstance(event, Started):
            self._start(change, event)
        elif change.over is not None:
            error = WorkflowFinished(change.workflow, change.workflow_id, change.over.status)
            self._refused(change, event, "finished", error_value(error))
        elif isinstance(event, Retried) and change.instance is None and change.status == FAILED:
            self._take_up_again(change, event)  # with code that cannot follow how it failed
        elif change.instance is None or delivery.message.workflow != change.workflow:
            self._unknown(change, event)
        elif _is_meant(change.instance, delivery.message.run, event):  # else it is an answer for another run
            self._go_on(change, change.instance, event)

    def _go_on(self, change: Change, instance: Instance, event: AnyEvent) -> None:
        if isinstance(event, Retried):
            self._retry(change, event)
        else:
            self._advance(change, instance, event)
            if instance.draft.continued is not None:
                self._begin(change, instance.draft.continued)

    def _advance(self, change: Change, instance: Instance, event: AnyEvent) -> None:
        made = self.apply(instance, event, self._now())
        if isinstance(made, Refusal):
            self._refused(change, event, made.status, error_value(made.error))
            return
        if made is None:
            self._repeated(change, instance, event)
            return
        change.take(instance, made, self._now())
        if isinstance(event, SignalReceived | CancelRequested):
            change.refuse(event.reply_to, event.id, "received", None)

    def _begin(self, change: Change, event: Started) -> None:
        """Begin a run, and each that follows it at once by continue-as-new."""
        following: Started | None = event
        while following is not None:
            program = self._registry.programs[following.workflow]
            before = change.instance.at if change.instance is not None else 0
            instance = Instance(program, change.workflow_id, self._surroundings, at=before)
            self._advance(change, instance, following)
            following = instance.draft.continued

    # --- starts ---

    def _start(self, change: Change, event: Started) -> None:
        try:
            check_id(change.workflow_id)
        except InvalidId as invalid:
            self._refused(change, event, "refused", error_value(invalid))
            return
        if event.id in change.starts:
            self._started_before(change, event)
        elif change.status is None or (event.if_exists == "restart" and _may_restart(change, event)):
            change.runs_ended += [change.held.version.run] if change.held is not None else []
            change.timers_set.clear()  # of the run before, in this very change
            change.starts = (*change.starts, event.id)
            self._begin(change, event)
            if event.if_exists != "attach":
                change.refuse(event.reply_to, event.id, "received", None)
        elif event.workflow != change.workflow or event.if_exists != "attach" or event.caller is not None:
            error = error_value(WorkflowExists(change.workflow, change.workflow_id, change.status))
            self._refused(change, event, "exists", error)
        else:
            watch(change, event.reply_to, "")

    def _started_before(self, change: Change, event: Started) -> None:
        if event.if_exists != "attach":
            change.refuse(event.reply_to, event.id, "received", None)
        else:
            watch(change, event.reply_to, "")

    # --- retries ---

    def _retry(self, change: Change, event: Retried) -> None:
        instance = change.instance
        assert instance is not None
        if event.id in instance.senders:
            change.refuse(event.reply_to, event.id, "received", None)
        elif instance.status == FAILED and instance.failed_turn >= 0:
            self._take_up_again(change, event)
        elif instance.ended and "" in instance.calls:
            self._answer_again(change, instance)
            error = WorkflowFinished(change.workflow, change.workflow_id, instance.status)
            change.refuse(event.reply_to, event.id, "refused", error_value(error))
        else:
            text = f"{change.workflow} {change.workflow_id!r} is {instance.status}; only a failed run can be retried"
            change.refuse(event.reply_to, event.id, "refused", error_value(InfiniticError(text)))

    def _take_up_again(self, change: Change, event: Retried) -> None:
        now = change.current
        rows = (*self._storage().history(change.workflow_id, now.run), *change.rows)
        bodies = [row.body for row in rows if row.run == now.run]
        if len(bodies) != now.turns:
            raise Diverged(InfiniticError(f"{change.workflow_id}: its history moved on; to be applied again"))
        instance = Instance(self._registry.programs[change.workflow], change.workflow_id, self._surroundings)
        made = self.retry(instance, bodies, failed_turn(bodies), event, self._now())
        instance.senders[event.id] = None
        change.take(instance, made, self._now())
        change.refuse(event.reply_to, event.id, "received", None)

    def _answer_again(self, change: Change, instance: Instance) -> None:
        """A parent that was retried asks for the answer of a child that has one by now."""
        answer = _answered_before(instance, "")
        if answer.caller is not None and answer.status == "completed" and instance.started is not None:
            origin = origin_of(change.workflow_id, instance.started)
            change.outputs.append(answer_message(origin, answer, self._now()))

    # --- what changes nothing ---

    def _repeated(self, change: Change, instance: Instance, event: AnyEvent) -> None:
        if isinstance(event, SignalReceived | CancelRequested):
            change.refuse(event.reply_to, event.id, "received", None)
        elif isinstance(event, MethodCalled):
            watch(change, event.reply_to, event.id)
        elif isinstance(event, TimerFired) and not _awaits_timer(instance, event.position):
            change.timers_cleared[instance.run, event.position] = None

    def _asked_again(self, change: Change, event: AnyEvent) -> None:
        """A client repeats what it heard nothing of. The first was applied or refused before, so this never is."""
        instance = change.instance
        if event.id in change.starts or (instance is not None and event.id in instance.senders):
            change.refuse(getattr(event, "reply_to", ""), event.id, "received", None)
        elif isinstance(event, Started):
            error = WorkflowExists(change.workflow, change.workflow_id, change.status or "unknown")
            self._refused(change, event, "exists", error_value(error))
        elif change.status is None:
            self._unknown(change, event)
        elif change.status not in OPEN:
            finished = WorkflowFinished(change.workflow, change.workflow_id, change.status)
            self._refused(change, event, "finished", error_value(finished))
        elif isinstance(event, CancelRequested) and instance is not None and _cancels_already(instance, event):
            change.refuse(event.reply_to, event.id, "received", None)
        else:
            text = f"{change.workflow} {change.workflow_id!r} refused it, and the reason was lost on its way"
            self._refused(change, event, "refused", error_value(InfiniticError(text)))

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

    # --- the end of a change ---

    def _suspend_up_to_restart(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        """Suspend; but a failed instance that this code cannot follow may still be restarted with it."""
        restarts = [index for index, one in enumerate(deliveries) if _restarts(change, one)]
        if restarts == [] or restarts[0] > 0:
            cut = restarts[0] if restarts else len(deliveries)
            self._suspend(change, deliveries[:cut])
            change.rest = list(deliveries[cut:])
        else:
            change.problem = ""
            self._apply_all(change, deliveries[:1])
            change.rest, change.spoilt = list(deliveries[1:]), True  # its inbox goes first, which was not read

    def _suspend(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        """Put what cannot be applied into the inbox; questions are answered with the reason."""
        change.instance = None
        change.outputs = [*change.held.unsent] if change.held is not None else []
        if change.held is None and not create_suspended(change, deliveries, self._now()):
            change.dead += [(one, change.problem) for one in deliveries]  # there is no inbox
            change.deliveries += deliveries
            change.problem = ""
            return
        for delivery in deliveries:
            self._put_by(change, delivery)
            change.deliveries.append(delivery)
        program = self._registry.programs.get(change.workflow)
        offered = any(one.message.kind == "offer" for one in deliveries)
        if change.inbox_added or offered:  # a question alone suspends nobody
            suspend(change, program.fingerprint if program is not None else "", self._now())
        else:
            change.problem = ""

    def _put_by(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        if message.kind == "query":
            query(change, delivery)
        elif message.kind == "ask":
            ask(change, delivery, self._storage())
        elif message.kind != "offer":
            event = readable(delivery)
            if isinstance(event, Started) and change.status is not None and not _restarts(change, delivery):
                self._start(change, event)  # of what exists already: that needs no code
            elif event is not None and message.workflow != change.workflow:
                self._unknown(change, event)  # nor does this
            else:
                put_by(change, delivery, event, self._storage())

    def _complete(self, change: Change) -> None:
        instance, held = change.instance, change.held
        if instance is None or change.problem or change.redo:
            return
        inbox = held.version.inbox if held is not None else 0
        change.version = Version(instance.run, instance.turns, inbox + bool(change.inbox_removed))
        suspended = held is not None and held.record is not None and held.record.status == SUSPENDED
        if change.rows or change.inbox_removed or suspended:
            change.record = state_record(instance, change.starts)


def _cancels_already(instance: Instance, event: CancelRequested) -> bool:
    """Whether what the event asks for is under way."""
    methods = [one for one in instance.methods if event.call_id in ("", one.call_id)]
    return bool(methods) and all(one.cancelling for one in methods)


def _answered_before(instance: Instance, reply_to: str) -> Answer:
    """The answer of the run's first method, once more, for whoever asks."""
    call = instance.calls[""]
    caller = instance.started.caller if instance.started is not None else None
    return Answer("", call.status, call.value, call.error, caller, reply_to)


def _is_meant(instance: Instance, run: str, event: AnyEvent) -> bool:
    """Whether a message for *run* is for this one. A parent knows a child by the first run of a chain."""
    return run in ("", instance.run) or (isinstance(event, CancelRequested | Retried) and run in known_runs(instance))


def _may_restart(change: Change, event: Started) -> bool:
    return change.status not in OPEN and event.workflow == change.workflow


def _awaits_timer(instance: Instance, position: str) -> bool:
    """Whether a timer at *position* is yet to fire."""
    if position == RUN_TIMEOUT:
        return not instance.ended
    slot = instance.open.get(position)
    return isinstance(slot, TimerSlot) or bool(getattr(slot, "next_at", 0))


def _restarts(change: Change, delivery: Delivery) -> bool:
    event = readable(delivery) if change.status not in {None, *OPEN} else None
    return isinstance(event, Started) and event.if_exists == "restart" and _may_restart(change, event)

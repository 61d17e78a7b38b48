"""Applying: one instance's messages, in order, become one change. No threads and no commit here.

What cannot be applied here and now (divergence, unreadable history, code that killed its workers) suspends the
instance: its messages wait in its inbox, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress

import msgspec

from infinitic.engine import turns
from infinitic.engine.instance import Diverged, Instance, Refusal, Surroundings
from infinitic.engine.operations import known_runs
from infinitic.engine.record import state_record
from infinitic.errors import InfiniticError, WorkflowExists, WorkflowFinished
from infinitic.events import (
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    ResumeRequested,
    Retried,
    Started,
    SuspendRequested,
    TaskCompleted,
    TerminateRequested,
)
from infinitic.messages import AGAIN, FORMAT, Delivery, event_message, event_of
from infinitic.records import BY_HAND, FAILED, SUSPENDED, Stored, Version
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.topics import workflow_topic
from infinitic.worker import by_hand, starting, suspending
from infinitic.worker.changes import Change
from infinitic.worker.held import Held
from infinitic.worker.loading import held_of
from infinitic.worker.questions import ask, query, stop_unwanted, watch
from infinitic.worker.refusals import (
    asked_again,
    finished,
    is_noted,
    is_suspended_by_hand,
    received,
    refused,
    repeated,
    unknown,
)
from infinitic.worker.registry import Registry
from infinitic.worker.retrying import nothing_to_retry, take_up_again
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
        self.unable = suspending.Unable()
        self.apply, self.retry = turns.apply, turns.retry  # by which turns are made; a worker may watch over them

    def change(self, workflow: str, workflow_id: str, held: Held | None, deliveries: Sequence[Delivery]) -> Change:
        """What the *deliveries* for one instance come to; *held* is it where it is in hand already.

        A change may settle fewer than all deliveries (its `deliveries` tells): the rest is to be applied again.
        """
        stored = self._storage().load(workflow_id) if held is None else None
        resumed = stored is not None and by_hand.resumes(stored.record, deliveries)
        if stored is not None and resumed:
            stored = by_hand.tried_again(stored)
        problem, retry, known = None, None, ""
        # what was left in the inbox before comes from there
        came = deliveries = [one for one in deliveries if stored is None or one.topic]
        waits = suspending.waiting(stored) if stored is not None else []
        if stored is not None:
            known = "" if resumed else self.unable.why(stored)
            held, problem = self._held(stored, known)
            came = [*waits, *deliveries]
            retry = suspending.retry_among(stored, came, self._registry.programs) if problem is not None else None
        change = Change(held.record.workflow if held and held.record else workflow, workflow_id, held)
        change.known, change.lacks = bool(known), str(problem or "")
        if problem is not None and retry is None and change.over is None:
            change.problem = str(problem)
        elif stored is not None:
            deliveries = sorted(came, key=lambda one: one is not retry)
            change.inbox_removed = tuple(item.key for item in stored.inbox)
        if any(one.deaths >= DEATHS for one in deliveries):
            change.problem = f"applying a message killed its worker {DEATHS} times"
            change.instance = None
        if change.problem and by_hand.ends(change, stored, deliveries, self._now()):
            return change
        self._apply_all(change, deliveries)
        if change.inbox_removed and change.rest:  # what waits on does so in the inbox, lest it be lost with this worker
            left = {id(one) for one in change.rest}
            gone = [id(one) not in left for one in waits]
            change.inbox_removed = tuple(compress(change.inbox_removed, gone))
        self._complete(change)
        self.unable.note(stored, change)
        return change

    def suspended(self, work: Work, problem: str) -> Change:
        """The change that suspends a work's instance for *problem*, its deliveries in the inbox."""
        stored, held = self._storage().load(work.workflow_id), None
        if stored is not None:
            stored = by_hand.tried_again(stored) if by_hand.resumes(stored.record, work.deliveries) else stored
            if work.held is not None and work.held.version == stored.version:
                stored = msgspec.structs.replace(stored, mark=work.held.mark)  # what it sent is not sent again
            held, _ = self._held(stored, problem)
        change = Change(stored.workflow if stored is not None else work.workflow, work.workflow_id, held)
        change.problem = problem
        if by_hand.ends(change, stored, work.deliveries, self._now()):
            return change
        self._suspend(change, work.deliveries)
        self.unable.note(stored, change)
        return change

    def _held(self, stored: Stored, problem: str) -> tuple[Held, BaseException | None]:
        history = partial(self._storage().history, stored.workflow_id)
        return held_of(stored, self._registry.programs, self._surroundings, history, problem)

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
                if not by_hand.ends(change, self._storage().load(change.workflow_id), deliveries, self._now()):
                    self._suspend(change, deliveries)
                return
            change.deliveries.append(delivery)
            if change.stands_still:
                change.rest = list(deliveries[index + 1 :])
                return

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
            stop_unwanted(change, message)
        elif message.kind != "offer":
            change.dead.append((delivery, f"{message.kind!r} is no kind of message"))

    def _event(self, change: Change, delivery: Delivery) -> None:
        try:
            event = event_of(delivery)
        except msgspec.DecodeError as problem:
            change.dead.append((delivery, f"the payload is no event: {problem}"))
            return
        if AGAIN in delivery.message.headers and not isinstance(event, TaskCompleted | AttemptFailed):
            asked_again(change, event, self._now())
        elif isinstance(event, Started):
            self._start(change, delivery, event)
        elif change.over is not None:
            finished(change, event, change.over.status, self._now())
        elif isinstance(event, Retried) and change.instance is None and change.status == FAILED:
            self._take_up_again(change, event)  # with code that cannot follow how it failed
        elif change.instance is None or delivery.message.workflow != change.workflow:
            unknown(change, event, self._now())
            change.lose(delivery, event, "which nobody knows")
        else:
            self._go_on(change, change.instance, delivery, event)

    def _go_on(self, change: Change, instance: Instance, delivery: Delivery, event: AnyEvent) -> None:
        if not _is_meant(instance, delivery.message.run, event):
            error = WorkflowFinished(change.workflow, change.workflow_id, "in a later run")
            if isinstance(event, TaskCompleted | AttemptFailed):  # from somebody who may wait to hear of it
                refused(change, event, "finished", error_value(error), self._now())
        elif isinstance(event, Retried):
            self._retry(change, event)
        elif isinstance(event, SuspendRequested | ResumeRequested):
            by_hand.stand_still(change, event, self._now())
        else:
            refusal = self._advance(change, instance, event)
            if refusal is not None and refusal.status == "refused":
                change.lose(delivery, event, f"which refuses it: {refusal.error}")
            if instance.draft.continued is not None:
                self._begin(change, instance.draft.continued)

    def _advance(self, change: Change, instance: Instance, event: AnyEvent) -> Refusal | None:
        made = self.apply(instance, event, self._now())
        if isinstance(made, Refusal):
            change.spoilt = change.spoilt or made.spoilt
            refused(change, event, made.status, error_value(made.error), self._now())
            return made
        if made is None:
            repeated(change, instance, event, self._now())
            return None
        change.take(instance, made, self._now())
        if not isinstance(event, Started):
            received(change, event)
        return None

    def _begin(self, change: Change, event: Started) -> None:
        """Begin a run, and each that follows it at once by continue-as-new; the last has what came along with it."""
        following: Started | None = event
        while following is not None:
            highest = self._registry.programs[following.workflow]
            program = highest.versions.get(following.version, highest)
            following = msgspec.structs.replace(following, version=program.version)
            before = change.instance.at if change.instance is not None else 0
            instance = Instance(program, change.workflow_id, self._surroundings, at=before)
            self._advance(change, instance, following)
            if change.instance is not instance:  # its start was refused
                turns.close(instance)
                return
            following = instance.draft.continued
        self._hand_over(change, event)

    def _hand_over(self, change: Change, started: Started) -> None:
        """What came along with a start is for what there is now, where that went on as new or was over before."""
        begun, also = change.instance, started.also
        if also is not None and begun is not None and also.id in begun.senders:
            received(change, also)
        else:
            self._also(change, started)

    # --- starts ---

    def _start(self, change: Change, delivery: Delivery, event: Started) -> None:
        if event.id in change.starts:
            self._started_before(change, event)
        elif (unfit := starting.unfit(change, event, self._registry.programs, self._surroundings)) is not None:
            if change.version is not None and change.status is None:  # it was taken in before its code was at hand
                raise Diverged(unfit)
            change.lose(delivery, event, f"which is refused: {unfit}")
            refused(change, event, "refused", error_value(unfit), self._now())
        elif starting.begins(change, event):
            change.runs_ended += [change.held.version.run] if change.held is not None else []
            change.timers_set.clear()  # of the run before, in this very change
            change.starts = (*change.starts, event.id)
            known = change.held.record if change.held is not None and change.status is None else None
            self._begin(change, event if known is None else msgspec.structs.replace(event, began=known.started))
            if event.if_exists != "attach":
                change.refuse(event.reply_to, event.id, "received", None)
        elif event.workflow != change.workflow or event.if_exists != "attach" or event.caller is not None:
            error = error_value(WorkflowExists(change.workflow, change.workflow_id, change.status or "unknown"))
            refused(change, event, "exists", error, self._now())
        else:
            watch(change, event.reply_to, "")
            self._also(change, event)

    def _started_before(self, change: Change, event: Started) -> None:
        if event.if_exists != "attach":
            change.refuse(event.reply_to, event.id, "received", None)
        else:
            watch(change, event.reply_to, "")
        self._also(change, event)

    def _also(self, change: Change, event: Started) -> None:
        """What came along with the start of an instance that there is."""
        if event.also is None:
            return
        message = event_message(event.also, workflow=change.workflow, workflow_id=change.workflow_id, at=event.sent)
        delivery = Delivery(workflow_topic(change.workflow), message)
        if change.instance is None and change.over is None:  # it is suspended
            suspending.put_by(change, delivery, event.also, self._storage())
        else:
            self._event(change, delivery)

    # --- retries ---

    def _retry(self, change: Change, event: Retried) -> None:
        instance = change.instance
        assert instance is not None
        if event.id in instance.senders:
            change.refuse(event.reply_to, event.id, "received", None)
        elif instance.status == FAILED and instance.failed_turn >= 0:
            self._take_up_again(change, event)
        elif event.tasks:
            self._advance(change, instance, event)
        else:
            nothing_to_retry(change, instance, event, self._now())

    def _take_up_again(self, change: Change, event: Retried) -> None:
        instance = Instance(change.program(self._registry.programs), change.workflow_id, self._surroundings)
        take_up_again(change, instance, event, self._storage(), self.retry, self._now())
        if instance.draft.continued is not None and instance.started is not None:
            self._begin(change, instance.draft.continued)
            self._hand_over(change, instance.started)

    # --- the end of a change ---

    def _suspend_up_to_restart(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        """Suspend; but a failed instance that this code cannot follow may still be restarted with it."""
        restarts = [index for index, one in enumerate(deliveries) if suspending.restarts(change, one)]
        if restarts == [] or restarts[0] > 0:
            cut = restarts[0] if restarts else len(deliveries)
            change.rest = list(deliveries[cut:])
            self._suspend(change, deliveries[:cut])
        else:
            change.problem = ""
            self._apply_all(change, deliveries[:1])
            change.rest, change.spoilt = list(deliveries[1:]), True  # its inbox goes first, which was not read

    def _suspend(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        """Put what cannot be applied into the inbox; questions are answered with the reason."""
        change.instance = None
        change.outputs = [*change.held.unsent] if change.held is not None else []
        if change.held is None and not suspending.create_suspended(change, deliveries, self._now()):
            change.dead += [(one, change.problem) for one in deliveries]  # there is no inbox
            change.deliveries += deliveries
            change.problem = ""
            return
        change.rest += [
            one for one in deliveries if change.held is None and by_hand.terminates(one)
        ]  # once it is there
        for delivery in (one for one in deliveries if one not in change.rest):
            self._put_by(change, delivery)
            change.deliveries.append(delivery)
        offered = any(one.message.kind == "offer" for one in deliveries)
        change.problem = change.stands_still or change.problem
        # a question alone suspends nobody, nor is it written again what is known
        if change.inbox_added or is_noted(change) or (offered and not change.known):
            suspending.suspend(change, self._fingerprint(change), self._now())
        else:
            change.problem = ""

    def _fingerprint(self, change: Change) -> str:
        """Of the code that cannot go on; `BY_HAND` where none may."""
        if change.stands_still or is_suspended_by_hand(change):
            return BY_HAND
        program = self._registry.programs.get(change.workflow)
        return program.served if program is not None else ""

    def _put_by(self, change: Change, delivery: Delivery) -> None:
        message = delivery.message
        stands_still = message.kind == "query" and by_hand.stands_still(change)
        stored = self._storage().load(change.workflow_id) if stands_still else None
        if stored is not None:
            by_hand.query_still(change, delivery, *self._held(by_hand.tried_again(stored), ""))
        elif message.kind == "query":
            query(change, delivery)
        elif message.kind == "ask":
            ask(change, delivery, self._storage())
        elif message.kind != "offer":
            event = suspending.readable(delivery)
            if isinstance(event, Started) and change.status is not None and not suspending.restarts(change, delivery):
                self._start(change, delivery, event)  # of what exists already: that needs no code
            elif event is not None and message.workflow != change.workflow:
                unknown(change, event, self._now())  # nor does this
            elif isinstance(event, SuspendRequested | ResumeRequested) and change.status is not None:
                by_hand.stand_still(change, event, self._now())
            else:
                suspending.put_by(change, delivery, event, self._storage())

    def _complete(self, change: Change) -> None:
        instance, held = change.instance, change.held
        if instance is None or change.problem or change.redo:
            return
        inbox = held.version.inbox if held is not None else 0
        noted = is_noted(change)
        change.version = Version(instance.run, instance.turns, inbox + bool(change.inbox_removed or noted))
        suspended = held is not None and held.record is not None and held.record.status == SUSPENDED
        if change.rows or change.inbox_removed or suspended or noted:
            change.record = state_record(instance, change.starts)
        if change.stands_still:
            change.problem = change.stands_still
            suspending.suspend(change, BY_HAND, self._now())
            change.problem, change.spoilt = "", True


def _is_meant(instance: Instance, run: str, event: AnyEvent) -> bool:
    """Whether a message for *run* is for this one. A parent knows a child by the first run of a chain."""
    return run in ("", instance.run) or (
        isinstance(event, CancelRequested | Retried | TerminateRequested) and run in known_runs(instance)
    )

"""Batches: what came for many instances becomes one commit. The worker's logic, one synchronous step at a time.

`Conductor.step` receives, loads, applies and commits; whoever drives it (threads, or a simulation) owns the time in
between. Its state survives the thread that steps it: when workflow code hangs, another thread goes on with the rest.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import frozen
from msgspec.structs import replace

from infinitic.backends import Backend, Step
from infinitic.clock import Clock
from infinitic.engine.instance import Surroundings
from infinitic.engine.outputs import ROUTER, reply_message
from infinitic.errors import StorageError, TransportError, UnknownWorkflow
from infinitic.events import SignalReceived, TimerFired
from infinitic.ids import new_id
from infinitic.messages import Delivery, Outgoing, Reply, event_message, event_of
from infinitic.records import Append, Mark
from infinitic.serialization import error_value
from infinitic.topics import dead_topic, service_topic, workflow_topic
from infinitic.transports import Consumer
from infinitic.worker.applying import Applier
from infinitic.worker.changes import Change
from infinitic.worker.held import Cache, Held
from infinitic.worker.registry import Registry
from infinitic.worker.timers import Timers

SHARE = 100
"""How many messages of one instance go into one batch."""
RECEIVE = 256
"""How many messages are taken at once."""

log = logging.getLogger("infinitic.worker")
workflow_log = logging.getLogger("infinitic.workflow")


@frozen
class Finished:
    """An attempt of a task that is over: what it answers, and the delivery that asked for it."""

    task: Delivery
    result: Outgoing


class Tasks(Protocol):
    """What runs tasks beside the conductor."""

    def capacity(self) -> int: ...
    def submit(self, deliveries: Sequence[Delivery]) -> None: ...


class Work:
    """One instance's share of a batch."""

    __slots__ = ("change", "deliveries", "mine", "workflow", "workflow_id")

    def __init__(self, workflow: str, workflow_id: str) -> None:
        self.workflow, self.workflow_id = workflow, workflow_id
        self.deliveries: list[Delivery] = []
        self.mine: Delivery | None = None  # the one by which the transport knows what is under way
        self.change: Change | None = None


class Deposed(BaseException):
    """The thread that steps has been replaced while workflow code held it up."""


class Conductor:
    """The logic of one worker. One thread at a time calls `step`; all else may be read from any."""

    def __init__(
        self,
        backend: Backend,
        registry: Registry,
        surroundings: Surroundings,
        tasks: Tasks,
        *,
        clock: Clock,
        retention: int,
        cache_instances: int,
        ready: Callable[[], None],
    ) -> None:
        self.backend = backend
        self.registry = registry
        self.clock = clock
        self.retention = retention
        self.tasks = tasks
        self.token = new_id()
        self.cache = Cache(cache_instances)
        self.timers = Timers()
        self.skew = 0  # the storage's clock minus ours
        self.applier = Applier(registry, surroundings, lambda: backend.storage, self.now)
        self.workflows = self._subscribe(ready)
        self.services = self._subscribe_services(ready)
        self.pending: deque[Delivery] = deque()
        self.todo: deque[Work] = deque()
        self.done: list[Change] = []
        self.steps: list[Step] = []  # to be committed beside the changes
        self.lock = threading.Lock()  # around who applies what
        self.applying: Work | None = None
        self.since = 0
        self.term = 0  # which thread may step
        self.stuck: dict[str, Work] = {}
        self.moved: set[str] = set()  # instances whose mark is behind

    def now(self) -> int:
        """The storage's time, as far as it is known."""
        return self.clock() + self.skew

    def _subscribe(self, ready: Callable[[], None]) -> Consumer | None:
        names = [*self.registry.programs]
        if not names:
            return None
        return self.backend.transport.subscribe([workflow_topic(name) for name in (*names, ROUTER)], ready)

    def _subscribe_services(self, ready: Callable[[], None]) -> Consumer | None:
        topics = [service_topic(name) for name in self.registry.services]
        return self.backend.transport.subscribe(topics, ready) if topics else None

    # --- one step ---

    def step(self, finished: Sequence[Finished] = (), late: Sequence[Change] = ()) -> bool:
        """Do all that is to be done now; True when there may be more at once.

        Raises `Deposed` in a thread that was replaced meanwhile, and `StorageError` or `TransportError`, after which
        the same messages are applied again by the next call.
        """
        term = self.term
        self.steps += self._take_finished(finished)
        for one in late:
            self._unstick(one)
        try:
            more = self._receive()
            self._group()
            self._apply(term)
            self._commit()
            self._take_tasks()
        except (StorageError, TransportError):
            self._take_back()
            raise
        return more or bool(self.pending)

    def _take_finished(self, finished: Sequence[Finished]) -> list[Step]:
        """Results for instances that are held here come in at once; others are sent."""
        steps = []
        for one in finished:
            handed = self.backend.handed_over(one.task, one.result, self.workflows)
            if handed is not None:
                self.pending.append(handed)
            else:
                steps.append(Step(outputs=(one.result,), acks=(one.task,), consumer=self.services))
        return steps

    def _receive(self) -> bool:
        if self.workflows is None:
            return False
        came = self.workflows.receive(RECEIVE)
        self.pending.extend(came)
        self._take_due()
        return len(came) == RECEIVE

    def _take_due(self) -> None:
        """Timers that are due: of instances held here they are events, for others messages to be sent."""
        now = self.now()
        for timer in self.timers.due(now):
            event = TimerFired("", timer.position, timer.attempt)
            message = event_message(
                event, workflow=timer.workflow, workflow_id=timer.workflow_id, run=timer.run, at=now
            )
            topic = workflow_topic(timer.workflow)
            if timer.workflow_id in self.cache:
                self.pending.append(Delivery(topic, message, event=event))
            else:
                self.steps.append(Step(outputs=(Outgoing(topic, timer.workflow_id, message),)))

    def _group(self) -> None:
        """Sort what is pending into works, one an instance, in the order of their first message."""
        works: dict[str, Work] = {work.workflow_id: work for work in self.todo}
        later: deque[Delivery] = deque()
        while self.pending:
            delivery = self.pending.popleft()
            workflow_id = delivery.message.workflow_id
            if workflow_id in self.stuck:
                self.stuck[workflow_id].deliveries.append(delivery)
                continue
            work = works.get(workflow_id)
            if work is None:
                work = works[workflow_id] = Work(delivery.message.workflow, workflow_id)
                self.todo.append(work)
            (work.deliveries if len(work.deliveries) < SHARE else later).append(delivery)
        self.pending = later

    def _apply(self, term: int) -> None:
        while self.todo:
            work = self.todo.popleft()
            if work.workflow == ROUTER:
                self._route(work)
                continue
            self._begin(work)
            try:
                change = self._change(work)
            finally:
                self._end(work, term)
            self.done.append(change)

    def _begin(self, work: Work) -> None:
        work.mine = next((one for one in work.deliveries if one.receipt is not None), None)
        if work.mine is not None and self.workflows is not None:
            self.workflows.began(work.mine)
        self.applying, self.since = work, self.clock()

    def _end(self, work: Work, term: int) -> None:
        """Raises `Deposed` when the thread that applied this was replaced meanwhile."""
        if work.mine is not None and self.workflows is not None:
            self.workflows.ended(work.mine)
        with self.lock:
            if self.term == term:
                self.applying = None
                return
        raise Deposed

    def _change(self, work: Work) -> Change:
        held = self.cache.get(work.workflow_id)
        try:
            change = self.applier.change(work.workflow, work.workflow_id, held, work.deliveries)
            if change.redo:
                self.cache.drop(work.workflow_id)
                self.pending.extend(change.rest)
                change = self.applier.change(work.workflow, work.workflow_id, None, change.redo)
        except (StorageError, TransportError):
            self.todo.appendleft(work)
            raise
        except Exception as error:
            log.exception("%s %s: could not be applied", work.workflow, work.workflow_id)
            self.cache.forget(work.workflow_id)
            problem = f"{type(error).__name__}: {error} (a bug in Infinitic for Python: please report it)"
            change = self.applier.suspended(work.workflow, work.workflow_id, work.deliveries, problem)
        work.change = change
        return change

    # --- code that hangs (the thread that applies it is replaced, and comes back late or never) ---

    def depose(self, longer_than: int) -> Work | None:
        """Let another thread step, when one instance has been applied for *longer_than* microseconds."""
        with self.lock:
            work = self.applying
            if work is None or self.clock() - self.since < longer_than:
                return None
            self.term += 1
            self.applying = None
            self.stuck[work.workflow_id] = work
            self.cache.forget(work.workflow_id)
            return work

    def _unstick(self, change: Change) -> None:
        """The outcome of code that hung: it is committed after all."""
        work = self.stuck.pop(change.workflow_id, None)
        if work is None:
            return  # given up meanwhile
        settled = {id(one) for one in change.deliveries}
        self.pending.extend(one for one in work.deliveries if id(one) not in settled)
        self.done.append(change)

    def give_up(self, work: Work, problem: str) -> None:
        """Suspend an instance whose code does not come back."""
        if self.stuck.pop(work.workflow_id, None) is None:
            return
        self.done.append(self.applier.suspended(work.workflow, work.workflow_id, work.deliveries, problem))

    # --- commit ---

    def _commit(self) -> None:
        changes, steps = self.done, [*self.steps]
        if not changes and not steps:
            return
        count = len(steps)
        for change in changes:
            steps.append(change.step(self.backend.marks, self.token, self.retention, self.workflows))
            steps += self._dead(change)
        committed = self.backend.commit(steps, self.services, self.tasks.capacity())
        self.done, self.steps = [], []
        won = iter(committed.won[count:])
        for change in changes:
            self._won(change) if next(won) else self._lost(change)
            for _ in change.dead:
                next(won)
        if committed.adopted:
            self.tasks.submit(committed.adopted)
        self._evict()

    def _take_back(self) -> None:
        """After trouble with the backend: what was applied is forgotten, to be applied again by the next step."""
        for change in self.done:
            self.cache.drop(change.workflow_id)
            self.pending.extendleft(reversed(change.deliveries))
        for work in self.todo:
            self.pending.extend(work.deliveries)
        self.done = []
        self.todo.clear()

    def _dead(self, change: Change) -> Iterable[Step]:
        for delivery, reason in change.dead:
            topic, message = dead_topic(delivery.topic), delivery.message
            log.warning("%s %s: %s; moved to %s", delivery.topic, message.id, reason, topic)
            dead = replace(message, headers={**message.headers, "reason": reason})
            yield Step(outputs=(Outgoing(topic, message.workflow_id, dead),))

    def _won(self, change: Change) -> None:
        if change.version is None:
            self._let_go(change.workflow_id)
            return
        self._log(change)
        if change.instance is None or change.spoilt:
            self.cache.drop(change.workflow_id)
            self._let_go(change.workflow_id)
            return
        held = change.held if change.held is not None else Held(change.instance, change.version, Mark(change.version.run, 0), None)
        held.instance = change.instance
        held.version = change.version
        held.record = change.record or held.record
        held.watchers = change.watchers
        held.unsent = ()
        self._keep_mark(held, change)
        self.cache.put(change.workflow_id, held)
        for row in change.timers_set.values():
            if row.claimed_until:  # later ones come back by the sweep
                self.timers.add(row)

    def _keep_mark(self, held: Held, change: Change) -> None:
        assert change.version is not None
        held.stored_mark = held.mark
        held.mark = Mark(change.version.run, change.version.turns)
        if self.backend.marks:
            gone = held.stored_mark
            held.fired = [one for one in held.fired if one[1] == gone.run and one[0] >= gone.turns] + change.fired
            if held.mark != held.stored_mark:
                self.moved.add(change.workflow_id)

    def _lost(self, change: Change) -> None:
        """Somebody else moved the instance: load it afresh, and apply the messages again. Timers' rows remain."""
        self.cache.drop(change.workflow_id)
        self.pending.extendleft(reversed([one for one in change.deliveries if one.receipt is not None]))

    def _log(self, change: Change) -> None:
        for line in change.logs:
            about = {"workflow": change.workflow, "workflow_id": change.workflow_id}
            try:
                workflow_log.log(line.level, line.message, *line.args, extra={**line.extra, **about})
            except Exception as error:  # a message that does not fit its arguments, a reserved key
                log.warning("%s %s: a log line could not be written: %s", change.workflow, change.workflow_id, error)
        for position, error in change.unawaited:
            log.warning("%s %s: %s failed and nobody awaited it: %s", change.workflow, change.workflow_id, position, error)
        if change.problem:
            log.error("%s %s is suspended: %s", change.workflow, change.workflow_id, change.problem)

    # --- marks and eviction ---

    def flush_marks(self, ids: Iterable[str] | None = None) -> None:
        """Write the marks that no append has carried, and clear the rows of timers whose turns are sent."""
        if not self.backend.marks:
            return
        wanted = list(self.moved if ids is None else ids)
        held = {id: one for id in wanted if (one := self.cache.get(id)) is not None}
        appends = [self._mark_append(id, one) for id, one in held.items() if one.mark != one.stored_mark]
        won = self.backend.storage.append(appends) if appends else []
        for append, wins in zip(appends, won, strict=True):
            if wins:
                one = held[append.workflow_id]
                one.stored_mark, one.fired = one.mark, []
            else:
                self.cache.drop(append.workflow_id)
        self.moved.difference_update(wanted)

    def _mark_append(self, workflow_id: str, held: Held) -> Append:
        return Append(
            workflow=held.record.workflow if held.record is not None else "",
            workflow_id=workflow_id,
            expected=held.version,
            version=held.version,
            token=self.token,
            mark=held.mark,
            timers_cleared=tuple((run, position) for _, run, position in held.fired),
        )

    def _evict(self) -> None:
        excess = self.cache.excess()
        if excess:
            self.flush_marks(excess)
            for workflow_id in excess:
                self.cache.drop(workflow_id)
            if self.workflows is not None:
                self.workflows.release(excess)

    def _let_go(self, workflow_id: str) -> None:
        if self.workflows is not None and workflow_id not in self.cache:
            self.workflows.release([workflow_id])

    # --- tasks ---

    def _take_tasks(self) -> None:
        if self.services is None:
            return
        capacity = self.tasks.capacity()
        if capacity > 0:
            came = self.services.receive(capacity)
            if came:
                self.tasks.submit(came)

    # --- signals whose workflow's name is not known ---

    def _route(self, work: Work) -> None:
        record = self.backend.storage.records([work.workflow_id])[0]
        for delivery in work.deliveries:
            outputs, hints = (), self._unknown(delivery) if record is None else ()
            if record is not None:
                known = replace(delivery.message, workflow=record.workflow)
                outputs = (Outgoing(workflow_topic(record.workflow), work.workflow_id, known),)
            self.steps.append(Step(outputs=outputs, hints=hints, acks=(delivery,), consumer=self.workflows))
        self._let_go(work.workflow_id)

    def _unknown(self, delivery: Delivery) -> tuple[Outgoing, ...]:
        event = event_of(delivery)
        client = event.reply_to if isinstance(event, SignalReceived) else ""
        error = error_value(UnknownWorkflow("", delivery.message.workflow_id))
        told = Reply(delivery.message.workflow_id, "unknown", event.id, error=error)
        return (reply_message(client, told),) if client else ()

    def close(self) -> None:
        """Write the marks, give everything back."""
        self.flush_marks()
        self.cache.clear()
        for consumer in (self.workflows, self.services):
            if consumer is not None:
                consumer.close()

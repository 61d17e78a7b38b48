"""Batches: what came for many instances becomes one commit. The worker's logic, one synchronous step at a time.

`Conductor.step` receives, loads, applies and commits; whoever drives it (threads, or a simulation) owns the time in
between. Its state survives the thread that steps it: when workflow code hangs, another thread goes on with the rest.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count, repeat

from infinitic.backends import Backend, Step
from infinitic.clock import Clock
from infinitic.engine.instance import Surroundings
from infinitic.engine.outputs import ROUTER
from infinitic.errors import StorageError, TransportError
from infinitic.ids import new_id
from infinitic.messages import Delivery, Outgoing
from infinitic.records import Mark
from infinitic.topics import control_topic, service_topic, workflow_topic
from infinitic.transports import Consumer
from infinitic.worker.applying import Applier
from infinitic.worker.changes import Change
from infinitic.worker.held import Cache, Held
from infinitic.worker.marks import move_mark, write_marks
from infinitic.worker.registry import Registry
from infinitic.worker.reporting import dead_letters, report
from infinitic.worker.routing import Router
from infinitic.worker.tasks import informed
from infinitic.worker.timers import Timers, fired
from infinitic.worker.work import RECEIVE, SHARE, Bell, Deposed, Finished, Said, StuckCode, Tasks, Work, last

log = logging.getLogger("infinitic.worker")


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
        cache_bytes: int,
        ready: Callable[[], None],
    ) -> None:
        self.backend = backend
        self.registry = registry
        self.clock = clock
        self.retention, self.tasks = retention, tasks
        self.tokens = map("{}.{}".format, repeat(new_id()), count())  # each of one commit's appends
        self.cache = Cache(cache_instances, cache_bytes)
        self.timers = Timers()
        self.router = Router()
        # the storage's clock minus ours: known before the first turn, lest its timers fire early
        self.skew = backend.storage.now() - clock() if registry.programs else 0
        self.applier = Applier(registry, surroundings, lambda: backend.storage, self.now)
        self.workflow_bell, self.service_bell, self.control_bell = Bell(ready), Bell(ready), Bell(ready)
        workflows = (*registry.programs, ROUTER) if registry.programs else ()
        self.workflows = self._subscribe(map(workflow_topic, workflows), self.workflow_bell)
        self.services = self._subscribe(map(service_topic, registry.services), self.service_bell)
        self.control = self._subscribe(map(control_topic, registry.services), self.control_bell)
        self.pending: deque[Delivery] = deque()
        self.todo: deque[Work] = deque()
        self.done: list[Change] = []
        self.steps: list[Step] = []  # to be committed beside the changes
        self.apart = False  # after trouble each instance is committed by itself, until all went well
        self.lock = threading.Lock()  # around who applies what
        self.applying: Work | None = None
        self.since = self.term = 0  # since when it is applied, and which thread may step
        self.stuck: dict[str, Work] = {}
        self.moved: dict[str, int] = {}  # instances whose mark is behind, and when they moved
        self.unkept: list[tuple[str, Held]] = []  # those that are not held, and whose outputs are sent
        self.left: list[str] = []  # instances that are not held any more

    def now(self) -> int:
        """The storage's time, as far as it is known."""
        return self.clock() + self.skew

    def _subscribe(self, topics: Iterable[str], bell: Bell) -> Consumer | None:
        names = list(topics)
        return self.backend.transport.subscribe(names, bell.ring) if names else None

    # --- one step ---

    def step(self, finished: Sequence[Finished | Said] = (), late: Sequence[Work] = ()) -> bool:
        """Do all that is to be done now; True when there may be more at once.

        Raises `Deposed` in a thread that was replaced meanwhile, and `StorageError` or `TransportError`, after which
        the same messages are applied again by the next call.
        """
        term = self.term
        self.steps += self._take_finished(finished)
        for one in late:
            self._unstick(one)
        try:
            if self.done or self.apart:
                self._commit()  # what hung, before more of the same instance is loaded; what none can spoil
            more = self._receive()
            self._group()
            trouble = self._apply(term)
            if trouble is None or not self.apart:
                self._commit()
            # after the commit, which may have begun the instances that are meant
            self.left += self.router.send(self.backend, self.workflows, self.now())
            self._take_tasks()
            if trouble is not None:
                raise trouble
        except Exception:
            self._take_back()
            raise
        self.apart = False
        return more or bool(self.pending)

    def _take_finished(self, finished: Sequence[Finished | Said]) -> list[Step]:
        """Results for instances that are held here come in at once; others are sent."""
        steps = []
        for one in finished:
            if isinstance(one, Said):
                steps.append(Step(outputs=(one.message,)))
            elif (handed := self.backend.handed_over(one.task, one.result, self.workflows)) is not None:
                self.pending.append(handed)
            else:
                steps.append(Step(outputs=(one.result,), acks=(one.task,), consumer=self.services))
        return steps

    def _receive(self) -> bool:
        if self.workflows is None:
            return False
        self._take_due()
        if not self.workflow_bell.answer():
            return False
        self.pending.extend(came := self.workflows.receive(RECEIVE))
        return self.workflow_bell.again(len(came) == RECEIVE)

    def _take_due(self) -> None:
        """Timers that are due: of instances held here they are events, for others messages to be sent."""
        for timer in self.timers.due(now := self.now()):
            told = fired(timer, now)
            if timer.workflow_id in self.cache:
                self.pending.append(told)
            else:
                self.steps.append(Step(outputs=(Outgoing(told.topic, timer.workflow_id, told.message),)))

    def _group(self) -> None:
        """Sort what is pending into works, one an instance, in the order of their first message."""
        works: dict[str, Work] = {work.workflow_id: work for work in self.todo}
        later: deque[Delivery] = deque()
        while self.pending:
            delivery = self.pending.popleft()
            workflow_id = delivery.message.workflow_id
            if delivery.message.workflow == ROUTER:
                self.router.add(delivery)
                continue
            if workflow_id in self.stuck:
                self.stuck[workflow_id].deliveries.append(delivery)
                continue
            work = works.get(workflow_id)
            if work is None:
                work = works[workflow_id] = Work(delivery.message.workflow, workflow_id)
                self.todo.append(work)
            (work.deliveries if len(work.deliveries) < SHARE else later).append(delivery)
        self.pending = later

    def _apply(self, term: int) -> Exception | None:
        """Apply all; what stopped it half way, if anything did: what was applied is committed all the same."""
        while self.todo:
            work = self.todo.popleft()
            self._begin(work)
            self._work(work)
            self._end(work, term)
            if work.trouble is not None:
                self.cache.drop(work.workflow_id)  # it may be half moved
                self.todo.appendleft(work)
                return work.trouble
            self._done(work)
            try:
                if self.apart:
                    self._commit()
            except StorageError as error:
                return error
        return None

    def _begin(self, work: Work) -> None:
        work.change = work.trouble = None
        work.thread = threading.get_ident()
        if self.workflows is not None:
            self.workflows.began(work.deliveries[0])
        self.applying, self.since = work, self.clock()

    def _end(self, work: Work, term: int) -> None:
        """Raises `Deposed` when the thread that applied this was replaced meanwhile."""
        if self.workflows is not None:
            self.workflows.ended(work.deliveries[0])
        with self.lock:
            if self.term == term:
                self.applying = None
                return
        raise Deposed(work)

    def _work(self, work: Work) -> None:
        """Make the work's change; nothing but *work* is touched, for this thread may have been replaced."""
        try:
            work.change = self._change(work)
        except (StorageError, TransportError) as error:
            work.trouble = error
        except (Deposed, StuckCode):
            raise
        except BaseException as error:
            log.exception("%s %s: could not be applied", work.workflow, work.workflow_id)
            ours = "a bug in Infinitic for Python: please report it"
            blame = ours if isinstance(error, Exception) else "its code raised what is no Exception"
            problem = f"{type(error).__name__}: {error} ({blame})"
            try:
                work.change = self.applier.suspended(work, problem)
            except StorageError as trouble:
                work.trouble = trouble

    def _change(self, work: Work) -> Change:
        work.held = self.cache.get(work.workflow_id)
        change = self.applier.change(work.workflow, work.workflow_id, work.held, work.deliveries)
        if not change.redo:
            return change
        change.discard()
        again = self.applier.change(work.workflow, work.workflow_id, None, change.redo)
        again.rest += change.rest
        return again

    def _done(self, work: Work) -> None:
        assert work.change is not None
        self.pending.extendleft(reversed(work.change.rest))
        self.done.append(work.change)

    # --- code that hangs (the thread that applies it is replaced, and comes back late or never) ---

    def depose(self, longer_than: int, deposed: Callable[[], None] = lambda: None) -> Work | None:
        """Let another thread step, when one instance has been applied for *longer_than* microseconds.

        *deposed* is called before the thread that applies it can come back.
        """
        with self.lock:
            work = self.applying
            if work is None or self.clock() - self.since < longer_than:
                return None
            self.term += 1
            self.applying = None
            self.stuck[work.workflow_id] = work
            self.cache.forget(work.workflow_id)
            deposed()
            return work

    def _unstick(self, work: Work) -> None:
        """The outcome of code that hung: it is committed after all, unless the instance was given up meanwhile."""
        if self.stuck.get(work.workflow_id) is not work:
            if work.change is not None:
                work.change.discard()
            return
        del self.stuck[work.workflow_id]
        settled = {id(one) for one in work.change.deliveries} if work.change is not None else set()
        self.pending.extendleft(reversed([one for one in work.deliveries if id(one) not in settled]))
        if work.change is not None:
            self.done.append(work.change)

    def give_up(self, work: Work, problem: str) -> None:
        """Suspend an instance whose code does not come back. Raises `StorageError`: then again."""
        if self.stuck.get(work.workflow_id) is work:
            change = self.applier.suspended(work, problem)
            del self.stuck[work.workflow_id]
            self.pending.extendleft(reversed(change.rest))
            self.done.append(change)

    # --- commit ---

    def _commit(self) -> None:
        changes, steps = self.done, [*self.steps]
        if not changes and not steps:
            return
        others = len(steps)
        for change in changes:
            change.outputs += dead_letters(change)
            steps.append(change.step(self.backend.marks, next(self.tokens), self.retention, self.workflows))
        committed = self.backend.commit(steps, self.services, self.tasks.capacity())
        self.done, self.steps = [], []
        won = iter(committed.won[others:])
        for change in changes:
            self._won(change) if next(won) else self._lost(change)
        if committed.adopted:
            self.tasks.submit(committed.adopted)
        self._mark_sent()
        self._evict()
        self._let_go()

    def _take_back(self) -> None:
        """After trouble: what was applied is forgotten, to be applied again by the next step."""
        for work in reversed(self.todo):
            self.pending.extendleft(reversed(work.deliveries))
        for change in reversed(self.done):
            self.cache.drop(change.workflow_id)
            change.discard()
            self.pending.extendleft(reversed([one for one in change.deliveries if one.topic]))  # not the inbox's
        if self.apart and len(self.done) == 1:  # others go first: it may be what this one writes
            self.pending = last(self.pending, self.done[0].workflow_id)
        self.apart = self.apart or bool(self.done)
        self.done = []
        self.todo.clear()

    def _won(self, change: Change) -> None:
        if change.version is None:
            self.left.append(change.workflow_id)
            return
        report(change)
        held = change.held or Held(change.instance, change.version, Mark(change.version.run, 0), None)
        held.version, held.record = change.version, change.record or held.record
        moved = move_mark(held, change, self.backend.marks)
        if change.instance is None or change.spoilt:
            self.unkept += [(change.workflow_id, held)] if moved else []
            self.cache.drop(change.workflow_id)
            change.discard()
            self.left.append(change.workflow_id)
            return
        held.weight = (held.weight if held.instance is change.instance else 0) + change.weight
        held.instance = change.instance
        held.watchers = change.watchers
        held.unsent = ()
        if moved:
            self.moved[change.workflow_id] = self.now()
        self.cache.put(change.workflow_id, held)
        for row in (*held.timers, *change.timers_set.values()):
            if row.claimed_until and (row.run, row.position) not in change.timers_cleared:
                self.timers.add(row)  # later ones come back by the sweep
        held.timers = ()

    def _mark_sent(self) -> None:
        """The outputs of instances that are not kept are sent: their marks say so at once, lest they go again."""
        list(write_marks(self.backend, self.unkept, next(self.tokens), self.retention))
        self.unkept.clear()

    def _lost(self, change: Change) -> None:
        """Somebody else moved the instance: load it afresh, and apply the messages again. Timers' rows remain."""
        self.cache.drop(change.workflow_id)
        change.discard()
        self.pending.extendleft(reversed([one for one in change.deliveries if one.receipt is not None]))

    # --- marks and eviction ---

    def flush_marks(self, ids: Iterable[str] | None = None) -> None:
        """Write the marks that no append has carried, and clear the rows of timers whose turns are sent."""
        if not self.backend.marks:
            return
        wanted = list(self.moved if ids is None else ids)
        held = [(id, one) for id in wanted if (one := self.cache.get(id)) is not None]
        for workflow_id in write_marks(self.backend, held, next(self.tokens), self.retention):
            self.cache.drop(workflow_id)
        for workflow_id in wanted:
            self.moved.pop(workflow_id, None)

    def _evict(self) -> None:
        excess = self.cache.excess()
        if excess:
            self.flush_marks(excess)
            for workflow_id in excess:
                self.cache.drop(workflow_id)
            self.left += excess

    def _let_go(self) -> None:
        """Others may have the instances that were left, unless they came back, or more for them is at hand."""
        if self.left and self.workflows is not None:
            wanted = {one.message.workflow_id for one in (*self.pending, *self.router.waiting)}
            self.workflows.release([one for one in self.left if one not in self.cache and one not in wanted])
            self.left.clear()

    def _take_tasks(self) -> None:
        if self.control is not None and self.control_bell.answer():
            for delivery in self.control.receive(RECEIVE):
                self.tasks.cancel(delivery.message.id)
        # again and again: calls that are gathered leave room for more of them
        while self.services is not None and self.service_bell.rung and (capacity := self.tasks.capacity()) > 0:
            self.service_bell.answer()
            came = self.services.receive(capacity)
            self.service_bell.again(len(came) == capacity)
            if came:
                self.tasks.submit([informed(one, self.backend) for one in came])

    def close(self) -> None:
        """Write the marks, give everything back."""
        try:
            self.flush_marks()
        finally:
            self.cache.clear()
            for consumer in (self.workflows, self.services, self.control):
                if consumer is not None:
                    consumer.close()

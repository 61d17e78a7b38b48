"""The executor: runs attempts of tasks, `def` ones on threads, `async def` ones on one event loop.

A task that was under way when a process died runs alone: it waits until nothing else runs, and nothing else begins
while it does.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from infinitic.messages import Delivery, Outgoing
from infinitic.worker.gathering import Gathering, Lot, unit_of
from infinitic.worker.loop_thread import LoopThread
from infinitic.worker.pool import Pool
from infinitic.worker.tasks import Attempt, TaskStep
from infinitic.worker.work import Finished, Said, Underway

AHEAD = 256
SOON = 0.005
"""Short tasks are taken ahead: no more than are done within this time, in seconds."""

log = logging.getLogger("infinitic.worker")


class Executor:
    """Runs up to *concurrency* attempts, or lots of them, at once, and tells *finished* of those that are over."""

    def __init__(self, step: TaskStep, concurrency: int, finished: Callable[..., None]) -> None:
        self._step = step
        self._concurrency = concurrency
        self._finished = finished
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pool = Pool(self._work, concurrency, "infinitic-task")
        self._usual = 1.0  # how long a `def` task takes of late, in seconds
        self._running: dict[int, Attempt] = {}
        self._later: deque[Attempt] = deque()  # taken ahead, and not begun
        self._gathering = Gathering()
        self._ending = 0  # attempts that are over and not yet told of
        self._overdue = 0  # by how many answers less than one each is owed by what runs or waits: see `surplus`
        self._alone: deque[Attempt] = deque()
        self._loop = LoopThread("infinitic-async")
        self._futures: dict[int, asyncio.Task[None]] = {}
        self._closed = False
        self.consumer: Underway | None = None

    def capacity(self) -> int:
        """How many more attempts may be taken now: as many as may run, and as are over within some milliseconds."""
        with self._lock:
            free = self._free
            return 0 if self._closed or self._alone else free + self._gathering.extra(free)

    @property
    def _free(self) -> int:
        return self._concurrency + self.ahead - len(self._running) - len(self._later)

    @property
    def room(self) -> int:
        """How many attempts may be here that are not answered, ahead of time or begun."""
        with self._lock:
            gathered = self._gathering.count + self._gathering.extra(self._free)
            return self._concurrency + self.ahead - self._overdue + gathered

    @property
    def ahead(self) -> int:
        """How many attempts beyond those that run may be taken: as many as are over within some milliseconds."""
        return min(AHEAD, int(SOON / self._usual)) if self._usual < SOON else 0

    @property
    def busy(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._running or self._alone)

    def give_back(self) -> list[Delivery]:
        """Tasks that were taken ahead and have waited since the last call: others may run them sooner."""
        with self._lock:
            stale = [one for one in self._later if one.waited]
            if stale:
                self._usual = SOON  # no longer as short as they were
                self._later = deque(one for one in self._later if not one.waited)
            self._overdue -= sum(one.surplus for one in stale)
            for one in self._later:
                one.waited = True
        return [one.delivery for unit in stale for one in unit.items if not one.answered]

    def on_task_thread(self) -> bool:
        """Whether the present thread is one that runs `def` tasks."""
        return self._pool.on_own_thread()

    def rouse(self) -> None:
        """Have other threads run what waits for one."""
        self._pool.rouse()

    def replace_thread(self) -> None:
        """One of the threads hangs, in workflow code: another takes its place."""
        self._pool.grow()
        self._pool.rouse()

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        """Run these; each is answered by a `Finished`. Once closed nothing begins: the consumer gives them back."""
        for delivery in deliveries:
            if self._closed:
                return
            attempt = self._step.attempt(delivery)
            if isinstance(attempt, Outgoing):
                self._finished(Finished(delivery, attempt))
            elif delivery.suspect:
                self._begin_more()  # those that came before it
                with self._lock:
                    self._alone.append(unit_of(attempt))
            elif attempt.handler.batching is not None:
                self._gather(attempt, attempt.handler.batching.wait)
            else:
                with self._lock:
                    self._later.append(attempt)
        self._begin_alone()
        self._begin_more()

    def _gather(self, attempt: Attempt, wait: int) -> None:
        """Have the attempt run in a lot, once that is full or *wait* microseconds have passed."""
        with self._lock:
            lot, begins = self._gathering.add(attempt)
            full = self._gathering.is_full(lot)
            if full:
                self._close_lot(lot)
        if begins and not full:
            self._loop.after(wait / 1_000_000, lambda: self._due(lot))

    def _due(self, lot: Lot) -> None:
        with self._lock:
            self._close_lot(lot)
        self._begin_more()

    def _close_lot(self, lot: Lot) -> None:
        """Nothing more joins the lot, which runs as soon as it can; with the lock."""
        if self._gathering.take(lot):
            self._overdue += lot.surplus
            self._later.append(lot)

    def _begin_alone(self) -> None:
        with self._lock:
            waits = self._running or self._closed
            attempt = self._alone[0] if self._alone and not waits else None
            if attempt is not None:
                self._running[id(attempt)] = attempt
        if attempt is not None:
            self._begin(attempt)

    def _begin_more(self) -> None:
        """Begin what was taken, as far as there is room."""
        while True:
            with self._lock:
                full = len(self._running) >= (0 if self._alone else self._concurrency)
                if self._closed or not self._later or full:
                    return
                attempt = self._later.popleft()
                if isinstance(attempt, Lot) and not attempt.shed():
                    self._overdue -= attempt.surplus
                    continue
                self._running[id(attempt)] = attempt
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        for one in attempt.items:
            if one.timeout is not None:
                self._loop.call(self._watch, one, one.timeout)
        if attempt.handler.is_async:
            self._loop.call(self._begin_async, attempt)
        else:
            self._pool.put(attempt)

    def _begun(self, attempt: Attempt) -> None:
        """The attempt begins just now, in the present thread: who watches over it is told."""
        self._step.begin(attempt)
        watched = [one for one in attempt.items if one.is_watched]
        if watched:
            self._finished(*(Said(self._step.started(one, one.heartbeat)) for one in watched))
        for one in watched:
            if one.heartbeat is not None:
                self._listen(one)

    def _listen(self, attempt: Attempt) -> None:
        attempt.pulse.begin(
            say=lambda: self._finished(Said(self._step.heartbeat(attempt))),
            silent=lambda: self._overran(attempt, "heartbeat"),
            clock=time.monotonic,
            later=self._loop.after,
        )

    def _end(self, attempt: Attempt, answers: Sequence[Outgoing]) -> None:
        """The attempt is over; *answers* are its items', of which some may have been answered before."""
        for one in attempt.items:
            one.pulse.end()
            if self.consumer is not None:
                self.consumer.ended(one.delivery)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s attempt %d of %s is over", attempt.handler.label, attempt.message.attempt, attempt.message.id)
        with self._lock:
            self._running.pop(id(attempt), None)
            self._overdue -= attempt.surplus
            self._ending += 1
            if self._alone and self._alone[0] is attempt:
                self._alone.popleft()
        self._answer(attempt, answers)
        if self._alone:
            self._begin_alone()
        self._begin_more()
        with self._idle:
            self._ending -= 1
            self._idle.notify_all()

    def _answer(self, attempt: Attempt, answers: Sequence[Outgoing]) -> None:
        """Tell of those that are not answered yet."""
        over = []
        for one, answer in zip(attempt.items, answers, strict=True):
            if not one.answered:
                one.answered = True
                over.append(Finished(one.delivery, answer))
            if one.limit is not None:
                self._loop.call(one.limit.cancel)
        if over:
            self._finished(*over)

    # --- threads ---

    def _work(self, attempt: Attempt) -> None:
        began = time.perf_counter()
        answers = self._run(attempt)
        self._usual += (time.perf_counter() - began - self._usual) / 16
        self._end(attempt, answers)

    def _run(self, attempt: Attempt) -> list[Outgoing]:
        self._note(attempt)
        # not a copy: what can be changed in place (decimal's settings) would be everybody's
        return contextvars.Context().run(self._call, attempt)

    def _note(self, attempt: Attempt) -> None:
        """Work on it begins."""
        if self.consumer is not None:
            for one in attempt.items:
                self.consumer.began(one.delivery)

    def _call(self, attempt: Attempt) -> list[Outgoing]:
        try:
            self._begun(attempt)
            return attempt.answers(self._step, attempt.reach.run(attempt.call))
        except BaseException as error:
            return self._broken(attempt, error)

    def _broken(self, attempt: Attempt, error: BaseException) -> list[Outgoing]:
        return [self._step.failed(one, error) for one in attempt.items]

    # --- the event loop ---

    def _watch(self, attempt: Attempt, seconds: float) -> None:
        """Answer for an attempt when it takes too long, whatever its code does."""
        limit = asyncio.get_running_loop().call_later(seconds, self._overran, attempt, "timeout")
        with self._lock:
            attempt.limit = limit if id(attempt.unit) in self._running else None
        if attempt.limit is None:
            limit.cancel()

    def _overran(self, attempt: Attempt, limit: str) -> None:
        """Answer for an attempt that broke its *limit*, and tell it."""
        with self._lock:
            late = id(attempt.unit) in self._running and not attempt.answered
            attempt.answered = attempt.answered or late
            self._overdue += late
        if late:
            self._finished(Finished(attempt.delivery, self._step.overran(attempt, limit)))
            self._stop(attempt)

    def _begin_async(self, attempt: Attempt) -> None:
        asyncio.get_running_loop().create_task(self._run_async(attempt), context=contextvars.Context())

    async def _run_async(self, attempt: Attempt) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._futures[id(attempt)] = task  # only now: one that is cancelled before its first step would never end
        self._note(attempt)
        try:
            self._begun(attempt)
            answers = attempt.answers(self._step, await attempt.call())
        except BaseException as error:  # a cancellation too: what it answers is ignored
            answers = self._broken(attempt, error)
        del self._futures[id(attempt)]
        self._end(attempt, answers)

    def cancel(self, task_id: str) -> None:
        """A workflow wants the task no more: what runs of it is told, what waits does not begin.

        One that waits in a lot leaves it; of a lot that runs the others go on.
        """
        with self._lock:
            units = [*self._gathering.lots, *self._later, *self._alone, *self._running.values()]
            here = {id(one): one for unit in units for one in unit.items if one.message.id == task_id}
            together = [one for one in here.values() if one.lot is not None and not one.answered]
            for one in together:
                one.answered = True
                self._overdue += not self._gathering.leave(one)
        if together:
            error = asyncio.CancelledError()
            self._finished(*(Finished(one.delivery, self._step.failed(one, error)) for one in together))
        for one in here.values():
            self._stop(one)

    def _stop(self, attempt: Attempt) -> None:
        """Tell an attempt that nobody wants its answer.

        `Cancelled` comes up in the code that runs it, unless it is not to, or that runs others that are wanted.
        """
        attempt.pulse.cancelled = True
        unit = attempt.unit
        if not unit.is_unwanted:
            return
        if unit.handler.is_async:
            self._loop.call(self._cancel, unit)
        elif unit.handler.interrupt:
            unit.reach.stop()

    def _cancel(self, unit: Attempt) -> None:
        task = self._futures.get(id(unit))
        if task is not None:
            task.cancel()

    # --- the end ---

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds until no attempt is under way; whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running and not self._alone and not self._ending, timeout)

    def close(self) -> None:
        """Begin nothing more; what runs goes on, and is answered."""
        with self._idle:
            self._closed = True
            self._later.clear()
            self._alone = deque(one for one in self._alone if id(one) in self._running)
            self._idle.notify_all()

    def stop(self) -> None:
        """End the threads. What still runs on one runs on unheard; what runs on the loop is cancelled."""
        self.close()
        self._pool.close()
        self._loop.stop()

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
from infinitic.worker.pool import Pool
from infinitic.worker.tasks import Attempt, TaskStep
from infinitic.worker.work import Finished, Underway

STOP = 2.0
"""How long what runs on the event loop may take to be cancelled, in seconds."""

AHEAD = 256
SOON = 0.005
"""Short tasks are taken ahead: no more than are done within this time, in seconds."""

log = logging.getLogger("infinitic.worker")


class Executor:
    """Runs up to *concurrency* attempts at once, and tells *finished* of each that is over."""

    def __init__(self, step: TaskStep, concurrency: int, finished: Callable[[Finished], None]) -> None:
        self._step = step
        self._concurrency = concurrency
        self._finished = finished
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pool = Pool(self._work, concurrency, "infinitic-task")
        self._usual = 1.0  # how long a `def` task takes of late, in seconds
        self._running: dict[int, Attempt] = {}
        self._later: deque[Attempt] = deque()  # taken ahead, and not begun
        self._ending = 0  # attempts that are over and not yet told of
        self._overdue = 0  # attempts that run on, answered by their timeout
        self._alone: deque[Attempt] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._futures: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self.consumer: Underway | None = None

    def capacity(self) -> int:
        """How many more attempts may be taken now: as many as may run, and as are over within some milliseconds."""
        with self._lock:
            taken = len(self._running) + len(self._later)
            return 0 if self._closed or self._alone else self._concurrency + self.ahead - taken

    @property
    def room(self) -> int:
        """How many attempts may be here that are not answered, ahead of time or begun."""
        return self._concurrency + self.ahead - self._overdue

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
            for one in self._later:
                one.waited = True
        return [one.delivery for one in stale]

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
                    self._alone.append(attempt)
            else:
                with self._lock:
                    self._later.append(attempt)
        self._begin_alone()
        self._begin_more()

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
                self._running[id(attempt)] = attempt
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        if attempt.handler.is_async:
            self._event_loop().call_soon_threadsafe(self._begin_async, attempt)
            return
        if attempt.timeout is not None:
            self._event_loop().call_soon_threadsafe(self._watch, attempt, attempt.timeout)
        self._pool.put(attempt)

    def _end(self, attempt: Attempt, answer: Outgoing | None) -> None:
        """The attempt is over; *answer* is None when it was answered before."""
        if self.consumer is not None:
            self.consumer.ended(attempt.delivery)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s attempt %d of %s is over", attempt.handler.label, attempt.message.attempt, attempt.message.id)
        with self._lock:
            self._running.pop(id(attempt), None)
            self._overdue -= attempt.answered
            self._ending += 1
            if self._alone and self._alone[0] is attempt:
                self._alone.popleft()
        if answer is not None and not attempt.answered:
            attempt.answered = True
            self._finished(Finished(attempt.delivery, answer))
        if self._alone:
            self._begin_alone()
        self._begin_more()
        if attempt.limit is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(attempt.limit.cancel)
        with self._idle:
            self._ending -= 1
            self._idle.notify_all()

    # --- threads ---

    def _work(self, attempt: Attempt) -> None:
        began = time.perf_counter()
        answer = self._run(attempt)
        self._usual += (time.perf_counter() - began - self._usual) / 16
        self._end(attempt, answer)

    def _run(self, attempt: Attempt) -> Outgoing:
        if self.consumer is not None:
            self.consumer.began(attempt.delivery)
        # not a copy: what can be changed in place (decimal's settings) would be everybody's
        return contextvars.Context().run(self._call, attempt)

    def _call(self, attempt: Attempt) -> Outgoing:
        try:
            self._step.begin(attempt)
            return self._step.succeeded(attempt, attempt.call())
        except BaseException as error:
            return self._step.failed(attempt, error)

    # --- the event loop ---

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="infinitic-async", daemon=True
                )
                self._loop_thread.start()
            return self._loop

    def _watch(self, attempt: Attempt, seconds: float) -> None:
        """Answer for a `def` task when it takes too long; its thread cannot be stopped."""
        limit = asyncio.get_running_loop().call_later(seconds, self._timed_out, attempt)
        with self._lock:
            attempt.limit = limit if id(attempt) in self._running else None
        if attempt.limit is None:
            limit.cancel()

    def _timed_out(self, attempt: Attempt) -> None:
        with self._lock:
            late = id(attempt) in self._running and not attempt.answered
            attempt.answered = attempt.answered or late
            self._overdue += late
        if late:
            self._finished(Finished(attempt.delivery, self._too_long(attempt)))

    def _too_long(self, attempt: Attempt) -> Outgoing:
        error = TimeoutError(f"{attempt.handler.label} took longer than its timeout of {attempt.timeout:g} s")
        return self._step.failed(attempt, error, timed_out=True)

    def _begin_async(self, attempt: Attempt) -> None:
        task = asyncio.get_running_loop().create_task(self._run_async(attempt), context=contextvars.Context())
        self._futures[attempt.message.id] = task
        task.add_done_callback(lambda _: self._futures.pop(attempt.message.id, None))

    async def _run_async(self, attempt: Attempt) -> None:
        if self.consumer is not None:
            self.consumer.began(attempt.delivery)
        try:
            self._step.begin(attempt)
            answer = await self._awaited(attempt)
        except BaseException as error:  # a cancellation too: what it answers is ignored
            answer = self._step.failed(attempt, error)
        self._end(attempt, answer)

    async def _awaited(self, attempt: Attempt) -> Outgoing:
        limit = asyncio.timeout(attempt.timeout)
        try:
            async with limit:
                value = await attempt.call()
        except TimeoutError as error:
            return self._too_long(attempt) if limit.expired() else self._step.failed(attempt, error)
        return self._step.succeeded(attempt, value)

    def cancel(self, task_id: str) -> None:
        """A workflow wants the task no more: an `async def` one is cancelled, a `def` one runs on."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, task_id)

    def _cancel(self, task_id: str) -> None:
        task = self._futures.get(task_id)
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
        with self._lock:
            loop, thread, self._loop_thread = self._loop, self._loop_thread, None
        self._pool.close()
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(STOP)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it with all that is left."""
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=STOP))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

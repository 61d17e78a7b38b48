"""The child's side: what a process does that a supervisor started. It obeys nobody else, and ends when that is gone."""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from infinitic.clock import system_clock
from infinitic.config import Config
from infinitic.errors import OperatorError
from infinitic.messages import Delivery
from infinitic.serialization import Serializer
from infinitic.worker.children_deaths import Instances
from infinitic.worker.children_pipes import (
    DOWN,
    Applied,
    Back,
    Cancel,
    Deaths,
    Down,
    Drain,
    Drained,
    Failed,
    Frames,
    Goes,
    Notes,
    Over,
    Ready,
    Run,
    Up,
    framed,
)
from infinitic.worker.children_process import READ, SIGNALS
from infinitic.worker.executor import Executor
from infinitic.worker.registry import Registry
from infinitic.worker.serving import Worker, own_name
from infinitic.worker.tasks import TaskStep
from infinitic.worker.work import Finished, Said

TICK = 0.5
PR_SET_PDEATHSIG = 1
ORPHANED = 1

log = logging.getLogger("infinitic.worker")


class Link:
    """A child's ends of the pipes, and its notes. *place* is the argument that the supervisor added."""

    def __init__(self, place: str) -> None:
        self.number, self._down, self._up, notes = map(int, place.split(":"))
        for descriptor in (self._down, self._up, notes):
            os.set_inheritable(descriptor, False)
        self.notes = Notes(notes)
        self.asked = threading.Event()  # to drain
        self.ended = threading.Event()
        self._drained = False
        self._lock, self._ear = threading.Lock(), threading.Lock()
        self._early: list[Down] = []  # what came before anybody listened
        self._told: Callable[[Sequence[Down]], None] = self._early.extend
        threading.Thread(target=self._hear, name="infinitic-supervisor", daemon=True).start()

    def send(self, *frames: Up) -> None:
        """Tell the supervisor. Returns once it is in the pipe, where it outlives this process."""
        data = memoryview(b"".join(map(framed, frames)))
        with self._lock, suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._up, data) :]

    def drained(self) -> None:
        """All is over: from here on the end of the pipe is a good end."""
        self._drained = True
        self.send(Drained())

    def listen(self, told: Callable[[Sequence[Down]], None]) -> None:
        """Have *told* called with what the supervisor says; what it said so far comes at once."""
        with self._ear:
            told(self._early)
            self._told = told

    def _hear(self) -> None:
        try:
            self._hear_all()
        except Exception:  # one that is deaf would never be replaced
            log.exception("what the supervisor asked for could not be done")
        if not self._drained:
            os._exit(ORPHANED)
        self.ended.set()

    def _hear_all(self) -> None:
        frames = Frames(DOWN)
        while data := os.read(self._down, READ):
            said = [*frames.of(data)]
            with self._ear:
                self._told(said)
            if any(isinstance(one, Drain) for one in said):
                self.asked.set()


class Served:
    """What a child serves with: a worker with a backend of its own."""

    def __init__(self, worker: Worker | None) -> None:
        self._worker = worker

    def told(self, frames: Sequence[Down]) -> None:
        """The supervisor said this."""

    def start(self) -> None:
        if self._worker is not None:
            self._worker.start()

    def tick(self) -> None:
        """Called every half second."""

    def close(self) -> None:
        """Begin nothing more; returns when all that ran is over."""
        if self._worker is not None:
            self._worker.close()


class Code(Served):
    """Runs the tasks that the supervisor hands over, of which it answers to the supervisor alone.

    *worker*, if any, serves workflows: which of them kill this process is counted.
    """

    def __init__(
        self,
        link: Link,
        services: Sequence[Any],
        config: Config,
        name: str | None = None,
        worker: Worker | None = None,
    ) -> None:
        super().__init__(worker)
        codec = Serializer((), config.largest_payload)
        step = TaskStep(Registry((), services, codec=codec), codec, system_clock, name or own_name())
        self._link, self._instances = link, Instances(link.notes, lambda id: link.send(Applied(id)))
        if worker is not None:
            worker.around = self._instances.around
        self._executor = Executor(step, config.concurrency, self._over)
        self._executor.consumer = self
        self._room = config.concurrency  # as it was told last

    # --- what the supervisor says ---

    def told(self, frames: Sequence[Down]) -> None:
        given = [one for one in frames if isinstance(one, Run)]
        if given:
            self._executor.submit(
                [Delivery(one.topic, one.message, one.number, one.deaths, one.suspect) for one in given]
            )
            self._tell_room()
        for frame in frames:
            if isinstance(frame, Cancel):
                self._executor.cancel(frame.task_id)
            elif isinstance(frame, Deaths):
                self._instances.learn(frame.counts)

    def _over(self, *those: Finished | Said) -> None:
        if any(isinstance(one, Finished) for one in those):
            self._room = self._executor.room
        self._link.send(*(self._frame(one) for one in those))

    def _frame(self, one: Finished | Said) -> Over | Goes:
        return Goes(one.message) if isinstance(one, Said) else Over(one.task.receipt, one.result, self._room)

    def tick(self) -> None:
        self._tell_room(self._executor.give_back())

    def _tell_room(self, stale: Sequence[Delivery] = ()) -> None:
        """Give these back, and say for how many there is room, if that is news: a lot that is gathered takes more."""
        told, self._room = self._room, self._executor.room
        if stale or told != self._room:
            self._link.send(Back(tuple(one.receipt for one in stale), self._room))

    def close(self) -> None:
        self._executor.close()
        super().close()
        self._executor.wait_idle(threading.TIMEOUT_MAX)
        self._executor.stop()

    # --- what is under way ---

    def began(self, delivery: Delivery) -> None:
        self._link.notes.began(str(delivery.receipt))

    def ended(self, delivery: Delivery) -> None:
        self._link.notes.ended(str(delivery.receipt))


def serve(place: str, make: Callable[[Link], Served]) -> None:
    """Be the child at *place*: serve with what *make* makes, until the supervisor says otherwise.

    What *make* or its start raises is the supervisor's to tell. Must be called on the main thread.
    """
    link = Link(place)
    _obey()
    try:
        served = make(link)
        link.listen(served.told)
        served.start()
        link.send(Ready())
        while not link.asked.wait(TICK):
            served.tick()
        served.close()
    except Exception as error:
        link.send(Failed(_pickled(error)))
        raise SystemExit(1) from None
    link.drained()
    link.ended.wait()


def _obey() -> None:
    """Leave signals to the supervisor, and end with it, even where no thread of Python's gets to run."""
    for number in SIGNALS:
        signal.signal(number, _pass)  # not SIG_IGN, which the processes that tasks start would inherit
    os.register_at_fork(after_in_child=_as_usual)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _pass(number: int, frame: FrameType | None) -> None:
    """Nothing."""


def _as_usual() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _pickled(error: Exception) -> bytes:
    """*error*, or what can be said of one that cannot be sent."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return pickle.dumps(OperatorError(f"{type(error).__name__}: {error}"))
    return data

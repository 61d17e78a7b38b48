"""The supervisor: processes that serve, each replaced when it dies, all ended together.

A thread a place: it starts a child, hears what it says until it is dead, and starts the next. No user's code runs in
it, and nothing that a child does, or does not do, can hold it up.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from infinitic.errors import OperatorError, StorageError, TransportError
from infinitic.worker.children_pipes import Down, Drain, Drained, Failed, Ready, Up
from infinitic.worker.children_process import Child
from infinitic.worker.stopping import asked_to_stop

CALM = 60.0
"""Seconds that a child has lived when its death is no sign that the next one dies as well."""
BACKOFF, LONGEST = 0.1, 10.0
"""Seconds until the next one is started, at first and at most."""
USUAL = 8
"""Deaths in short lives, one after the other, that are no reason to wait longer: tasks that kill die of themselves."""
DRAIN = 35.0
"""Seconds for all to end what they run: a worker gives its tasks 30."""
PATIENCE = 5.0
"""Seconds that a child may take to end once it has nothing to do."""

log = logging.getLogger("infinitic.worker")


class Listener(Protocol):
    """Who hears of the children, in the thread of each; it must not block."""

    def born(self, child: Child) -> None:
        """It is started. What is sent to it from here on is read before it is ready."""

    def ready(self, child: Child) -> None:
        """It serves."""

    def came(self, child: Child, frames: Sequence[Up]) -> None:
        """It said this."""

    def died(self, child: Child, running: Sequence[str]) -> str:
        """It is dead, and had noted that it worked on these. What that means, in words, "" for nothing."""


class Silent:
    """A `Listener` to children that need nobody."""

    def born(self, child: Child) -> None: ...

    def ready(self, child: Child) -> None: ...

    def came(self, child: Child, frames: Sequence[Up]) -> None: ...

    def died(self, child: Child, running: Sequence[str]) -> str:
        return ""


class Supervisor:
    """Keeps *count* processes of *command* at work.

    *gave_up* is called when the code cannot be served any more, as `error` says: whoever runs this is to close it.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        listener: Listener | None = None,
        gave_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._command, self._listener, self._gave_up = tuple(command), listener or Silent(), gave_up
        self.count = count
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._children: dict[int, Child] = {}
        self._begun = False  # all were ready once
        self._draining = threading.Event()  # no more are started
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._keep, args=(number,), name=f"infinitic-process-{number}", daemon=True)
            for number in range(1, count + 1)
        ]

    @property
    def children(self) -> tuple[Child, ...]:
        """Those that live."""
        return tuple(self._children.values())

    # --- life ---

    def start(self) -> Self:
        """Start all; returns when all serve. Raises what keeps any of them from it, after all have ended."""
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(self._all_ready)
            self._begun = self.error is None
        if self.error is not None:
            self.stop()
            raise self.error
        return self

    def _all_ready(self) -> bool:
        return self.error is not None or (
            len(self._children) == self.count and all(one.ready for one in self._children.values())
        )

    def run(self, introduce: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM, then drain; a second signal ends all at once. Raises what ended it else.

        Must be called on the main thread.
        """
        with asked_to_stop() as wait, self:
            introduce()
            wait()
            log.info("stopping: waiting for the tasks that run; once more to stop at once")
        if self.error is not None:
            raise self.error

    def tell(self, *frames: Down) -> None:
        """Send these to all."""
        for child in self.children:
            child.send(*frames)

    def drain(self) -> None:
        """Have all begin nothing more. Who dies is not replaced from here on."""
        with self._changed:
            self._draining.set()
        self.tell(Drain())

    def wait_drained(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds until all are done with what they ran; whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not any(one.ready and not one.drained for one in self.children), timeout
            )

    def stop(self) -> None:
        """End all, whatever they do."""
        with self._changed:
            self._stopping = True
            self._draining.set()
        for child in self.children:
            child.let_go()
        last = time.monotonic() + PATIENCE
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, last - time.monotonic()))
        for child in self.children:
            child.process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.drain()
        self.wait_drained(DRAIN)
        self.stop()

    # --- one place ---

    def _keep(self, number: int) -> None:
        pause, short = 0.0, 0
        while not self._draining.wait(pause):
            began = time.monotonic()
            try:
                child = self._born(number)
            except OSError as error:
                pause = LONGEST
                log.error("process %d cannot be started: %s - trying again in %g s", number, error, pause)
                continue
            if child is None:
                return
            self._hear_all(child)
            short = short + 1 if time.monotonic() - began < CALM else 0
            pause = min(BACKOFF * 2 ** max(0, short - USUAL), LONGEST)
            self._bury(child, pause)

    def _born(self, number: int) -> Child | None:
        with self._changed:
            if self._draining.is_set():
                return None
            child = self._children[number] = Child(number, self._command)
            self._listener.born(child)
            return child

    def _hear_all(self, child: Child) -> None:
        """Returns when it is dead."""
        try:
            for frames in child.heard():
                self._hear(child, frames)
        except Exception:
            log.exception(
                "process %d (pid %d) is ended: what it says is not understood", child.number, child.process.pid
            )
            child.process.kill()
            child.process.wait()

    def _hear(self, child: Child, frames: Sequence[Up]) -> None:
        said = [one for one in frames if not isinstance(one, Ready | Failed | Drained)]
        if said:
            self._listener.came(child, said)
        for frame in frames:
            match frame:
                case Ready():
                    child.ready = True
                    self._listener.ready(child)
                case Failed(error):
                    child.error = pickle.loads(error)
                case Drained():
                    child.drained = True
                case _:
                    continue
            with self._changed:
                self._changed.notify_all()

    def _bury(self, child: Child, pause: float) -> None:
        running = child.close()
        doing = self._listener.died(child, running)
        error = self._last_error(child)
        with self._changed:
            del self._children[child.number]
            if error is not None:
                self.error = self.error or error
                self._draining.set()
            quiet = self._stopping or error is not None
            self._changed.notify_all()
        if error is not None and self._begun:
            self._gave_up()
        if not quiet:
            self._tell_death(child, doing, pause)

    def _last_error(self, child: Child) -> BaseException | None:
        """What makes it useless to start another."""
        if child.error is not None and not (self._begun and isinstance(child.error, StorageError | TransportError)):
            return child.error
        if self._begun or child.ready or self._draining.is_set():
            return None
        hint = "What it printed may say more."
        return OperatorError(f"Process {child.number} of {self.count} {child.end} before it was at work", hint)

    def _tell_death(self, child: Child, doing: str, pause: float) -> None:
        why = f": {child.error}" if child.error is not None else ""
        after = f" in {pause:.1f} s" if pause > BACKOFF else ""
        then = "no other is started, for all are stopping" if self._draining.is_set() else f"another is started{after}"
        log.warning("process %d (pid %d) %s%s%s; %s", child.number, child.process.pid, child.end, why, doing, then)

"""Waiting: one thread hears all answers of a client, and looks again for those that were lost.

The law of the place: an answer that arrives is a hint. It may be lost, come twice, or be of a former run; so
what is waited for is looked at again every few seconds, in the storage where there is one, and what is
doubtful is believed only if the storage says the same.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol, TypeVar

from msgspec import DecodeError
from msgspec.json import Decoder

from infinitic.client.answers import outcome
from infinitic.client.awaited import Awaited
from infinitic.client.calls import Writer
from infinitic.errors import InfiniticError, TransportError
from infinitic.messages import Delivery, Outgoing, Reply
from infinitic.storages import Storage
from infinitic.topics import client_topic
from infinitic.transports import Consumer, Transport

LOOK_AGAIN = 5.0
"""Seconds after which what is still waited for is looked at again."""

ASKED_AT_ONCE = 100
READ_AT_ONCE = 1_000
RECEIVED_AT_ONCE = 1_000
PATIENCE = 5.0

_logger = logging.getLogger("infinitic.client")
_REPLY = Decoder(Reply)
T = TypeVar("T")


class Driver(Protocol):
    """What a client without a thread of its own waits by: it has all else go on, and the client `attend` to it."""

    def time(self) -> float:
        """Seconds, since whenever."""

    def drive(self, done: Callable[[], bool], seconds: float | None) -> None:
        """Go on until *done*, or until so many seconds have passed. Raises when neither will ever be."""


class Waits:
    """All that one client waits for. Thread-safe. With a *driver* there is no thread, and time is the driver's."""

    def __init__(
        self,
        transport: Transport,
        storage: Storage | None,
        writer: Writer,
        look_again: float = LOOK_AGAIN,
        driver: Driver | None = None,
    ) -> None:
        self._transport, self._storage, self._writer = transport, storage, writer
        self._interval = look_again
        self.driver = driver
        self._time = time.monotonic if driver is None else driver.time
        self._lock = threading.Lock()
        self._known: dict[str, weakref.WeakSet[Awaited]] = {}  # by workflow id
        self._prune_at = 1_000
        self._active: dict[Awaited, int] = {}  # how many wait for it just now
        self._bell = threading.Event()
        self._idle = True  # the thread sleeps until the bell
        self._next_look = 0.0
        self._opening = threading.Lock()
        self._consumer: Consumer | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._troubles: dict[str, Exception] = {}

    # --- what is waited for ---

    def expect(self, awaited: Awaited) -> Awaited:
        """*awaited*, which from now on hears what is answered, for as long as somebody holds it."""
        self._open()
        with self._lock:
            if len(self._known) > self._prune_at:
                self._known = {id: those for id, those in self._known.items() if those}
                self._prune_at = 2 * len(self._known) + 1_000
            self._known.setdefault(awaited.workflow_id, weakref.WeakSet()).add(awaited)
        return awaited

    def _about(self, workflow_id: str) -> list[Awaited]:
        with self._lock:
            return list(self._known.get(workflow_id, ()))

    def known_runs(self, workflow_id: str) -> frozenset[str]:
        """The runs of an instance of whose end somebody here has heard."""
        heard = [reply for one in self._about(workflow_id) for reply in (one.news, one.told)]
        return frozenset(reply.run for reply in heard if reply is not None and reply.run)

    def forget(self, retried: Reply) -> None:
        """The run was taken up again: whoever asks for its end from now on gets the new one."""
        for awaited in self._about(retried.workflow_id):
            if not awaited.call_id:
                awaited.forget(retried.run, retried.retries)

    @contextmanager
    def waiting(self, awaited: Awaited) -> Iterator[Future[Reply]]:
        """A future of the answer, which is looked for while this lasts."""
        self._open()
        future: Future[Reply] = Future()
        with self._lock:
            self._active[awaited] = self._active.get(awaited, 0) + 1
            idle, self._idle = self._idle, False
            if idle:
                self._next_look = self._time() + self._interval
        if idle:
            self._bell.set()
        awaited.add(future)
        try:
            self.check_open()  # lest it was closed since, and nobody will ring
            yield future
        finally:
            awaited.remove(future)
            self._no_longer(awaited)

    def result(self, future: Future[Reply], seconds: float | None) -> Reply:
        """What the *future* that is waited for gets. Raises `TimeoutError`, and what its driver raises."""
        if self.driver is None:
            return future.result(seconds)
        self.driver.drive(future.done, seconds)
        return future.result(0)

    def _no_longer(self, awaited: Awaited) -> None:
        with self._lock:
            self._active[awaited] -= 1
            if not self._active[awaited]:
                del self._active[awaited]

    # --- the reply thread ---

    def _open(self) -> None:
        """Subscribe and start the thread, the first time. Raises `TransportError`, after `close` too."""
        if self._consumer is not None and not self._closed:
            return
        with self._opening:
            self.check_open()
            if self._consumer is not None:
                return
            topic = client_topic(self._writer.client_id)
            self._consumer = self._transport.subscribe([topic], self._bell.set)
            if self.driver is None:
                self._thread = threading.Thread(target=self._serve, name="infinitic-client", daemon=True)
                self._thread.start()

    def check_open(self) -> None:
        """Raises `TransportError` after `close`."""
        if self._closed:
            raise TransportError("The client was used after it was closed", "Make another one.")

    def _serve(self) -> None:
        while self._rung():
            self.attend()

    def attend(self) -> None:
        """Hear what came, and look again if it is time. For the reply thread; for the driver, where there is one."""
        self._guarded("hear", self._hear)
        if self._is_time():
            self._guarded("look", self._look_again)

    def _rung(self) -> bool:
        """Wait for the bell, or for the next look; False once the client is closed."""
        self._bell.wait(self._patience())
        self._bell.clear()
        return not self._closed

    def _patience(self) -> float | None:
        with self._lock:
            return None if self._idle else max(0.0, self._next_look - self._time())

    def _is_time(self) -> bool:
        with self._lock:
            now = self._time()
            if self._idle or now < self._next_look:
                return False
            self._next_look = now + self._interval
            self._idle = not self._active
            return not self._idle

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        """Trouble ends neither the thread nor a wait: it may be over when the next look comes."""
        try:
            work()
        except Exception as error:
            if what not in self._troubles and not self._closed:
                unexpected = not isinstance(error, InfiniticError)
                _logger.warning("cannot %s for what is waited for just now: %s", what, error, exc_info=unexpected)
            self._troubles = self._troubles | {what: error}
        else:
            self._troubles = {other: error for other, error in self._troubles.items() if other != what}

    @property
    def trouble(self) -> Exception | None:
        """Why the last attempt to hear or to look failed; None when neither did."""
        return next(iter(self._troubles.values()), None)

    def _hear(self) -> None:
        consumer = self._consumer
        while consumer is not None and (deliveries := consumer.receive(RECEIVED_AT_ONCE)):
            doubtful = [awaited for delivery in deliveries for awaited in self._take(delivery)]
            consumer.ack(deliveries)
            if doubtful:
                self._read(doubtful)

    def _take(self, delivery: Delivery) -> list[Awaited]:
        """Tell those whom it concerns. Given back are those who wait and doubt it."""
        message = delivery.message
        if message.kind != "reply":
            return []
        try:
            reply = _REPLY.decode(message.payload)
        except DecodeError as error:
            _logger.warning("an answer about %r cannot be read: %s", message.workflow_id, error)
            return []
        sceptical = self._storage is not None
        known = self._about(reply.workflow_id)
        return [one for one in known if not one.hear(reply, sceptical=sceptical) and one.is_waited_for]

    # --- looking again ---

    def _look_again(self) -> None:
        with self._lock:
            active = list(self._active)
        self.look(active)

    def freshen(self, awaited: Awaited) -> None:
        """Look now, when what arrives may not be all there is to hear. Raises as `look` does."""
        if not awaited.uncertain or awaited.news is not None:
            return
        awaited.uncertain = False
        try:
            self.look([awaited])
            self._have_it_told(awaited)
        except BaseException:
            awaited.uncertain = True
            raise

    def _have_it_told(self, awaited: Awaited) -> None:
        """Ask for the end of a run, of which the storage knows but tells nobody: whoever holds it will."""
        if awaited.news is None and self._storage is not None and not awaited.call_id:
            self._transport.publish([*self._questions([awaited])])

    def look(self, those: Sequence[Awaited]) -> None:
        """Look how these stand: in the storage, or by asking. Raises `StorageError` or `TransportError`."""
        unsettled = self._read(those) if self._storage is not None else list(those)
        batch = [*self._questions([one for one in unsettled if not one.call_id]), *self._repeats(unsettled)]
        if batch:
            self._transport.publish(batch)

    def _read(self, those: Sequence[Awaited]) -> list[Awaited]:
        """Tell those that have ended; given back are those of which the storage cannot know."""
        assert self._storage is not None
        unsettled: list[Awaited] = []
        for some in _pieces(those, READ_AT_ONCE):
            ids = list(dict.fromkeys(awaited.workflow_id for awaited in some))
            records = dict(zip(ids, self._storage.records(ids), strict=True))
            for awaited in some:
                record = records[awaited.workflow_id]
                reply = outcome(record, awaited)
                if reply is not None:
                    awaited.learn(reply)
                elif not awaited.is_open_in(record):
                    unsettled.append(awaited)
        return unsettled

    def _questions(self, runs: Iterable[Awaited]) -> Iterator[Outgoing]:
        """Few messages for many: each asks about instances of one workflow."""
        waits: dict[str, dict[tuple[str, str], None]] = {}
        for awaited in runs:
            waits.setdefault(awaited.workflow, {})[awaited.workflow_id, ""] = None
        for workflow, its in waits.items():
            for some in _pieces(list(its), ASKED_AT_ONCE):
                yield self._writer.ask(workflow, some)

    def _repeats(self, those: Iterable[Awaited]) -> Iterator[Outgoing]:
        """What was sent, once more; or a question about one call, under its key: it comes after the call."""
        for one in those:
            if one.call_id and one.is_to_be_sent_again():
                yield one.again or self._writer.ask(one.workflow, [(one.workflow_id, one.call_id)])

    # --- end ---

    def close(self) -> None:
        """No more answers: who still waits gets a `TransportError`. Again: nothing."""
        with self._opening:
            if self._closed:
                return
            self._closed = True
        self._bell.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)
        with self._lock:
            active = list(self._active)
        for awaited in active:
            awaited.give_up(TransportError(f"The client was closed while {awaited.label} was waited for"))
        if self._consumer is not None:
            self._consumer.close()


def _pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

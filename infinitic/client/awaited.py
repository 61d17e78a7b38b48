"""One answer that is waited for, and which of the replies that arrive are believed to be it. No I/O here."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from infinitic.messages import Outgoing, Reply
from infinitic.records import StateRecord

AT_MOST = 64
"""A message is sent again with the 1st, 2nd, 4th, … and every 64th look: there may be nobody to read it."""


class Awaited:
    """The answer to one call: of the run *workflow_id* (call id ""), a method, a signal, a question.

    *own* says that this client sent what is to be answered, so that "unknown" means "not yet". *run* is the
    run whose end is meant when that is certain; `former` are runs that are not meant. *start_id* tells a
    refused start. *again* is what to send when no answer came; None: ask. Thread-safe.
    """

    def __init__(
        self,
        workflow: str,
        workflow_id: str,
        call_id: str = "",
        *,
        label: str,
        own: bool = True,
        run: str = "",
        start_id: str = "",
        again: Outgoing | None = None,
    ) -> None:
        self.workflow, self.workflow_id, self.call_id, self.label = workflow, workflow_id, call_id, label
        self.own, self.run, self.start_id, self.again = own, run, start_id, again
        self.former: frozenset[str] = frozenset()
        self.retried = ("", 0)  # the run that was taken up again, and how often
        self.news: Reply | None = None
        """What was heard and is believed."""
        self.told: Reply | None = None
        """The failure that the holder knows already: a retry may have changed it since."""
        self.uncertain = not own
        """Whether to look before one waits: others may have heard the answer, or this one doubted it."""
        self._lock = threading.Lock()
        self._futures: list[Future[Reply]] = []
        self._looks = 0

    # --- futures ---

    def add(self, future: Future[Reply]) -> None:
        """Give *future* the answer: now, when it was heard already, or as soon as it is."""
        with self._lock:
            news = self.news
            if news is None:
                self._futures.append(future)
        if news is not None:
            _settle([future], news)

    def remove(self, future: Future[Reply]) -> None:
        """*future* is not waited for any more."""
        with self._lock, suppress(ValueError):
            self._futures.remove(future)

    @property
    def is_waited_for(self) -> bool:
        return bool(self._futures)

    def give_up(self, error: Exception) -> None:
        """Nobody will be told any more."""
        for future in self._taken():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    # --- answers ---

    def hear(self, reply: Reply, *, sceptical: bool) -> bool:
        """Take what arrived. False: it is doubtful, and *sceptical* says that somebody knows better."""
        if not self._concerns(reply):
            return True
        if sceptical and self._is_doubtful(reply):
            self.uncertain = True
            return False
        self.learn(reply)
        return True

    def _concerns(self, reply: Reply) -> bool:
        if reply.call_id != self.call_id:
            return bool(self.start_id) and reply.call_id == self.start_id and reply.status != "received"
        if reply.status == "unknown" and not self.call_id:
            return not self.own
        run, retries = self.retried
        return reply.run not in self.former and not (run and reply.run == run and reply.retries < retries)

    def _is_doubtful(self, reply: Reply) -> bool:
        """Whether it may be of a former run, or from before a retry."""
        if self.call_id or not reply.run:
            return False
        return (self.run not in ("", reply.run)) or (self.told is not None and self.told.run == reply.run)

    def learn(self, reply: Reply) -> None:
        """*reply* is the answer; but a success stays, whatever becomes of the instance later."""
        with self._lock:
            if self.news is None or self.news.status != "completed":
                self.news = reply
        _settle(self._taken(), reply)

    def tell(self, reply: Reply) -> None:
        """The holder was told of *reply*; when a run did not succeed, it wants later news the next time."""
        with self._lock:
            if reply.status != "completed" and not self.call_id:
                self.told, self.uncertain = reply, True
                self.news = None if self.news is reply else self.news

    def forget(self, run: str, retries: int) -> None:
        """The *run* was taken up again, so many times by now: what is heard of its end before does not hold."""
        with self._lock:
            self.retried = (run, retries)
            if self.news is None or self.news.status != "completed":
                self.told, self.news, self.uncertain = self.news or self.told, None, True

    def _taken(self) -> list[Future[Reply]]:
        with self._lock:
            futures, self._futures = self._futures, []
        return futures

    # --- looking again ---

    def is_open_in(self, record: StateRecord | None) -> bool:
        """Whether the storage will know when this ends, so that nobody needs to be asked."""
        if not self.call_id:
            return True
        return record is not None and self.call_id in record.open_calls

    def is_to_be_sent_again(self) -> bool:
        """Whether to send `again` with this look; to be asked once a look."""
        self._looks += 1
        return self._looks & (self._looks - 1) == 0 or self._looks % AT_MOST == 0


def _settle(futures: list[Future[Reply]], reply: Reply) -> None:
    for future in futures:
        with suppress(InvalidStateError):  # cancelled
            future.set_result(reply)

"""Sweeps: what a worker looks after every half second, beside what comes to it."""

from __future__ import annotations

import logging

from infinitic.backends import Step
from infinitic.clock import SECOND
from infinitic.ids import new_id
from infinitic.messages import Delivery, Message, Outgoing
from infinitic.topics import workflow_topic
from infinitic.worker.batches import Conductor

AHEAD = 2 * SECOND
LEASE = 1 * SECOND
OVERDUE_LEASE = 15 * SECOND
LONG = SECOND // 4
"""For how long one sweep claims overdue timers; the next, which follows at once, goes on."""
PAGE = 200
OFFER_AGAIN = 5 * SECOND
UNHEARD = 1 * SECOND
"""After which an offer came to nothing: whoever got it cannot go on with the instance, or is slow."""
REMEMBERED = 60 * SECOND
"""For how long it is known which instances waited on after they had been offered."""
BEHIND = 5 * SECOND
PURGE = 60 * SECOND
QUIET = SECOND // 2

log = logging.getLogger("infinitic.worker")


class Sweeper:
    """Takes over what the dead held, claims timers, offers what waits in inboxes, purges what has expired."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._offered: dict[str, int] = {}
        self._purged = 0

    def sweep(self) -> bool:
        """One sweep; True when the next should follow at once. Raises `StorageError` or `TransportError`."""
        conductor = self._conductor
        conductor.backend.transport.sweep()
        conductor.workflow_bell.rung = conductor.service_bell.rung = True  # lest a ring was lost
        self._give_back_tasks()
        conductor.router.again()
        if not conductor.registry.programs:
            return False
        now = conductor.backend.storage.now()
        conductor.skew = now - conductor.clock()
        more = self._claim_timers(now)
        self._offer(now)
        conductor.flush_marks(self._resting())
        if now - self._purged >= PURGE:
            self._purged = now
            conductor.backend.storage.purge(now)
        return more

    def _resting(self) -> list[str]:
        """Instances behind their mark that have not moved for a while: the next append of others will carry theirs.

        One whose timer has fired does not wait: its row, which goes with the mark, would be claimed again.
        """
        conductor, before = self._conductor, self._conductor.now() - QUIET
        held = ((id, at, conductor.cache.get(id)) for id, at in list(conductor.moved.items()))
        return [id for id, at, one in held if at <= before or (one is not None and one.fired)]

    def _give_back_tasks(self) -> None:
        """Let others run the tasks that were taken here ahead of time and had to wait after all."""
        stale = self._conductor.tasks.give_back()
        if stale and self._conductor.services is not None:
            self._conductor.services.nack(stale)

    def _claim_timers(self, began: int) -> bool:
        """Hold the timers that are due soon; first those overdue, for longer: there may be too many for one sweep."""
        while self._claim(0, OVERDUE_LEASE):
            if self._conductor.backend.storage.now() - began > LONG:
                return True
        return self._claim(AHEAD, LEASE)

    def _claim(self, ahead: int, lease: int) -> bool:
        """Claim one page; whether it was full."""
        conductor = self._conductor
        due = conductor.backend.storage.claim_due_timers([*conductor.registry.programs], ahead, PAGE, lease)
        for row in due.timers:
            conductor.timers.add(row)
        return len(due.timers) == PAGE

    def _offer(self, now: int) -> None:
        """Have instances looked at whose events wait for this code, or whose outputs may not have been sent.

        By a message, to whoever has their keys. But those may have other code, while a release is rolled out: what
        waits on after that is taken here. Nothing but the compare-and-set is needed for that.
        """
        conductor, storage = self._conductor, self._conductor.backend.storage
        unable, fingerprints = conductor.applier.unable, conductor.registry.fingerprints
        # what was tried here, and other code could not go on with either, must hide no others
        found = storage.offers(fingerprints, now - BEHIND, PAGE + len(unable))
        if not found:
            return
        self._offered = {id: at for id, at in self._offered.items() if now - at < REMEMBERED}
        sent: list[Outgoing] = []
        for (name, id), record in zip(found, storage.records([id for _, id in found]), strict=True):
            waits = record is not None and record.fingerprint not in ("", fingerprints[name])
            age = now - self._offered[id] if id in self._offered else REMEMBERED
            if age < (UNHEARD if waits and id not in unable else OFFER_AGAIN):
                continue
            offer = Message(kind="offer", id=new_id(), workflow=name, workflow_id=id)
            here = waits and (id in unable or age < REMEMBERED)
            if here:
                conductor.pending.append(Delivery(workflow_topic(name), offer))
            else:
                sent.append(Outgoing(workflow_topic(name), id, offer))
            self._offered[id] = now - UNHEARD if here and id not in unable else now
        if sent:
            conductor.backend.commit([Step(outputs=tuple(sent))])

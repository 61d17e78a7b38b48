"""Sweeps: what a worker looks after every half second, beside what comes to it."""

from __future__ import annotations

import logging

from infinitic.backends import Step
from infinitic.clock import SECOND
from infinitic.ids import new_id
from infinitic.messages import Message, Outgoing
from infinitic.topics import workflow_topic
from infinitic.worker.batches import Conductor

AHEAD = 2 * SECOND
LEASE = 1 * SECOND
PAGE = 200
OFFER_AGAIN = 5 * SECOND
BEHIND = 5 * SECOND
PURGE = 60 * SECOND

log = logging.getLogger("infinitic.worker")


class Sweeper:
    """Takes over what the dead held, claims timers, offers what waits in inboxes, purges what has expired."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._offered: dict[str, int] = {}
        self._purged = 0

    def sweep(self) -> None:
        """One sweep. Raises `StorageError` or `TransportError`."""
        conductor = self._conductor
        conductor.backend.transport.sweep()
        conductor.workflow_bell.rung = conductor.service_bell.rung = True  # lest a ring was lost
        conductor.give_back_tasks()
        if not conductor.registry.programs:
            return
        now = conductor.backend.storage.now()
        conductor.skew = now - conductor.clock()
        self._claim_timers()
        self._offer(now)
        conductor.flush_marks()
        if now - self._purged >= PURGE:
            self._purged = now
            conductor.backend.storage.purge(now)

    def _claim_timers(self) -> None:
        conductor = self._conductor
        names = [*conductor.registry.programs]
        while True:
            due = conductor.backend.storage.claim_due_timers(names, AHEAD, PAGE, LEASE)
            for row in due.timers:
                conductor.timers.add(row)
            if len(due.timers) < PAGE:
                return

    def _offer(self, now: int) -> None:
        """Have instances looked at whose events wait for this code, or whose outputs may not have been sent."""
        conductor = self._conductor
        found = conductor.backend.storage.offers(conductor.registry.fingerprints, now - BEHIND, PAGE)
        self._offered = {id: at for id, at in self._offered.items() if now - at < OFFER_AGAIN}
        fresh = [(name, id) for name, id in found if id not in self._offered]
        if not fresh:
            return
        self._offered.update((id, now) for _, id in fresh)
        outputs = tuple(
            Outgoing(workflow_topic(name), id, Message(kind="offer", id=new_id(), workflow=name, workflow_id=id))
            for name, id in fresh
        )
        conductor.backend.commit([Step(outputs=outputs)])

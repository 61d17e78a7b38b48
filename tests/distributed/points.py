"""The named points at which a worker over a broker can be killed or stopped. Nothing of this is in the product.

Each point is a function that is called on the way; a call that does nothing (nothing to send, no mark behind) is
none. Beside before and after there are "during": a few milliseconds at most from its begin, wherever that is; and
"held up": before it, but only after all that was buffered (as acknowledgements are) has gone.
"""

import functools
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import GeneratorType
from typing import Any

from attrs import field, frozen

from infinitic.config import scheme_of
from tests.crash.points import AFTER, BEFORE, Tripwire, whereabouts

FLOWS, TASKS = "workflows", "services"
BOTH = (FLOWS, TASKS)
DURING, HELD_UP = "during", "held up"
MOMENTS = (BEFORE, HELD_UP, DURING, AFTER)
WITHIN = 0.003
"""Seconds after its begin, at most, that "during" is."""
FLUSHED = 0.25
"""Seconds in which what is buffered has gone."""

CONDUCTOR, SWEEPER = "infinitic.worker.batches:Conductor", "infinitic.worker.sweeps:Sweeper"
BACKEND = "infinitic.backends.distributed"
PULSAR = "infinitic.transports.pulsar"
STORAGES = {
    "redis": "infinitic.storages.redis:RedisStorage",
    "mysql": "infinitic.storages.mysql:MySqlStorage",
    "postgresql": "infinitic.storages.postgres:PostgresStorage",
}


@frozen
class Order:
    """What a life is for: its role, where, and, if any, the point at which it ends or stops."""

    role: str
    place: dict[str, Any]
    folder: Path
    point: str = ""
    moment: str = BEFORE
    nth: int = 1
    how: int = signal.SIGKILL
    cache: int = 1_000


def always(*_: Any) -> bool:
    return True


def persists(_: Any, steps: Any) -> bool:
    return any(step.append is not None for step in steps)


def publishes(_: Any, batch: Any) -> bool:
    return any(not outgoing.hint for outgoing in batch)


def hints(_: Any, batch: Any) -> bool:
    return bool(batch) and all(outgoing.hint for outgoing in batch)


def acknowledges(steps: Any) -> bool:
    return any(step.acks for step in steps)


def moves_marks(_: Any, held: Any, *rest: Any) -> bool:
    return any(one.mark != one.stored_mark for _, one in held)


def has_due(conductor: Any) -> bool:
    due = conductor.timers.next_due
    return due is not None and due <= conductor.now()


@frozen
class Point:
    """A place on the way of workers with one of *roles*: "module:Class.function", "STORAGE" being that of the storage.

    A call *counts* by its arguments. Each life reaches it *upto* so many times, if it lasts; *closing* ones when it is
    asked to end.
    """

    roles: tuple[str, ...]
    name: str
    place: str
    counts: Callable[..., bool] = field(default=always, kw_only=True)
    upto: int = field(default=12, kw_only=True)
    closing: bool = field(default=False, kw_only=True)


POINTS = (
    Point((FLOWS,), "an instance is loaded", "STORAGE.load"),
    Point((FLOWS,), "messages are applied", "infinitic.worker.applying:Applier.change"),
    Point((FLOWS,), "turns are persisted", f"{BACKEND}:DistributedBackend._persist", counts=persists),
    Point(BOTH, "outputs are published", f"{BACKEND}:DistributedBackend._publish", counts=publishes),
    Point(BOTH, "one output is sent", f"{PULSAR}.producers:Producers._send", upto=24),
    Point(BOTH, "messages are acknowledged", f"{BACKEND}:_acknowledge", counts=acknowledges),
    Point(BOTH, "one acknowledgement is sent", f"{PULSAR}.consumer:Group._quietly", upto=24),
    Point((FLOWS,), "clients are answered", f"{BACKEND}:DistributedBackend._publish", counts=hints, upto=4),
    Point((FLOWS,), "marks are written", "infinitic.worker.batches:write_marks", counts=moves_marks, upto=4),
    Point((FLOWS,), "due timers are taken", f"{CONDUCTOR}._take_due", counts=has_due, upto=2),
    Point((FLOWS,), "timers are claimed", "STORAGE.claim_due_timers", upto=3),
    Point((FLOWS,), "what waits is looked for", "STORAGE.offers", upto=2),
    Point((FLOWS,), "what has expired is purged", "STORAGE.purge", upto=2),
    Point((TASKS,), "a task is read", f"{PULSAR}.consumer:Group._take", upto=24),
    Point((TASKS,), "tasks are taken", "infinitic.worker.executor:Executor.submit"),
    Point((TASKS,), "a task runs", "infinitic.worker.tasks:Attempt.call"),
    Point((TASKS,), "a task is over", "infinitic.worker.executor:Executor._end"),
    Point(BOTH, "a sweep begins", f"{SWEEPER}.sweep", upto=2),
    Point(BOTH, "the worker is closed", f"{CONDUCTOR}.close", upto=1, closing=True),
    Point(BOTH, "a subscription is closed", f"{PULSAR}.consumer:Group.close", upto=1, closing=True),
    Point(BOTH, "the transport is closed", f"{PULSAR}:PulsarTransport.close", upto=1, closing=True),
)
BY_NAME = {point.name: point for point in POINTS}


class Wire(Tripwire):
    """Sends this process a signal when it comes to the point that its order names."""

    def __init__(self, order: Order) -> None:
        super().__init__(order.folder, order.point, order.moment, order.nth, order.how)
        self._order = order

    def set_up(self) -> None:
        for point in POINTS:
            if point.name == self._order.point:
                storage = STORAGES[scheme_of(self._order.place["storage"])]
                self._watch_calls(point, *whereabouts(point.place.replace("STORAGE", storage)))

    def pass_through(self, name: str, moment: str) -> None:
        if self._armed == (name, HELD_UP) and moment == HELD_UP and self.passed[name, moment] + 1 == self._nth:
            time.sleep(FLUSHED)
        super().pass_through(name, moment)

    def _watch_calls(self, point: Point, owner: Any, function: str) -> None:
        original = getattr(owner, function)

        @functools.wraps(original)
        def watched(*args: Any, **named: Any) -> Any:
            if not point.counts(*args):
                return original(*args, **named)
            self.pass_through(point.name, BEFORE)
            self.pass_through(point.name, HELD_UP)
            if self._armed[1] == DURING:
                threading.Timer(random.uniform(0, WITHIN), self.pass_through, (point.name, DURING)).start()
            answer = original(*args, **named)
            if isinstance(answer, GeneratorType):
                answer = [*answer]  # what it does, it does between before and after
            self.pass_through(point.name, AFTER)
            return answer

        setattr(owner, function, watched)

"""What the workers of these tests serve, and the life of one of them: a process that may end at any instant."""

import logging
import os
import time
from typing import Any

from dsl import Flow, gather, sleep, task, workflow
from infinitic.clock import SECOND
from infinitic.worker import sweeps
from tests.crash.town import Announcing, confirmed, leg, shaky, step
from tests.distributed.ledger import Ledger
from tests.distributed.points import FLOWS, TASKS, Order, Wire

LEASE = 1.0
"""Seconds that a timer may be somebody's, at most."""


@task
def linger(number: int) -> int:
    """Long enough to be killed in."""
    time.sleep(0.02)
    return number


@workflow
def trek(number: int) -> Flow[list[int]]:
    """Tasks one after the other and at once, a child, a timer, an attempt that fails, a signal."""
    total = 0
    for _ in range(3):
        total = yield from step(total)
    both = yield from gather(step(total), linger(total), step(total))
    kid = (yield from leg(number)) if number % 2 else (yield from step(number + 1))
    if number % 3 == 0:
        yield from sleep(0.02)
    again = (yield from shaky(number)) if number % 4 == 0 else number
    word = (yield from confirmed.receive()) if number % 5 == 0 else -1
    last = yield from step(sum(both))
    return [again, total, sum(both), kid, word, last]


def answer_of(number: int) -> list[int]:
    """What `trek(number)` answers when its signal said 7 * number."""
    return [number, 3, 11, number + 2, 7 * number if number % 5 == 0 else -1, 12]


SERVED: dict[str, dict[str, Any]] = {
    FLOWS: {"workflows": [trek, leg]},
    TASKS: {"services": [step, linger, shaky], "concurrency": 4},
}


def live(order: Order) -> None:
    """Serve until asked to end. Little patience: leases are short, and what has expired goes at once."""
    log = os.open(order.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(name)s: %(message)s", force=True)
    sweeps.OVERDUE_LEASE = round(LEASE * SECOND)
    sweeps.BEHIND = SECOND  # what a dead worker has not sent is looked for soon
    sweeps.PURGE = SECOND // 4
    Wire(order).set_up()
    Ledger(order.folder).watch()
    place = {name: value for name, value in order.place.items() if name != "storage" or order.role == FLOWS}
    worker = Announcing(**place, **SERVED[order.role], cache_instances=order.cache)
    worker.folder = order.folder
    worker.run()

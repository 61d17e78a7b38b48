"""A storage that does not answer for a while is not blamed on the workflow's code."""

import time
from functools import partial

from dsl import Flow, task, workflow
from infinitic.backends.urls import BROKERS
from infinitic.client import Client
from infinitic.clock import system_clock
from infinitic.worker import Worker
from infinitic.worker.loops import Loops


@task
def double(number: int) -> int:
    return 2 * number


@workflow
def doubling(number: int) -> Flow[int]:
    return (yield from double(number))


def test_a_storage_that_is_slow_suspends_nothing_and_nobody_is_told_of_slow_code(caplog):
    storage = BROKERS.named("slow-storage", system_clock).storage
    hasty = partial(Loops, tick=0.2, slow=0.02, give_up=0.05)
    served = Worker("memory://slow-storage", workflows=[doubling], services=[double], loops=hasty)
    with served, Client("memory://slow-storage") as client:
        handles, is_met = [], False
        while not is_met:
            with storage._lock:
                handles.append(client.start(doubling(21)))
                is_met = is_applied(served)  # else a sweep was first, and waits

        assert [handle.result(20) for handle in handles] == [42] * len(handles)
    assert caplog.records == []


def is_applied(worker):
    """Whether something was still being applied after a long while: what it waits for is the storage."""
    time.sleep(1)  # not to wait for anything: that the storage is slow is what is tested
    return worker._conductor.applying is not None or worker._conductor.stuck

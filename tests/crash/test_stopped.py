"""A worker process is stopped for longer than any lease, and goes on: nothing is doubled, and nothing is lost.

In the embedded queue an owner lives as long as its lock, and a stopped process keeps its lock. So what it holds waits
for it: no other worker runs its tasks or advances its instances meanwhile. Only timers have a lease that runs out:
what nobody fires in time is fired by any other worker. One that is stopped inside the turnstile holds up all writers
of the file; when it goes on, so do they.
"""

import signal
import time

import pytest

from infinitic.clock import SECOND
from infinitic.events import TimerFired
from tests.crash.errands import USUAL
from tests.crash.given import PATIENCE, until
from tests.crash.nursery import Order, end_well
from tests.crash.points import AFTER, COMMIT, QUEUE, of_stage
from tests.crash.town import guarded, nap

LEASES = 2.5
"""Seconds in which every lease of these workers' timers runs out."""

SOME = (
    "a turn is written",  # inside the turnstile, as the next
    "a message is done with",
    "those concerned are woken",
    "tasks are handed over",
    "a slot says what runs",
    "messages are received",
)


def stop_at(place, order, clients):
    """Begin a worker, and give it to do until it stops itself."""
    pid, more = place.begin(order), 0.0
    deadline = time.monotonic() + PATIENCE
    while not place.reached(pid):
        assert time.monotonic() < deadline, f"never reached: {order}\n{place.log}"
        if time.monotonic() > more:
            more = time.monotonic() + 1
            clients.begin(USUAL)
        time.sleep(0.005)


def let_time_pass():
    time.sleep(LEASES)  # not to wait for anything: that time passes is what is tested


@pytest.mark.timeout(3600)  # with --proof it is long
def test_a_worker_that_was_stopped_at_a_named_point_doubles_nothing(nurseries, clients, path, count):
    steady, place = nurseries(2)
    steady.begin(Order("serve", str(path)))
    every = [point.name for stage in (COMMIT, QUEUE) for point in of_stage(stage) if not point.errand]
    for name in count(SOME, every):
        order = Order("serve", str(path), point=name, moment=AFTER, how=signal.SIGSTOP)
        stop_at(place, order, clients)
        let_time_pass()
        place.send(signal.SIGCONT)
        until(place.is_serving, "it to serve")
        clients.begin(USUAL)
        place.send(signal.SIGTERM)
        assert place.end() == 0, place.log
    clients.calm_down()
    place.begin(Order("serve", str(path)))

    end_well([steady, place], clients)


def test_a_stopped_worker_keeps_the_task_that_it_runs(nurseries, clients, path, tmp_path):
    place, other = nurseries(2)
    relief, note = tmp_path / "relief", tmp_path / "relief.begun"
    place.begin(Order("serve", str(path)))
    handle = clients.client.start(guarded(str(relief)))
    until(note.exists, "the task to begin")
    place.send(signal.SIGSTOP)
    other.begin(Order("serve", str(path)))
    until(other.is_serving, "the other one to serve")
    let_time_pass()

    assert handle.status() == "running"
    place.send(signal.SIGCONT)
    relief.touch()
    assert handle.result(PATIENCE) == "relieved"
    assert len(note.read_text().splitlines()) == 1
    end_well([place, other], clients)


def times_fired(handle):
    return [type(turn.event) for turn in handle.history()].count(TimerFired)


def test_a_timer_of_a_stopped_worker_fires_once_when_it_goes_on(nurseries, clients, path):
    place, other = nurseries(2)
    place.begin(Order("serve", str(path)))
    naps = [clients.client.start(nap(1.5), id=f"n{number}") for number in range(5)]
    until(lambda: all(one.history() for one in naps), "all to be asleep")
    place.send(signal.SIGSTOP)
    other.begin(Order("serve", str(path)))
    let_time_pass()  # the other one has claimed and sent them: to who holds the instances
    place.send(signal.SIGCONT)

    assert [one.result(PATIENCE) for one in naps] == ["awake"] * 5
    end_well([place, other], clients)


def test_timers_that_their_claimer_does_not_fire_are_fired_by_others(nurseries, clients, path):
    [place] = nurseries(1)
    place.begin(Order("serve", str(path)))
    naps = [clients.client.start(nap(1.5), id=f"n{number}") for number in range(5)]
    until(lambda: all(one.history() for one in naps), "all to be asleep")
    place.send(signal.SIGKILL)
    place.end()
    claimed = []

    def are_claimed():  # by one who will say nothing
        claimed.extend(clients.storage.claim_due_timers(["nap"], 2 * SECOND, 10, SECOND // 2).timers)
        return len(claimed) + sum(times_fired(one) for one in naps) == len(naps)

    until(are_claimed, "all to be claimed that were not over")
    place.begin(Order("serve", str(path)))

    assert [one.result(PATIENCE) for one in naps] == ["awake"] * 5
    assert [times_fired(one) for one in naps] == [1] * 5
    end_well([place], clients)

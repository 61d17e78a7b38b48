"""Workers are stopped for longer than every lease, and come back: zombies that know nothing of it change nothing.

The broker misses a stopped worker within some seconds, and gives what it had to others; its timers' leases run out.
What it does when it comes back it does late: its turns lose the race, and what it sends is known already.
"""

import signal
import time

import pytest

from tests.crash.points import AFTER
from tests.distributed.given import until
from tests.distributed.points import BOTH, FLOWS, POINTS, TASKS
from tests.transports import on_pulsar

pytestmark = pytest.mark.timeout(3600)  # with --proof they are long; each wait has a deadline of its own

LEASES = 6.0
"""Seconds in which a worker is missed: after twice the broker's 2 s, and its timers after 1.3 s."""
AT_ONCE = 6

SOME = {
    FLOWS: ("messages are applied", "turns are persisted", "outputs are published", "marks are written"),
    TASKS: ("a task runs", "outputs are published"),
}
EVERY = {role: tuple(one.name for one in POINTS if role in one.roles and not one.closing) for role in BOTH}


def test_workers_that_were_stopped_come_back(place_of, broker, town_at, crowd_at, tell_repeats, count):
    place = place_of("redis") | {"transport": on_pulsar.fresh(broker.url)}
    town, crowd = town_at(place), crowd_at(place, count(60, 500))
    town.serve(flows=1, tasks=1)
    crowd.begin()
    stops = [(role, name) for role, names in count(SOME, EVERY).items() for name in names]
    while stops:
        stopped = [stop(town, *stops.pop()) for _ in range(min(AT_ONCE, len(stops)))]
        for life in stopped:
            until(life.reached, "all to be stopped")
        time.sleep(LEASES)  # not to wait for anything: that time passes is what is tested
        for life in stopped:
            town.go_on(life)
        crowd.await_progress()
        for life in stopped:
            town.retire(life)
    instances = crowd.finish()

    tell_repeats(instances, town.end_well())


def stop(town, role, point):
    return town.begin(role, point=point, moment=AFTER, how=signal.SIGSTOP)

"""All workers are replaced under load, one by one, as a release is rolled out: no instance fails, none waits long."""

import time
from itertools import pairwise

from tests.crash.given import histories
from tests.scenarios.given import open_at


def test_all_workers_are_replaced_under_load(place_of, town_at, crowd_at, tell, tell_repeats, count):
    place = place_of("redis")
    town, crowd = town_at(place), crowd_at(place, count(60, 500))
    town.serve(flows=2, tasks=2)
    crowd.begin()
    crowd.await_progress()
    began = time.time()
    for _ in range(count(2, 10)):
        for life in [*town.living]:
            town.await_serving(town.begin(life.order.role))
            town.retire(life)
        crowd.await_progress()
    instances = crowd.finish()

    assert set(tell_repeats(instances, town.end_well())) <= {"a key that moved"}
    usual, longest = longest_pauses(place, began)
    tell(f"rolling restart: longest pause {longest:.2f} s, {usual:.2f} s before (target 2 s), of {instances} instances")


def longest_pauses(place, began):
    """Seconds from one turn to the next, at most: of those that were over when the first was replaced, and of others.

    What an instance waits for takes no time worth mentioning: all of it is queues, and workers that come and go.
    """
    backend = open_at(place, "reader")
    pairs = [
        pair for turns in histories(backend.storage).values() for pair in pairwise(turn.at / 1e6 for turn in turns)
    ]
    backend.close()
    before, since = ([b - a for a, b in pairs if (b < began) == over] for over in (True, False))
    return max(before, default=0.0), max(since)

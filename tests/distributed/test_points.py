"""Workers are killed at each named point, before, in and after it: no answer is wrong, no turn is lost or doubled."""

import random
import signal
import time
from collections import deque
from typing import Any

import pytest

from tests.crash.errands import bygone
from tests.crash.points import AFTER
from tests.distributed.given import PATIENCE
from tests.distributed.points import BOTH, BY_NAME, DURING, HELD_UP, MOMENTS, POINTS
from tests.scenarios.given import open_at

pytestmark = pytest.mark.timeout(3600)  # with --proof they are long; each wait has a deadline of its own


class Lane:
    """One worker after the other, each of which is to die at a point of its own; then one that lives."""

    def __init__(self, town, role, deaths):
        self._town, self._role, self._deaths = town, role, deaths
        self._life: Any = None
        self._death: Any = None
        self._asked = False
        self._deadline = 0.0

    def go_on(self):
        """See what has become of the life, and begin the next; whether there is anything left to do."""
        if self._life is None and self._deaths:
            self._begin()
        elif self._life is None:
            self._life, self._death = self._town.begin(self._role), None
        elif self._death is None:
            return False
        elif self._life.is_over():
            self._take_stock()
        else:
            self._see_to_it()
        return True

    def _begin(self):
        self._death = self._deaths.popleft()
        self._life = self._town.begin(self._role, cache=6, **self._death)  # so that it lets go, and loads, all the time
        self._asked, self._deadline = False, time.monotonic() + PATIENCE

    def _take_stock(self):
        life, self._life = self._life, None
        code = self._town.bury(life)
        # "during" may come too late for a worker that was closing
        assert code == -signal.SIGKILL or (code == 0 and self._death["moment"] == DURING), (code, self._town.log)
        assert life.reached() or code == 0, f"{self._death}: {self._town.log}"

    def _see_to_it(self):
        assert time.monotonic() < self._deadline, f"never reached: {self._death}\n{self._town.log}"
        if BY_NAME[self._death["point"]].closing and not self._asked and self._life.is_serving():
            self._asked = True
            self._life.send(signal.SIGTERM)


def deaths_of(role, moments, rounds):
    chance = random.Random(5)
    for _ in range(rounds):
        for point in (point for point in POINTS if role in point.roles):
            for moment in moments:
                yield {"point": point.name, "moment": moment, "nth": chance.randint(1, point.upto)}


STORAGES = ["redis", *(pytest.param(name, marks=pytest.mark.proof) for name in ("mariadb", "mysql", "postgres"))]


@pytest.mark.parametrize("storage", STORAGES)
def test_workers_killed_at_every_named_point(storage, place_of, town_at, crowd_at, tell_repeats, count):
    place = place_of(storage)
    town, crowd = town_at(place), crowd_at(place, count(60, 500))
    moments, rounds = count((HELD_UP, AFTER), MOMENTS), count(1, 5)
    deaths = {role: deque(deaths_of(role, moments, rounds)) for role in BOTH}
    lanes = [Lane(town, role, deaths[role]) for role in BOTH * 2]
    leave_bygones(place)
    crowd.begin()
    while sum(lane.go_on() for lane in lanes):
        time.sleep(0.005)
    instances = crowd.finish()

    tell_repeats(instances, town.end_well())


def leave_bygones(place):
    """Instances that have expired: they are purged before the end."""
    backend = open_at(place, "reader")
    backend.storage.append([bygone(f"bygone-{number}", expired=True) for number in range(20)])
    backend.close()

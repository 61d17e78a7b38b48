"""A process is killed at each named point, before it and after it: whoever comes next gives every answer right."""

import random
import shutil
import signal
import sqlite3
import time
from collections import deque
from contextlib import closing

import pytest
from attrs import evolve

from infinitic.sqlite_file import SqliteFile
from infinitic.storages.sqlite import SqliteStorage
from tests.crash.errands import TRACES, USUAL, bygone, traces
from tests.crash.given import PATIENCE, is_sound
from tests.crash.nursery import Order, end_well
from tests.crash.points import BY_NAME, CLOSING, COMMIT, MOMENTS, OPENING, PURGE, QUEUE, TIMERS, of_stage
from tests.crash.town import answer_of, journey

pytestmark = pytest.mark.timeout(3600)  # with --proof they are long; each wait has a deadline of its own

AGAIN = 1.0
"""Seconds after which a life that has not come to its point gets more to do."""


class Lane:
    """One worker after the other, each of which is to die at a point of its own."""

    def __init__(self, nursery, clients, orders):
        self._nursery, self._clients, self._orders = nursery, clients, orders
        self._order: Order | None = None
        self._pid, self._asked = 0, False
        self._more = self._deadline = 0.0

    def go_on(self):
        """See what has become of the life, and begin the next; whether there is anything left to do."""
        if self._order is None:
            if not self._orders:
                return False
            self._order = self._orders.popleft()
            self._deadline = time.monotonic() + PATIENCE
            self._begin()
        elif self._nursery.is_over():
            self._take_stock(self._nursery.end())
        else:
            self._have_more_to_do()
        return True

    def _begin(self):
        assert self._order is not None
        self._clients.begin(USUAL)
        self._clients.keep_up(BY_NAME[self._order.point].errand)
        self._pid, self._asked = self._nursery.begin(self._order), False
        self._more = time.monotonic() + AGAIN

    def _take_stock(self, code):
        assert self._order is not None
        reached = self._nursery.reached(self._pid)
        if reached:
            assert (reached, code) == (f"{self._order.moment} {self._order.point}", -signal.SIGKILL)
            self._order = None
        else:  # it died of something deadly, or was asked to end before it could hear
            assert code in (139, -signal.SIGTERM), f"{self._order}: {code}\n{self._nursery.log}"
            self._begin()

    def _have_more_to_do(self):
        assert self._order is not None
        now = time.monotonic()
        assert now < self._deadline, f"never reached: {self._order}\n{self._nursery.log}"
        point = BY_NAME[self._order.point]
        if now > self._more:
            self._more = now + AGAIN
            self._clients.begin(USUAL)
            self._clients.keep_up(point.errand)
        if point.stage == CLOSING and not self._asked and self._nursery.is_serving():
            self._asked = True
            self._nursery.send(signal.SIGTERM)


def orders_of(stages, path, rounds):
    """A life for each point and moment: at first early on, in further rounds at any of its times."""
    chance = random.Random(5)
    for round_ in range(rounds):
        for point in (point for stage in stages for point in of_stage(stage)):
            last = point.upto if round_ else min(point.upto, 12)
            for moment in MOMENTS:
                nth = chance.randint(1, last)
                yield Order("serve", str(path), point=point.name, moment=moment, nth=nth)


@pytest.mark.parametrize("stages", [(COMMIT,), (QUEUE,), (TIMERS, PURGE), (CLOSING,)], ids="+".join)
def test_a_worker_killed_at_any_named_point_loses_and_doubles_nothing(stages, nurseries, clients, path, count):
    places = nurseries(2)
    orders = deque(orders_of(stages, path, count(1, 10)))
    lanes = [Lane(place, clients, orders) for place in places]
    while sum(lane.go_on() for lane in lanes):
        time.sleep(0.002)
    clients.calm_down()
    for place in places:
        place.begin(Order("serve", str(path)))

    end_well(places, clients)


# ------------------------------------------------------------------------------------- lives with one purpose


def passed(place, order):
    """What a life passes that is not killed, and how often."""
    assert place.run(order) == 0, place.log
    return place.passed()


def kills(place, order, most, but=""):
    """The same life, killed at every point that it passes, *but* those of one stage: up to *most* times at each."""
    for (name, moment), times in passed(place, order).items():
        if BY_NAME[name].stage != but:
            for nth in sorted({1 + at * (times - 1) // max(1, most - 1) for at in range(min(times, most))}):
                yield evolve(order, point=name, moment=moment, nth=nth)


def killed(place, order):
    pid = place.begin(order)
    assert (place.end(), place.reached(pid)) == (-signal.SIGKILL, f"{order.moment} {order.point}"), place.log


def schema_of(path):
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()
        return version, db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_a_file_is_made_wholly_or_not_at_all(nurseries, tmp_path, count):
    [place] = nurseries(1)
    whole = Order("open", str(tmp_path / "whole.db"))
    reached = set()
    for number, order in enumerate(kills(place, whole, count(10, 1000))):
        broken = evolve(order, path=str(tmp_path / f"{number}.db"))
        killed(place, broken)
        reached.add(order.point)
        assert place.run(evolve(whole, path=broken.path)) == 0, place.log
        assert schema_of(broken.path) == schema_of(whole.path)
        assert is_sound(broken.path)

    assert {point.name for point in of_stage(OPENING)} <= reached
    assert place.unknown() == []


def test_a_file_is_brought_up_to_a_new_version_wholly_or_not_at_all(nurseries, tmp_path, count):
    [place] = nurseries(1)
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    seed(old, ["kept"])
    shutil.copy(old, new)
    upgrade = Order("upgrade", str(new))
    for number, order in enumerate(kills(place, upgrade, count(6, 1000))):
        path = tmp_path / f"{number}.db"
        shutil.copy(old, path)
        killed(place, evolve(order, path=str(path)))
        assert schema_of(path) in (schema_of(old), schema_of(new))
        assert place.run(evolve(upgrade, path=str(path))) == 0, place.log
        assert schema_of(path) == schema_of(new)
        assert traces(path, "kept") == TRACES
        assert is_sound(path)

    assert schema_of(new) != schema_of(old)
    assert place.unknown() == []


def seed(path, kept=(), expired=()):
    with closing(SqliteStorage(SqliteFile(path))) as storage:
        appends = [bygone(id, expired=id in expired) for id in (*kept, *expired)]
        assert all(storage.append(appends))


def test_an_instance_is_purged_wholly_or_not_at_all(nurseries, tmp_path, count):
    [place] = nurseries(1)
    kept, expired = [f"kept-{number}" for number in range(3)], [f"expired-{number}" for number in range(9)]
    seed(tmp_path / "seed.db", kept, expired)
    purge = Order("purge", str(shutil.copy(tmp_path / "seed.db", tmp_path / "first.db")))
    reached = set()
    for number, order in enumerate(kills(place, purge, count(2, 1000), but=OPENING)):
        path = shutil.copy(tmp_path / "seed.db", tmp_path / f"{number}.db")
        killed(place, evolve(order, path=str(path)))
        reached.add(order.point)
        left = {id: traces(path, id) for id in (*kept, *expired)}
        assert {id: left[id] for id in kept} == dict.fromkeys(kept, TRACES)
        assert all(left[id] in (TRACES, dict.fromkeys(TRACES, 0)) for id in expired)
        assert place.run(evolve(purge, path=str(path))) == 0, place.log
        assert leftovers_of(path) == set(kept)
        assert is_sound(path)

    assert {point.name for point in of_stage(PURGE)} <= reached
    assert place.unknown() == []


def leftovers_of(path):
    """All ids of which there is anything."""
    with closing(sqlite3.connect(path)) as db:
        asked = " UNION ".join(f"SELECT workflow_id FROM {table}" for table in TRACES)
        return {id for (id,) in db.execute(asked)}


def test_a_client_killed_while_it_sends_has_sent_once_or_not_at_all(nurseries, clients, path, tmp_path, count):
    """Asked again with the same id, it is the same instance."""
    sender, server = nurseries(2)
    server.begin(Order("serve", str(path)))
    send = Order("send", str(path))
    handles = []
    for number, order in enumerate(kills(sender, send, count(2, 40), but=OPENING)):
        id = f"sent-{number}"
        killed(sender, evolve(order, name=id))
        handles.append(clients.client.start(journey(2), id=id))

    assert [handle.result(PATIENCE) for handle in handles] == [answer_of(2)] * len(handles)
    end_well([server], clients)
    assert sender.unknown() == []

"""What a dead worker had goes on elsewhere, whatever its tasks had forked; how soon is told at the end of the run."""

import os
import signal
import time
from contextlib import suppress
from itertools import pairwise

import pytest

from infinitic.client.handles import Handle
from infinitic.events import TaskCompleted
from tests.crash.given import PATIENCE, until
from tests.crash.nursery import Order, end_well
from tests.crash.town import WAYS, leaving_a_child, ticking


def test_what_a_killed_worker_held_goes_on_elsewhere(nurseries, clients, path, takeovers, count):
    places = nurseries(2)
    for place in places:
        place.begin(Order("serve", str(path)))
    handles: list[Handle[int]] = []
    deaths: dict[int, int] = {}
    for kill in range(count(6, 40)):
        victim = places[kill % 2]
        handles += given_work(victim, clients, f"t{kill}")
        deaths[victim.pid] = time.time_ns() // 1000
        victim.send(signal.SIGKILL)
        victim.end()
        victim.begin(Order("serve", str(path)))

    assert [handle.result(PATIENCE) for handle in handles] == [25] * len(handles)
    for handle in handles:
        takeovers += pauses(handle.history(), deaths)
    end_well(places, clients)


def given_work(victim, clients, name):
    """As many instances as it takes for the victim to be advancing some of them."""
    given: list[Handle[int]] = []

    def is_at_work():
        given.append(clients.client.start(ticking(25), id=f"{name}-{len(given)}"))
        return sum(victim.pid in map(pid_of, answers(one.history())[-1:]) for one in given) >= 3

    until(is_at_work, "the victim to have something to do")
    return given


def answers(turns):
    return [turn for turn in turns if isinstance(turn.event, TaskCompleted)]


def pid_of(turn):
    return int(turn.event.worker.rpartition(":")[2])


def pauses(turns, deaths):
    """Seconds from each death until somebody else went on."""
    done = answers(turns)
    return [
        (after.at - deaths[pid_of(before)]) / 1e6
        for before, after in pairwise(done)
        if pid_of(before) != pid_of(after) and pid_of(before) in deaths and after.at > deaths[pid_of(before)]
    ]


@pytest.mark.parametrize("way", WAYS)
def test_a_child_that_outlives_its_killed_worker_keeps_nothing_locked(way, nurseries, clients, path, tmp_path):
    place, other = nurseries(2)
    place.begin(Order("serve", str(path)))
    folder = tmp_path / "family"
    folder.mkdir()
    handle = clients.client.start(leaving_a_child(str(folder), way), id="parent")
    until((folder / "child").exists, "the child to be born")
    other.begin(Order("serve", str(path)))
    place.send(signal.SIGKILL)
    place.end()
    child = int((folder / "child").read_text())
    try:
        assert handle.result(PATIENCE) == 2
        os.kill(child, 0)  # it still lives
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    end_well([other], clients)

"""The network between any two is cut for a while: nobody is told, nothing is lost, and all goes on.

A worker that is cut off from the broker is replaced by others, and comes back as one that knows nothing of it; one
that is cut off from the storage does not know what became of its last write.
"""

import time
from contextlib import ExitStack

import pytest

from tests.distributed.ledger import CUT
from tests.distributed.points import FLOWS, TASKS
from tests.distributed.relay import Line
from tests.servers.found import private
from tests.servers.redis import Redis
from tests.transports import on_pulsar

pytestmark = pytest.mark.timeout(3600)  # with --proof they are long; each wait has a deadline of its own

LONG = 10.0
"""Seconds that a cut lasts."""
ENDS = {
    "a client and the broker": ("client", "transport"),
    "a workflow worker and the broker": (FLOWS, "transport"),
    "a workflow worker and the storage": (FLOWS, "storage"),
    "a service worker and the broker": (TASKS, "transport"),
}


class Network:
    """A broker and a storage, and the lines to them that can be cut: each is one process's own."""

    def __init__(self, broker, storage):
        self._broker, self._storage = broker, storage
        self._stack = ExitStack()
        url = on_pulsar.fresh(broker.url)
        self.place = {"transport": url, "storage": storage.url}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def by_line(self, which):
        """A place like that of all, but for a line of one's own to one of the two; and the line."""
        server = {"transport": self._broker, "storage": self._storage}[which]
        line = self._stack.enter_context(Line(server.port))
        return self.place | {which: self.place[which].replace(f":{server.port}/", f":{line.port}/", 1)}, line


@pytest.fixture
def network(broker):
    with private(Redis) as storage, Network(broker, storage) as made:
        yield made


def test_the_network_is_cut_between_any_two(network, town_at, crowd_at, tell_repeats, count):
    town, crowds, lines = town_at(network.place), [crowd_at(network.place, count(30, 250))], []
    town.serve(flows=1, tasks=1)
    for role, which in ENDS.values():
        place, line = network.by_line(which)
        lines.append(line)
        if role == "client":
            crowds.append(crowd_at(place, count(30, 250), "far"))
        else:
            town.await_serving(town.begin(role, place))
    for crowd in crowds:
        crowd.begin()
    both = [[(line, lost)] for line in lines for lost in (False, True)]
    every_other = [(line, bool(number % 2)) for number, line in enumerate(lines)]
    for cuts in count([every_other], [*both, every_other]):
        for crowd in crowds:
            crowd.await_progress()
        with town.trouble(CUT):
            cut(cuts)
    for crowd in crowds:
        crowd.await_progress()
    instances = sum(crowd.finish() for crowd in crowds)

    tell_repeats(instances, town.end_well())


def cut(cuts):
    """Cut these lines for a while. What was said meanwhile comes late; or it is lost, with its connection."""
    for line, _ in cuts:
        line.go_silent()
    time.sleep(LONG)  # not to wait for anything: that time passes is what is tested
    for line, lost in cuts:
        line.heal(lost=lost)

"""The Redis storage over a cluster of three nodes, alone and while a part of it is moved."""

import pytest
from redis import Redis

from infinitic.errors import StorageError
from infinitic.records import Filter, Mark
from tests.servers import soon
from tests.servers.found import private
from tests.servers.processes import free_port
from tests.servers.redis import Redis as RedisServer
from tests.storages.given import (
    AWKWARD_IDS,
    HOUR,
    NOON,
    after,
    item,
    kept,
    loaded,
    next_run,
    record,
    start,
    timer,
    turns,
    write,
)
from tests.storages.on_redis import opened


class ClusterServer(RedisServer):
    """A node of a cluster. The nodes speak to each other on ports of their own."""

    def __init__(self):
        super().__init__()
        self.bus = free_port()

    def command(self):
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(self.bus)]


@pytest.fixture(scope="module")
def cluster():
    with private(ClusterServer) as a, private(ClusterServer) as b, private(ClusterServer) as c:
        nodes = [Redis.from_url(node.url) for node in (a, b, c)]
        bounds = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)]
        for node, (first, last) in zip(nodes, bounds, strict=True):
            node.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER MEET", "127.0.0.1", a.port, a.bus)
        assert soon(lambda: all(map(is_whole, nodes)))
        yield f"redis://127.0.0.1:{a.port}?cluster=true", nodes
        for node in nodes:
            node.close()


def is_whole(node):
    info = node.cluster("INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"


def test_instances_of_a_cluster_are_on_all_its_nodes(cluster):
    url, nodes = cluster
    with opened(url) as storage:
        starts = [start(name, record=record(name, tags=("eu",)), expires=NOON) for name in AWKWARD_IDS]
        assert storage.append(starts) == [True] * len(starts)
        assert storage.append([*starts, start("new")]) == [False] * len(starts) + [True]

        assert [loaded(storage, one.workflow_id) for one in starts] == [kept(one) for one in starts]
        assert storage.records([*AWKWARD_IDS, "ghost"]) == [*(one.record for one in starts), None]
        found = storage.find(Filter(tag="eu"), 1_000).records
        assert [one.workflow_id for one in found] == sorted(AWKWARD_IDS, key=str.encode)
        assert all(node.dbsize() > 0 for node in nodes)
        assert storage.remove(storage.ended(Filter(), 1_000)) == [True] * len(starts)
        assert (storage.count(Filter()), storage.history("new", "r1")) == (1, turns(1))


def test_timers_of_a_cluster_are_claimed_in_order(cluster):
    url, _ = cluster
    with opened(url, namespace="timers") as storage:
        now = storage.now()
        names = [f"trip-{number}" for number in range(50)]
        rows = [timer("m0.1", now - number, name) for number, name in enumerate(names)]
        assert all(storage.append([start(row.workflow_id, timers_set=(row,)) for row in rows]))

        due = storage.claim_due_timers(["trips"], 0, 20, HOUR)
        assert [row.workflow_id for row in due.timers] == names[:29:-1]
        assert len(storage.claim_due_timers(["trips"], 0, 100, HOUR).timers) == 30


def test_runs_of_an_instance_in_a_cluster_are_loaded_together(cluster):
    url, _ = cluster
    with opened(url, namespace="runs") as storage:
        first = start("a", count=3, mark=Mark("r1", 1))
        write(storage, first, next_run(first, "r2", 2, mark=Mark("r1", 1)))

        stored = storage.load("a", 2, "r1")
        assert (stored.turns, stored.unsent) == (turns(2, "r2"), turns(2, "r1", 1))
        assert storage.history("a", "r1") == turns(3)


def test_a_bucket_that_moves_to_another_node_is_followed(cluster):
    url, nodes = cluster
    with opened(url, namespace="moved") as storage:
        first = start("a")
        write(storage, first)
        key = storage._key("h", "a")
        slot = nodes[0].execute_command("CLUSTER KEYSLOT", key)
        source = next(node for node in nodes if owns(node, slot))
        target = next(node for node in nodes if node is not source)
        move(slot, source, target, nodes)

        assert loaded(storage, "a") == kept(first)
        write(storage, after(first, 1))
        assert target.exists(key) == 1


def test_while_a_bucket_is_being_moved_nothing_of_it_is_written_in_half(cluster):
    url, nodes = cluster
    with opened(url, namespace="moving") as storage:
        first = start("a")
        write(storage, first)
        slot = nodes[0].execute_command("CLUSTER KEYSLOT", storage._key("h", "a"))
        source = next(node for node in nodes if owns(node, slot))
        target = next(node for node in nodes if node is not source)
        begin_to_move(slot, source, target)
        half = after(first, 1, inbox_added=(item("k"),), timers_set=(timer("m0.1", NOON, "a"),))

        with pytest.raises(StorageError, match="A part of the cluster is being moved"):
            storage.append([half])
        source.execute_command("CLUSTER SETSLOT", slot, "STABLE")
        target.execute_command("CLUSTER SETSLOT", slot, "STABLE")
        assert loaded(storage, "a") == kept(first)


def owns(node, slot):
    mine = node.execute_command("CLUSTER MYID")
    return any(
        first <= slot <= last and owner[2] == mine for first, last, owner, *_ in node.execute_command("CLUSTER SLOTS")
    )


def begin_to_move(slot, source, target):
    target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.execute_command("CLUSTER MYID"))
    source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.execute_command("CLUSTER MYID"))


def move(slot, source, target, nodes):
    begin_to_move(slot, source, target)
    port = target.connection_pool.connection_kwargs["port"]
    for key in source.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000):
        source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5_000)
    for node in nodes:
        node.execute_command("CLUSTER SETSLOT", slot, "NODE", target.execute_command("CLUSTER MYID"))

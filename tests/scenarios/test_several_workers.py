"""Several workers on one backend: they share the instances, hand over, and a small cache changes nothing."""

import threading

from dsl import Channel, Flow, Workflow, current_task, gather, method, query, sleep, task, workflow
from tests.scenarios.given import Gate, events, until

words = Channel(str, name="words")
gate = Gate()
seen: dict[str, set[str]] = {}
lock = threading.Lock()


@task
def step(number: int) -> int:
    return number + 1


@task
def held(name: str) -> str:
    gate.pass_through()
    return name


@workflow
def counting(upto: int) -> Flow[int]:
    total = 0
    for _ in range(upto):
        total = yield from step(total)
    return total


@workflow
def mixed(number: int) -> Flow[list[object]]:
    kid = yield from counting(3)
    yield from sleep(0.002)
    both = yield from gather(step(number), step(kid))
    word = yield from words.receive()
    return [kid, *both, word]


@workflow
def holding() -> Flow[str]:
    return (yield from held("done"))


class Tally(Workflow):
    stop = Channel(bool)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        yield from self.stop.receive()
        return self.total

    @method
    def add(self, number: int) -> Flow[int]:
        more = yield from step(number)
        self.total += more
        return self.total

    @query
    def so_far(self) -> int:
        return self.total


def test_two_hundred_instances_at_once(serve, client):
    serve(counting, step)
    handles = [client.start(counting(5), id=f"c{number}") for number in range(200)]

    assert [handle.result(60) for handle in handles] == [5] * 200


def test_a_cache_of_one_with_fifty_instances_changes_nothing(serve, client):
    serve(mixed, counting, step, cache_instances=1)
    handles = [client.start(mixed(number), id=f"m{number}") for number in range(50)]
    for number in range(50):
        client.start(words.by_id(f"m{number}").send(f"w{number}"))

    assert [handle.result(60) for handle in handles] == [[3, n + 1, 4, f"w{n}"] for n in range(50)]
    for handle in handles[:5]:
        assert sorted(events(handle.history())) == [
            "Answered",
            "SignalReceived",
            "Started",
            "TaskCompleted",
            "TaskCompleted",
            "TimerFired",
        ]


def test_workers_share_the_instances_of_one_backend(serve, client):
    for _ in range(3):
        serve(mixed, counting, step, cache_instances=5)
    handles = [client.start(mixed(number), id=f"m{number}") for number in range(60)]
    for number in range(60):
        client.start(words.by_id(f"m{number}").send(f"w{number}"))

    assert [handle.result(60) for handle in handles] == [[3, n + 1, 4, f"w{n}"] for n in range(60)]


def test_a_worker_that_closes_in_the_middle_hands_over(serve, client):
    first = serve(mixed, counting, step)
    handles = [client.start(mixed(number), id=f"m{number}") for number in range(40)]
    until(lambda: client.count(status="completed") >= 5)
    second = serve(mixed, counting, step)
    first.close()
    for number in range(40):
        client.start(words.by_id(f"m{number}").send(f"w{number}"))
    until(lambda: client.count(mixed, status="completed") >= 10)
    serve(mixed, counting, step)
    second.close()

    assert [handle.result(60) for handle in handles] == [[3, n + 1, 4, f"w{n}"] for n in range(40)]


def test_a_worker_that_closes_finishes_what_it_runs(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    first = serve(holding, held)
    handle = client.start(holding(), id="h")
    gate.wait_for()
    closing = threading.Thread(target=first.close)
    closing.start()
    gate.open()
    closing.join(20)
    serve(holding)  # the answer may have gone no further than the queue

    assert handle.result(20) == "done"
    assert gate.came == 1


def test_a_task_that_is_given_up_is_run_by_another_worker(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    first = serve(holding, held)
    handle = client.start(holding(), id="h")
    gate.wait_for()
    first.close(drain=0)
    serve(holding, held)
    gate.wait_for(2)
    gate.open()

    assert handle.result(20) == "done"
    assert events(handle.history()) == ["Started", "TaskCompleted"]


def test_calls_and_queries_find_the_instance_wherever_it_is(serve, client, stage):
    first = serve(Tally, step)
    handle = client.start(Tally.run(), id="t")
    assert client.run(Tally.by_id("t").add(1), timeout=20) == 2
    serve(Tally, step)
    first.close()
    assert client.run(Tally.by_id("t").so_far(), timeout=20) == 2
    clients = [stage.another_client() for _ in range(3)]
    calls = [one.start(Tally.by_id("t").add(0)) for one in clients for _ in range(10)]

    assert sorted(call.result(20) for call in calls) == list(range(3, 33))
    client.run(Tally.by_id("t").stop.send(True), timeout=20)
    assert handle.result(20) == 32


def test_a_worker_that_serves_nothing_of_it_leaves_an_instance_alone(serve, client):
    serve(counting)
    handle = client.start(counting(2), id="c")
    until(lambda: client.count(counting))
    serve(holding, held)
    assert handle.status() == "running"
    serve(step)

    assert handle.result(20) == 2


@task
def whoami() -> str:
    with lock:
        seen.setdefault(threading.current_thread().name, set()).add(current_task().id)
    return current_task().id


@workflow
def asking(count: int) -> Flow[int]:
    return len(set((yield from gather(*[whoami() for _ in range(count)]))))


def test_every_task_has_an_id_of_its_own(serve, client):
    serve(asking, whoami)
    serve(asking, whoami)

    assert client.run(asking(50), timeout=20) == 50


def test_a_worker_may_be_started_again_after_it_was_closed(serve, client):
    worker = serve(counting, step)
    assert client.run(counting(2), timeout=20) == 2
    worker.close()
    worker.close()
    with worker:
        assert client.run(counting(3), timeout=20) == 3

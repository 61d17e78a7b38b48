"""Starting instances: ids, repeats, what happens when an id is in use."""

import threading
from uuid import UUID

import pytest
from msgspec import Raw

from dsl import (
    Channel,
    Flow,
    Workflow,
    current_workflow,
    gather,
    inline,
    logger,
    method,
    now,
    random,
    sleep,
    task,
    uuid4,
    workflow,
    workflow_id,
)
from infinitic.client import Client
from infinitic.errors import UnknownWorkflow, WorkflowExists, WorkflowFailed
from infinitic.events import Started
from infinitic.ids import new_id, new_run
from infinitic.messages import Outgoing, event_message
from infinitic.topics import workflow_topic
from tests.scenarios.given import events, open_at, until

confirmed = Channel(str, name="confirmed")


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@workflow
def adding(a: int) -> Flow[int]:
    return (yield from add(a, b=10))


@workflow
def patient() -> Flow[str]:
    return (yield from confirmed.receive())


@workflow
def failing() -> Flow[None]:
    yield from sleep(0)
    raise LookupError("no such trip")


@workflow
async def asynchronous(a: int) -> int:
    first = await add(a)
    return first + sum(await gather(add(1), add(2)))


@workflow
def plain(a: int) -> int:
    return a * 2


@workflow
def ambient() -> Flow[dict[str, object]]:
    about = current_workflow()
    yield from sleep(0)
    return {
        "id": workflow_id(),
        "name": about.name,
        "tags": sorted(about.tags),
        "meta": about.meta,
        "parent": about.parent,
        "now": now().isoformat(),
        "uuid": str(uuid4()),
        "chance": [random.randint(1, 100) for _ in range(5)],
    }


class Counting(Workflow):
    @method
    def run(self, upto: int) -> Flow[int]:
        total = 0
        for number in range(upto):
            total = yield from add(total, number)
        return total

    @method
    def quick(self) -> str:
        return "at once"


def test_a_workflow_answers_what_its_code_returns(serve, client):
    serve(adding, add)

    assert client.start(adding(5), id="a").result(20) == 15


def test_run_starts_and_waits(serve, client):
    serve(adding, add)

    assert client.run(adding(7), timeout=20) == 17


def test_async_and_plain_workflows_run_on_the_same_driver(serve, client):
    serve(asynchronous, plain, add)

    assert client.run(asynchronous(5), timeout=20) == 6 + 2 + 3
    assert client.run(plain(4), timeout=20) == 8


def test_a_class_starts_through_any_of_its_methods(serve, client):
    serve(Counting, add)

    assert client.run(Counting.run(4), timeout=20) == 6
    assert client.run(Counting.quick(), timeout=20) == "at once"


def test_what_was_started_before_any_worker_came_waits(serve, client):
    handle = client.start(adding(1), id="early")
    assert handle.status() == "running"

    serve(adding, add)

    assert handle.result(20) == 11


def test_a_finished_instance_tells_its_result_to_all_who_ask(serve, client, stage):
    serve(adding, add)
    client.start(adding(5), id="a").result(20)

    other = stage.another_client()

    assert other.get("a", adding).result(20) == 15
    assert other.get("a").result(20) == 15
    assert other.get("a").status() == "completed"


def test_code_knows_its_id_name_tags_and_meta(serve, client):
    serve(ambient)
    told = client.start(ambient(), id="known", tags=["b", "a"], meta={"user": "ada"}).result(20)

    assert (told["id"], told["name"], told["tags"]) == ("known", "ambient", ["a", "b"])
    assert (told["meta"], told["parent"]) == ({"user": "ada"}, None)
    assert UUID(told["uuid"]).version == 4


def test_start_without_an_id_makes_one(serve, client):
    serve(adding, add)
    one, two = client.start(adding(1)), client.start(adding(2))

    assert one.id != two.id
    assert (one.result(20), two.result(20)) == (11, 12)


def test_a_second_start_attaches_to_the_instance_that_runs(serve, client, stage):
    serve(patient)
    first = client.start(patient(), id="p")
    second = stage.another_client().start(patient(), id="p")
    client.run(confirmed.by_id("p").send("yes"), timeout=20)

    assert (first.result(20), second.result(20)) == ("yes", "yes")
    assert events(first.history()) == ["Started", "SignalReceived"]


def test_a_second_start_attaches_to_the_instance_that_has_finished(serve, client, stage):
    serve(adding, add)
    client.start(adding(1), id="a").result(20)

    assert stage.another_client().start(adding(100), id="a").result(20) == 11


def test_start_with_fail_raises_when_the_instance_runs(serve, client):
    serve(patient)
    client.start(patient(), id="p", if_exists="fail")

    with pytest.raises(WorkflowExists) as raised:
        client.start(patient(), id="p", if_exists="fail")

    assert (raised.value.workflow_id, raised.value.status) == ("p", "running")


def test_start_with_fail_raises_when_the_instance_has_finished(serve, client):
    serve(adding, add)
    client.start(adding(1), id="a").result(20)

    with pytest.raises(WorkflowExists):
        client.start(adding(1), id="a", if_exists="fail")


def test_restart_begins_a_finished_instance_anew(serve, client):
    serve(adding, add)
    first = client.start(adding(1), id="a")
    assert first.result(20) == 11

    second = client.start(adding(2), id="a", if_exists="restart")

    assert second.result(20) == 12
    assert client.get("a", adding).result(20) == 12
    assert second.history()[0].event.run != ""


def test_restart_of_a_failed_instance_begins_it_anew(serve, client):
    serve(failing)
    with pytest.raises(WorkflowFailed):
        client.start(failing(), id="f").result(20)

    with pytest.raises(WorkflowFailed):
        client.start(failing(), id="f", if_exists="restart").result(20)

    assert client.get("f", failing).status() == "failed"


def test_restart_of_a_running_instance_raises(serve, client):
    serve(patient)
    client.start(patient(), id="p")

    with pytest.raises(WorkflowExists):
        client.start(patient(), id="p", if_exists="restart")


@pytest.mark.parametrize("if_exists", ["attach", "fail", "restart"])
def test_an_id_that_belongs_to_another_workflow_is_refused(serve, client, if_exists):
    serve(adding, patient, add)
    client.start(adding(1), id="taken").result(20)

    with pytest.raises(WorkflowExists) as raised:
        client.start(patient(), id="taken", if_exists=if_exists).result(20)

    assert raised.value.workflow == "adding"


def test_a_repeated_start_message_changes_nothing(serve, client, place):
    serve(adding, add)
    event = Started(new_id(), "adding", new_run(), arguments=Raw(b'{"a":1}'))
    message = event_message(event, workflow="adding", workflow_id="again")
    backend = open_at(place)
    backend.transport.publish([Outgoing(workflow_topic("adding"), "again", message)] * 3)
    handle = client.get("again", adding)
    until(lambda: client.count(adding))

    assert handle.result(20) == 11
    backend.transport.publish([Outgoing(workflow_topic("adding"), "again", message)])
    assert client.start(adding(9), id="again").result(20) == 11
    assert events(handle.history()) == ["Started", "TaskCompleted"]
    backend.close()


def test_a_repeated_restart_message_restarts_once(serve, client, place):
    serve(adding, add)
    client.start(adding(1), id="a").result(20)
    event = Started(new_id(), "adding", new_run(), arguments=Raw(b'{"a":2}'), if_exists="restart")
    message = event_message(event, workflow="adding", workflow_id="a")
    backend = open_at(place)
    for _ in range(3):
        backend.transport.publish([Outgoing(workflow_topic("adding"), "a", message)])
    until(lambda: client.get("a", adding).status() == "completed" and client.get("a", adding).result(20) == 12)

    assert client.get("a", adding).history()[0].event.run == event.run
    backend.close()


def test_an_instance_that_never_was_is_unknown(serve, client):
    serve(adding, add)

    with pytest.raises(UnknownWorkflow):
        client.get("nobody", adding).result(20)
    with pytest.raises(UnknownWorkflow):
        client.get("nobody", adding).status()
    with pytest.raises(UnknownWorkflow):
        client.get("nobody", adding).cancel(timeout=20)


def test_find_and_count_tell_instances_by_workflow_status_and_tag(serve, client):
    serve(adding, failing, add)
    for number in range(3):
        client.start(adding(number), id=f"a{number}", tags=["even"] if number % 2 == 0 else []).result(20)
    with pytest.raises(WorkflowFailed):
        client.start(failing(), id="f").result(20)

    assert client.count() == 4
    assert {record.workflow_id for record in client.find(adding)} == {"a0", "a1", "a2"}
    assert {record.workflow_id for record in client.find(tag="even")} == {"a0", "a2"}
    assert [record.workflow_id for record in client.find(status="failed")] == ["f"]


@workflow
def logging_once(times: int) -> Flow[int]:
    for number in range(times):
        logger.info("step %d", number, step=number)
        yield from sleep(0.001)
    return times


def test_lines_are_logged_once_although_code_is_replayed(serve, client, caplog):
    caplog.set_level("INFO", "infinitic.workflow")
    serve(logging_once, cache_instances=1)
    handles = [client.start(logging_once(3), id=f"l{number}") for number in range(4)]

    assert [handle.result(20) for handle in handles] == [3] * 4
    lines = [record for record in caplog.records if record.name == "infinitic.workflow"]
    assert sorted(record.workflow_id for record in lines) == sorted(f"l{n}" for n in range(4) for _ in range(3))


ran: list[int] = []


def note(value: int) -> int:
    ran.append(value)
    return value + 1


@workflow
def noting(value: int) -> Flow[int]:
    noted = yield from inline(note, value)
    yield from sleep(0.001)
    return noted + (yield from add(1))


def test_inline_runs_once_and_its_result_is_recorded(serve, client):
    serve(noting, add, cache_instances=1)
    ran.clear()
    handles = [client.start(noting(number), id=f"n{number}") for number in range(5)]

    assert [handle.result(20) for handle in handles] == [number + 3 for number in range(5)]
    assert sorted(ran) == [0, 1, 2, 3, 4]


def test_a_client_that_comes_later_is_told_at_once_too(serve, client, place):
    serve(patient)
    client.start(patient(), id="p")
    until(lambda: client.count(patient))
    answers: list[str] = []
    with Client.over(open_at(place), look_again=3600) as other:  # it never looks: it must be told
        waiting = threading.Thread(target=lambda: answers.append(other.get("p", patient).result(20)))
        waiting.start()
        client.run(confirmed.by_id("p").send("yes"), timeout=20)
        waiting.join(20)

    assert answers == ["yes"]

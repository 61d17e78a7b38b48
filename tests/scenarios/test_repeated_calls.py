"""A call that is made again with its id runs once, and whoever makes it is answered at once."""

import pytest

from dsl import Channel, Flow, Workflow, method, query, task, workflow
from infinitic.client import Client
from infinitic.errors import InfiniticError, WorkflowFailed, WorkflowFinished
from infinitic.story import tell
from tests.scenarios.given import Gate, events, open_at, until

gate = Gate()


@task
def held(number: int) -> int:
    gate.pass_through()
    return number


class Loyalty(Workflow):
    over = Channel(bool)

    def __init__(self) -> None:
        self.calls = 0

    @method
    def run(self) -> Flow[int]:
        yield from self.over.receive()
        return self.calls

    @method
    def redeem(self, points: int) -> Flow[int]:
        self.calls += 1
        return (yield from held(points))

    @method
    def fail(self) -> None:
        raise LookupError("nothing there")

    @method
    def count(self) -> int:
        return self.calls

    @query
    def made(self) -> int:
        return self.calls


@workflow
def caller() -> Flow[int]:
    return (yield from ada.redeem(3).options(id="c"))


@workflow
def failing() -> Flow[None]:
    yield from ada.fail().options(id="f")


ada = Loyalty.by_id("ada")


@pytest.fixture
def patient(place):
    """A client that never looks again: what it gets was sent to it."""
    with Client.over(open_at(place), look_again=1_000) as made:
        yield made


@pytest.fixture
def handle(serve, client):
    serve(Loyalty, held, caller, failing)
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    return client.start(Loyalty.run(), id="ada")


def test_both_callers_of_one_call_get_its_answer_as_soon_as_there_is_one(handle, client, patient):
    call = ada.redeem(3).options(id="c")
    first, second = patient.start(call), client.start(call)
    gate.wait_for()
    third = patient.start(call)
    client.run(ada.made(), timeout=20)  # which comes after all of them
    gate.open()

    assert [one.result(20) for one in (first, second, third)] == [3, 3, 3]
    assert client.run(ada.made(), timeout=20) == 1
    assert gate.came == 1


def test_a_call_that_has_ended_is_answered_at_once_when_it_is_made_again(handle, client, patient):
    gate.open()
    client.run(ada.redeem(3).options(id="c"), timeout=20)
    with pytest.raises(WorkflowFailed, match="nothing there"):
        client.run(ada.fail().options(id="f"), timeout=20)

    assert patient.run(ada.redeem(3).options(id="c"), timeout=20) == 3
    with pytest.raises(WorkflowFailed, match="nothing there"):
        patient.run(ada.fail().options(id="f"), timeout=20)
    assert client.run(ada.made(), timeout=20) == 1


def test_a_workflow_and_a_client_that_make_one_call_both_get_its_answer(handle, client, patient):
    first = patient.start(ada.redeem(3).options(id="c"))
    gate.wait_for()
    others = [client.start(caller(), id=f"w{number}") for number in range(2)]
    until(lambda: events(handle.history()).count("MethodCalled") == 3)
    [record] = client.find(Loyalty)
    assert [one.call_id for one in tell(record, handle.history()).methods] == ["", "c"]
    gate.open()

    assert first.result(20) == 3
    assert [one.result(20) for one in others] == [3, 3]
    assert client.run(ada.made(), timeout=20) == 1


def test_workflows_that_make_one_call_of_a_suspended_instance_all_get_its_answer(handle, client, storage):
    gate.open()
    client.run(ada.made(), timeout=20)
    handle.suspend(timeout=20)
    callers = [client.start(caller(), id=f"w{number}") for number in range(2)]
    until(lambda: len(storage.load("ada").inbox) == 2)
    handle.resume(timeout=20)

    assert [one.result(20) for one in callers] == [3, 3]
    assert client.run(ada.made(), timeout=20) == 1


def test_a_workflow_that_makes_a_call_that_has_ended_gets_its_answer(handle, client):
    gate.open()
    client.run(ada.redeem(3).options(id="c"), timeout=20)
    with pytest.raises(WorkflowFailed):
        client.run(ada.fail().options(id="f"), timeout=20)

    assert client.run(caller(), timeout=20) == 3
    with pytest.raises(WorkflowFailed, match="nothing there"):
        client.run(failing(), timeout=20)
    assert events(handle.history()).count("MethodCalled") == 2


def test_a_call_is_answered_after_the_instance_has_ended_and_by_another_worker(serve, client, place, patient):
    gate.__init__()  # type: ignore[misc]  # as above
    gate.open()
    worker = serve(Loyalty, held)
    handle = client.start(Loyalty.run(), id="ada")
    client.run(ada.redeem(3).options(id="c"), timeout=20)
    client.run(ada.over.send(True), timeout=20)
    handle.result(20)
    worker.close()
    serve(Loyalty, held, caller)

    assert patient.run(ada.redeem(3).options(id="c"), timeout=20) == 3
    assert client.run(caller(), timeout=20) == 3
    with pytest.raises(WorkflowFinished):
        patient.run(ada.redeem(3).options(id="another"), timeout=20)


def test_an_instance_says_so_when_it_has_forgotten_the_answer_of_a_call(handle, client, patient):
    for number in range(102):
        client.start(ada.count().options(id=f"n{number}"))
    client.run(ada.count(), timeout=20)

    assert patient.run(ada.count().options(id="n101"), timeout=20) == 0
    with pytest.raises(InfiniticError, match="has forgotten its answer"):
        patient.run(ada.count().options(id="n0"), timeout=20)


ENDING = """
from dsl import Channel, Flow, sleep, workflow

words = Channel(str, name="words")

@workflow
def ending() -> Flow[str]:
    yield from sleep(0.01)
    return (yield from words.receive())
"""


def test_a_signal_that_comes_again_to_an_ended_instance_whose_code_is_gone_was_received(serve, client, deploy):
    release = deploy(ENDING)
    worker = serve(release.ending)
    handle = client.start(release.ending(), id="e")
    word = release.words.by_id("e").send("word").options(id="once")
    client.run(word, timeout=20)
    assert handle.result(20) == "word"
    worker.close()
    serve(deploy(ENDING.replace("0.01", "0.02")).ending)

    client.run(word, timeout=20)
    with pytest.raises(WorkflowFinished):
        client.run(word.options(id="twice"), timeout=20)

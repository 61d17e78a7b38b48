"""Workflow classes: methods on a running instance, queries, channels of their own, who is told what."""

import threading

import pytest

from dsl import Channel, Flow, Workflow, dispatch, method, query, sleep, task
from infinitic.errors import (
    DecodeError,
    ReadOnly,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowFinished,
)
from infinitic.ids import new_id
from tests.scenarios.given import Gate, events, until


@task
def double(number: int) -> int:
    return number * 2


gate = Gate()


@task
def held() -> str:
    gate.pass_through()
    return "released"


class Loyalty(Workflow):
    bonus = Channel(int)
    over = Channel(bool)

    def __init__(self) -> None:
        self.points = 0
        self.lock = threading.Lock()

    @method
    def run(self, points: int) -> Flow[int]:
        self.points = points
        while (yield from self.bonus.receive() | self.over.receive()) is not True:
            self.points += 1
        return self.points

    @method
    def redeem(self, points: int) -> bool:
        if points > self.points:
            raise ValueError(f"only {self.points}")
        self.points -= points
        return True

    @method
    def grow(self, number: int) -> Flow[int]:
        grown = yield from double(number)
        self.points += grown
        return self.points

    @method
    def slowly(self) -> Flow[str]:
        return (yield from held())

    @query
    def balance(self) -> int:
        return self.points

    @query
    def above(self, limit: int, strictly: bool = True) -> bool:
        return self.points > limit if strictly else self.points >= limit

    @query
    def cheating(self) -> int:
        self.points += 1
        return self.points

    @query
    def asking(self) -> int:
        dispatch(double(1))
        return 0

    @query
    def failing(self) -> int:
        raise LookupError("no such thing")


ada = Loyalty.by_id("ada")


@pytest.fixture
def handle(serve, client):
    serve(Loyalty, double, held)
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    return client.start(Loyalty.run(10), id="ada")


def test_methods_and_queries_share_the_instances_state(handle, client):
    assert client.run(ada.redeem(3), timeout=20) is True
    assert client.run(ada.balance(), timeout=20) == 7
    assert client.run(ada.grow(4), timeout=20) == 15
    assert client.run(ada.above(15), timeout=20) is False
    assert client.run(ada.above(15, strictly=False), timeout=20) is True
    client.run(ada.over.send(True), timeout=20)

    assert handle.result(20) == 15


def test_a_query_leaves_no_trace_in_history(handle, client):
    for _ in range(5):
        client.run(ada.balance(), timeout=20)

    assert events(handle.history()) == ["Started"]


def test_a_query_of_a_finished_instance_is_answered(handle, client):
    client.run(ada.over.send(True), timeout=20)
    handle.result(20)

    assert client.run(ada.balance(), timeout=20) == 10


def test_a_query_that_writes_is_refused_and_changes_nothing(handle, client):
    with pytest.raises(ReadOnly):
        client.run(ada.cheating(), timeout=20)
    with pytest.raises(ReadOnly):
        client.run(ada.asking(), timeout=20)

    assert client.run(ada.balance(), timeout=20) == 10
    assert client.run(ada.redeem(10), timeout=20) is True


def test_what_a_query_raises_is_raised_to_who_asked(handle, client):
    with pytest.raises(LookupError, match="no such thing"):
        client.run(ada.failing(), timeout=20)
    assert client.run(ada.balance(), timeout=20) == 10


def test_a_query_of_nobody_raises(handle, client):
    with pytest.raises(UnknownWorkflow):
        client.run(Loyalty.by_id("bob").balance(), timeout=20)


def test_a_method_that_raises_fails_its_call_and_not_the_run(handle, client):
    with pytest.raises(WorkflowFailed) as raised:
        client.run(ada.redeem(1000), timeout=20)

    assert str(raised.value.error) == "only 10"
    assert handle.status() == "running"
    assert client.run(ada.redeem(1), timeout=20) is True


def test_a_call_of_nobody_raises(handle, client):
    with pytest.raises(UnknownWorkflow):
        client.run(Loyalty.by_id("bob").redeem(1), timeout=20)
    with pytest.raises(UnknownWorkflow):
        client.run(Loyalty.by_id("bob").bonus.send(1), timeout=20)


def test_a_call_of_a_finished_instance_raises(handle, client):
    client.run(ada.over.send(True), timeout=20)
    handle.result(20)

    with pytest.raises(WorkflowFinished):
        client.run(ada.redeem(1), timeout=20)
    with pytest.raises(WorkflowFinished):
        client.run(ada.bonus.send(1), timeout=20)
    with pytest.raises(WorkflowFinished):
        handle.cancel(timeout=20)


def test_a_call_that_came_twice_runs_once(handle, client):
    call_id = new_id()
    first = client.start(ada.grow(1).options(id=call_id))
    second = client.start(ada.grow(1).options(id=call_id))

    assert (first.result(20), second.result(20)) == (12, 12)
    assert client.start(ada.grow(1).options(id=call_id)).result(20) == 12
    assert client.run(ada.balance(), timeout=20) == 12


def test_a_call_started_without_waiting_gives_a_handle_of_its_own(handle, client):
    calls = [client.start(ada.grow(number)) for number in range(5)]

    assert {call.id for call in calls} == {"ada"}
    assert len({call.call_id for call in calls}) == 5
    assert sorted(call.result(20) for call in calls)[-1] == 10 + 2 * sum(range(5))


def test_a_call_may_be_cancelled_alone(handle, client):
    call = client.start(ada.slowly())
    gate.wait_for()
    call.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        call.result(20)
    assert handle.status() == "running"
    gate.open()
    assert client.run(ada.balance(), timeout=20) == 10


def test_the_run_ends_with_its_last_method(handle, client):
    call = client.start(ada.slowly())
    gate.wait_for()
    client.run(ada.over.send(True), timeout=20)
    assert handle.status() == "running"
    gate.open()

    assert call.result(20) == "released"
    assert handle.result(20) == 10


class Ledger(Workflow):
    """Each entry reads, waits, reads and writes; what one turn does is never seen half done."""

    over = Channel(bool)

    def __init__(self) -> None:
        self.total = self.entries = 0
        self.whole = True

    @method
    def run(self) -> Flow[str]:
        yield from self.over.receive()
        return f"closed at {self.entries}"

    @method
    def enter(self, number: int) -> Flow[int]:
        for _ in range(3):
            doubled = yield from double(number)
            self.whole = self.whole and self.total == 2 * self.entries
            self.total += doubled
            self.entries += number
        return self.entries

    @query
    def books(self) -> tuple[int, int, bool]:
        return self.total, self.entries, self.whole


def test_methods_that_run_side_by_side_share_attributes_one_turn_at_a_time(serve, client):
    serve(Ledger, double)
    ledger = Ledger.by_id("l")
    handle = client.start(Ledger.run(), id="l")
    calls = [client.start(ledger.enter(number)) for number in range(1, 11)]

    assert max(call.result(20) for call in calls) == 3 * 55
    assert client.run(ledger.books(), timeout=20) == (6 * 55, 3 * 55, True)
    client.run(ledger.over.send(True), timeout=20)
    assert handle.result(20) == "closed at 165"


def test_the_run_waits_for_every_method_and_answers_what_its_first_one_returned(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(Loyalty, double, held)
    handle = client.start(Loyalty.run(10), id="ada")
    slow = [client.start(ada.slowly()) for _ in range(3)]
    gate.wait_for(3)
    client.run(ada.over.send(True), timeout=20)
    assert client.run(ada.redeem(4), timeout=20) is True  # it takes calls for as long as one runs
    assert client.run(ada.balance(), timeout=20) == 6
    gate.open()

    assert [call.result(20) for call in slow] == ["released"] * 3
    assert handle.result(20) == 10
    until(lambda: handle.status() == "completed")


def test_arguments_that_do_not_fit_are_refused_before_they_are_sent(handle, client):
    with pytest.raises(DecodeError):
        client.run(ada.redeem("many"), timeout=20)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(DecodeError):
        client.run(ada.bonus.send("many"), timeout=20)  # type: ignore[arg-type]  # that is the point


def test_an_instance_that_was_evicted_answers_as_before(serve, client):
    serve(Loyalty, double, held, cache_instances=1)
    for number in range(10):
        client.start(Loyalty.run(number), id=f"m{number}")
    for number in range(10):
        client.run(Loyalty.by_id(f"m{number}").grow(1), timeout=20)

    balances = [client.run(Loyalty.by_id(f"m{number}").balance(), timeout=20) for number in range(10)]
    assert balances == [number + 2 for number in range(10)]


class Steps(Workflow):
    def __init__(self) -> None:
        self.steps: list[int] = []

    @method
    def run(self, count: int) -> Flow[list[int]]:
        for number in range(count):
            yield from sleep(0.001)
            yield from self.note(number)
        return self.steps

    @method
    def note(self, number: int) -> Flow[None]:
        self.steps.append((yield from double(number)))


def test_a_method_called_through_self_runs_in_line(serve, client):
    serve(Steps, double)
    handle = client.start(Steps.run(3), id="s")

    assert handle.result(20) == [0, 2, 4]
    assert "MethodCalled" not in events(handle.history())


def test_a_handle_of_a_call_tells_its_status(handle, client):
    call = client.start(ada.slowly())
    gate.wait_for()
    assert call.status() == "running"
    gate.open()
    call.result(20)

    until(lambda: call.status() == "completed")

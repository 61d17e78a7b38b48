"""Continue-as-new: a fresh history under the same id; what moves over, and what does not."""

import pytest

from dsl import (
    Channel,
    Flow,
    ProtocolError,
    Retry,
    Workflow,
    continue_as_new,
    current_workflow,
    dispatch,
    method,
    sleep,
    task,
    workflow,
)
from infinitic.errors import TaskFailed, WorkflowCancelled, WorkflowFailed
from tests.scenarios.given import Gate, events, until

numbers = Channel(int, name="numbers")
gate = Gate()


@task
def held() -> str:
    gate.pass_through()
    return "late"


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow
def counting(left: int, total: int = 0) -> Flow[int]:
    total = yield from add(total, left)
    if left:
        yield from continue_as_new(counting(left - 1, total))
    return total


@workflow
def parent(left: int) -> Flow[int]:
    return 1000 + (yield from counting(left))


@workflow
def collecting(seen: int, upto: int) -> Flow[int]:
    yield from numbers.receive()
    if seen + 1 < upto:
        yield from continue_as_new(collecting(seen + 1, upto))
    return seen + 1


@workflow
def telling(round: int = 0) -> Flow[list[object]]:
    yield from sleep(0)
    if round < 2:
        yield from continue_as_new(telling(round + 1))
    about = current_workflow()
    return [about.id, sorted(about.tags), about.meta, round]


@workflow
def leaving(again: bool = True) -> Flow[str]:
    if again:
        dispatch(held())
        yield from sleep(0.001)
        yield from continue_as_new(leaving(False))
    yield from numbers.receive()
    return "clean"


@workflow
def from_a_branch() -> Flow[str]:
    def leg() -> Flow[str]:
        yield from sleep(0)
        return (yield from continue_as_new(telling()))

    from dsl import spawn

    return (yield from spawn(leg()))


def test_the_result_follows_the_chain(serve, client):
    serve(counting, add, cache_instances=1)
    handle = client.start(counting(5), id="c")

    assert handle.result(20) == 15
    assert events(handle.history()) == ["Started", "TaskCompleted"]
    assert handle.history()[0].event.previous != ""


@workflow
def counting_at_once(left: int) -> Flow[int]:
    if left:
        yield from continue_as_new(counting_at_once(left - 1))
    return left


def test_a_chain_that_never_waits_is_no_recursion(serve, client):
    serve(counting_at_once)

    assert client.run(counting_at_once(2_000), timeout=20) == 0


def test_a_parent_gets_the_answer_of_the_last_run(serve, client):
    serve(parent, counting, add)

    assert client.run(parent(4), timeout=20) == 1010


def test_no_signal_is_lost_on_the_way(serve, client):
    serve(collecting)
    handle = client.start(collecting(0, 100), id="c")
    for number in range(100):
        client.start(numbers.by_id("c").send(number))

    assert handle.result(20) == 100


def test_id_tags_and_meta_move_over(serve, client):
    serve(telling)
    handle = client.start(telling(), id="t", tags=["x"], meta={"a": 1})

    assert handle.result(20) == ["t", ["x"], {"a": 1}, 2]
    assert [record.workflow_id for record in client.find(tag="x")] == ["t"]


def test_the_answers_of_a_former_run_are_dropped(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(leaving, held)
    handle = client.start(leaving(), id="l")
    until(lambda: (history := handle.history()) and history[0].event.previous)
    gate.open()
    client.run(numbers.by_id("l").send(1), timeout=20)

    assert handle.result(20) == "clean"
    assert events(handle.history()) == ["Started", "SignalReceived"]


def test_continuing_from_a_branch_is_an_error(serve, client):
    serve(from_a_branch, telling)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(from_a_branch(), timeout=20)
    assert isinstance(raised.value.error, ProtocolError)
    assert not isinstance(raised.value.error, TaskFailed)


def test_a_long_chain_keeps_one_history_only(serve, client, storage):
    serve(counting, add)
    handle = client.start(counting(60), id="c")

    assert handle.result(30) == 1830
    stored = storage.load("c")
    assert len(stored.turns) == stored.version.turns == 2


@workflow
def lasting(left: int) -> Flow[str]:
    if left:
        yield from continue_as_new(lasting(left - 1))
    yield from numbers.receive()
    return "over"


@workflow
def lasting_after_a_task(left: int) -> Flow[str]:
    if left:
        yield from add(1, 1)
        yield from continue_as_new(lasting_after_a_task(left - 1))
    yield from numbers.receive()
    return "over"


@workflow
def waiting_for(left: int, at_once: bool) -> Flow[str]:
    child = lasting if at_once else lasting_after_a_task
    return (yield from child(left).options(id="kid"))


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "after a task"])
@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_cancelled_parent_cancels_its_child_however_often_that_has_continued(serve, client, storage, left, at_once):
    serve(waiting_for, lasting, lasting_after_a_task, add)
    handle = client.start(waiting_for(left, at_once), id="p")
    until(lambda: (stored := storage.load("kid")) and any(one.kind == "receive" for one in stored.record.waits))
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    until(lambda: storage.load("kid").record.status == "cancelled")


@workflow
def dropping(left: int) -> Flow[str]:
    child = dispatch(lasting_after_a_task(left).options(id="kid"))
    yield from numbers.receive()
    child.cancel()
    try:
        yield from child
    except WorkflowCancelled:
        return "cancelled"
    return "over"


@pytest.mark.parametrize("left", [0, 2])
def test_a_parent_may_cancel_a_child_that_has_continued(serve, client, storage, left):
    serve(dropping, lasting_after_a_task, add)
    handle = client.start(dropping(left), id="d")
    until(lambda: (stored := storage.load("kid")) and any(one.kind == "receive" for one in stored.record.waits))
    client.run(numbers.by_id("d").send(1), timeout=20)

    assert handle.result(20) == "cancelled"


healthy: list[bool] = []


@task(retry=Retry(max_attempts=1))
def fragile(number: int) -> int:
    if not healthy:
        raise LookupError("not yet")
    return number


@workflow
def failing_in_the_end(left: int) -> Flow[int]:
    if left:
        yield from continue_as_new(failing_in_the_end(left - 1))
    return (yield from fragile(5))


@workflow
def hoping(left: int) -> Flow[int]:
    return (yield from failing_in_the_end(left).options(id="kid"))


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_retry_of_the_parent_retries_its_failed_child_however_often_that_has_continued(serve, client, left):
    healthy.clear()
    serve(hoping, failing_in_the_end, fragile)
    handle = client.start(hoping(left), id="h")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    healthy.append(True)
    handle.retry(timeout=20)

    assert handle.result(20) == 5
    assert client.get("kid", failing_in_the_end).result(20) == 5


@workflow
def forgiving_and_waiting() -> Flow[None]:
    try:
        yield from failing_in_the_end(0).options(id="kid")
    except WorkflowFailed:
        yield from numbers.receive()


def test_a_cancelled_parent_leaves_a_later_run_under_its_childs_id_alone(serve, client, storage):
    """The child has ended, and somebody began another run under its id: that is nobody's child."""
    healthy.clear()
    serve(forgiving_and_waiting, failing_in_the_end, fragile, lasting)
    handle = client.start(forgiving_and_waiting(), id="p")
    until(lambda: (stored := storage.load("p")) and any(one.kind == "receive" for one in stored.record.waits))
    healthy.append(True)
    again = client.start(failing_in_the_end(0), id="kid", if_exists="restart")
    handle.cancel(timeout=20)
    with pytest.raises(WorkflowCancelled):
        handle.result(20)

    assert again.result(20) == 5


@workflow
def summing_up(seen: str = "") -> Flow[str]:
    number = yield from numbers.receive()
    if not healthy:
        raise LookupError("not yet")
    if number:
        yield from continue_as_new(summing_up(f"{seen} {number}"))
    return seen


def test_a_retried_run_may_go_on_as_new_and_signals_that_came_since_move_over_in_order(serve, client):
    healthy.clear()
    serve(summing_up)
    handle = client.start(summing_up(), id="s")
    client.run(numbers.by_id("s").send(1), timeout=20)
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    for number in (2, 3):
        client.run(numbers.by_id("s").send(number).options(id=f"{number}"), timeout=20)
    healthy.append(True)
    handle.retry(timeout=20)
    client.run(numbers.by_id("s").send(3).options(id="3"), timeout=20)  # which it has
    client.run(numbers.by_id("s").send(0), timeout=20)

    assert handle.result(20) == " 1 2 3"


class Round(Workflow):
    """Goes on as new at once, or when it is told to."""

    go = Channel(int)

    @method
    def run(self, at_once: bool, round: int = 1) -> Flow[int]:
        if round == 1 and not at_once:
            yield from self.go.receive()
        if round == 1:
            yield from continue_as_new(Round.run(at_once, 2))
        return (yield from self.go.receive())

    @method
    def double(self, number: int) -> int:
        return number * 2

    @double.validator
    def only_small(self, number: int) -> None:
        if number > 100:
            raise ValueError("too many")


round_ = Round.by_id("r")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_call_that_came_with_the_start_runs_once_though_the_run_goes_on_as_new(serve, client, at_once):
    serve(Round)

    assert client.run(round_.double(5), start=Round.run(at_once), timeout=20) == 10
    for number in [6] if at_once else [5, 6]:
        client.run(round_.go.send(number), timeout=20)
    assert client.get("r", Round.run).result(20) == 6


@pytest.mark.parametrize("at_once", [True, False])
def test_a_signal_that_came_with_the_start_comes_once_though_the_run_goes_on_as_new(serve, client, at_once):
    serve(Round)
    client.run(round_.go.send(5), start=Round.run(at_once), timeout=20)
    if not at_once:
        client.run(round_.go.send(6), timeout=20)

    assert client.get("r", Round.run).result(20) == (5 if at_once else 6)


def test_a_call_with_the_start_that_is_refused_by_the_run_that_follows_at_once_is_refused_alone(serve, client):
    serve(Round)
    with pytest.raises(ValueError, match="too many"):
        client.run(round_.double(500), start=Round.run(True), timeout=20)
    client.run(round_.go.send(6), timeout=20)

    assert client.get("r", Round.run).result(20) == 6


class Rolling(Workflow):
    go = Channel(str)

    @method
    def run(self, rounds: int) -> Flow[str]:
        said = yield from self.go.receive()
        if rounds:
            yield from continue_as_new(Rolling.run(rounds - 1))
        return said

    @method
    def note(self, text: str) -> str:
        return text


def test_what_came_along_with_the_first_start_does_not_come_along_with_the_next(serve, client):
    serve(Rolling)
    ada = Rolling.by_id("ada")
    assert client.run(ada.note("hi"), start=Rolling.run(1), timeout=20) == "hi"
    for word in ("one", "two"):
        client.run(ada.go.send(word), timeout=20)

    handle = client.get("ada", Rolling.run)
    assert handle.result(20) == "two"
    assert events(handle.history()) == ["Started", "SignalReceived"]
    assert handle.history()[0].event.also is None


def test_only_the_first_run_of_a_chain_is_delayed_by_its_start(serve, client):
    serve(Rolling)
    handle = client.start(Rolling.run(1), id="r", delay=0.05)
    for word in ("one", "two"):
        client.run(Rolling.by_id("r").go.send(word), timeout=20)

    assert handle.result(20) == "two"
    first = handle.history()[0].event
    assert (first.delay, "TimerFired" in events(handle.history())) == (0, False)


@workflow
def putting_off(rounds: int) -> Flow[int]:
    if rounds:
        yield from continue_as_new(putting_off(rounds - 1).options(delay=0.05))
    return rounds


def test_a_run_may_put_off_the_next_one(serve, client):
    serve(putting_off)
    handle = client.start(putting_off(1), id="p")

    assert handle.result(20) == 0
    assert events(handle.history()) == ["Started", "TimerFired"]

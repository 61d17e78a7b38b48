"""Combinators, deferreds and branches: what is waited for together, and what becomes of the losers."""

import pytest

from dsl import (
    BranchCancelled,
    Cancelled,
    Channel,
    Deferred,
    Flow,
    Retry,
    dispatch,
    first,
    gather,
    race,
    settle,
    sleep,
    spawn,
    task,
    timeout,
    workflow,
)
from infinitic.errors import TaskCancelled, WorkflowFailed
from infinitic.events import TaskCompleted
from tests.scenarios.given import Gate, cause_chain, events, until

word = Channel(str, name="word")


@task
def echo(value: int) -> int:
    return value


@task(retry=Retry(max_attempts=1))
def broken(value: int) -> int:
    raise LookupError(value)


gates: dict[str, Gate] = {}


@task
def held(name: str) -> str:
    gates[name].pass_through()
    return name


def gate(name: str) -> Gate:
    gates[name] = Gate()
    return gates[name]


@workflow
def together() -> Flow[list[object]]:
    three = yield from gather(echo(1), echo(2), echo(3))
    flat = yield from echo(4) & echo(5) & echo(6)
    none = yield from gather()
    nested = yield from gather(gather(echo(7), echo(8)), settle(echo(9)))
    return [three, flat, none, nested[0], nested[1][0].value]


def test_gather_and_its_operator_give_all_answers_in_order(serve, client):
    serve(together, echo)

    assert client.run(together(), timeout=20) == [[1, 2, 3], [4, 5, 6], [], [7, 8], 9]


@workflow
def gathering_a_failure() -> Flow[str]:
    try:
        yield from gather(echo(1), broken(2), echo(3))
    except Exception as error:
        return f"{type(error).__name__} {error.__cause__!r}"
    return "no failure"


def test_gather_raises_the_first_failure(serve, client):
    serve(gathering_a_failure, echo, broken)

    assert client.run(gathering_a_failure(), timeout=20) == "TaskFailed LookupError(2)"


@workflow
def settling() -> Flow[list[object]]:
    outcomes = yield from settle(echo(1), broken(2), sleep(0.001))
    return [one.value if one.ok else str(one.error) for one in outcomes]


def test_settle_never_raises(serve, client):
    serve(settling, echo, broken)

    assert client.run(settling(), timeout=20) == [1, "broken failed: LookupError: 2", None]


@workflow
def racing_signals() -> Flow[list[str]]:
    name, value = yield from race(word=word.receive(), never=sleep(3600))
    late = yield from word.receive()
    return [name, str(value), late]


def test_race_tells_the_winners_name_and_a_receive_that_lost_swallows_nothing(serve, client):
    serve(racing_signals)
    handle = client.start(racing_signals(), id="r")
    client.run(word.by_id("r").send("one"), timeout=20)
    client.run(word.by_id("r").send("two"), timeout=20)

    assert handle.result(20) == ["word", "one", "two"]


@workflow
def patient_until(seconds: float) -> Flow[str]:
    answer = yield from word.receive() | sleep(seconds)
    if answer is not None:
        return answer
    return "late: " + (yield from word.receive())


def test_a_receive_that_lost_against_a_timer_leaves_the_signal_to_the_next(serve, client):
    serve(patient_until)
    handle = client.start(patient_until(0.001), id="p")
    until(lambda: "TimerFired" in events(handle.history()))
    client.run(word.by_id("p").send("hello"), timeout=20)

    assert handle.result(20) == "late: hello"


def test_a_timer_that_lost_is_gone_from_the_storage(serve, client, storage):
    serve(patient_until)
    handle = client.start(patient_until(3600), id="p")
    until(lambda: (found := storage.load("p")) is not None and len(found.timers) == 1)
    client.run(word.by_id("p").send("hello"), timeout=20)

    assert handle.result(20) == "hello"
    assert storage.load("p").timers == ()


@workflow
def first_of() -> Flow[list[int]]:
    one = yield from first(broken(1), echo(2))
    two = yield from broken(3) | echo(4) | broken(5)
    return [one, two]


@workflow
def all_fail() -> Flow[int]:
    return (yield from broken(1) | broken(2))


def test_first_raises_only_when_all_have_failed_with_the_last_failure(serve, client):
    serve(first_of, all_fail, echo, broken)

    assert client.run(first_of(), timeout=20) == [2, 4]
    with pytest.raises(WorkflowFailed) as raised:
        client.run(all_fail(), timeout=20)
    assert cause_chain(raised.value) == ["WorkflowFailed", "TaskFailed", "LookupError"]


@workflow
def losing(how: str) -> Flow[list[str]]:
    if how == "first":
        won = yield from held("a") | held("b")
    else:
        _, won = yield from race(a=held("a"), b=held("b"))
    return [won, (yield from word.receive())]


def test_a_task_that_lost_under_first_runs_on_and_is_kept_in_history(serve, client):
    serve(losing, held)
    fast, slow = gate("a"), gate("b")
    handle = client.start(losing("first"), id="l")
    slow.wait_for()
    fast.open()
    until(lambda: "TaskCompleted" in events(handle.history()))
    slow.open()
    until(lambda: events(handle.history()).count("TaskCompleted") == 2)
    client.run(word.by_id("l").send("done"), timeout=20)

    assert handle.result(20) == ["a", "done"]


def test_a_task_that_lost_under_race_is_cancelled_and_its_answer_is_dropped(serve, client):
    serve(losing, held)
    fast, slow = gate("a"), gate("b")
    handle = client.start(losing("race"), id="l")
    slow.wait_for()
    fast.open()
    until(lambda: "TaskCompleted" in events(handle.history()))
    slow.open()
    client.run(word.by_id("l").send("done"), timeout=20)

    assert handle.result(20) == ["a", "done"]
    assert events(handle.history()).count("TaskCompleted") == 1


@workflow
def limited(seconds: float) -> Flow[str]:
    try:
        return (yield from timeout(held("slow"), seconds))
    except TimeoutError as error:
        return type(error).__name__


def test_timeout_raises_the_builtin_error(serve, client):
    serve(limited, held)
    slow = gate("slow")

    assert client.run(limited(0.005), timeout=20) == "TimeoutError"
    slow.open()
    assert client.run(limited(3600), timeout=20) == "slow"


# ------------------------------------------------------------------------------------------ deferreds


@workflow
def dispatching(count: int) -> Flow[list[int]]:
    deferreds = [dispatch(echo(number)) for number in range(count)]
    answers = []
    for one in reversed(deferreds):
        answers.append((yield from one))
    answers.append((yield from deferreds[0]))
    return answers


def test_a_deferred_answers_as_often_as_it_is_asked(serve, client):
    serve(dispatching, echo)

    assert client.run(dispatching(4), timeout=20) == [3, 2, 1, 0, 0]


@workflow
def forgetting() -> Flow[str]:
    dispatch(held("forgotten"))
    dispatch(broken(1))
    yield from sleep(0)
    return "done"


def test_a_deferred_that_nobody_awaits_ends_after_the_run_and_is_kept_in_history(serve, client, caplog):
    serve(forgetting, held, broken)
    forgotten = gate("forgotten")
    handle = client.start(forgetting(), id="f")
    assert handle.result(20) == "done"

    until(lambda: "AttemptFailed" in events(handle.history()))
    forgotten.open()
    until(lambda: "TaskCompleted" in events(handle.history()))

    assert handle.result(20) == "done"
    assert handle.status() == "completed"
    assert [turn.late for turn in handle.history()] == [False, True, True]
    late = handle.history()[-1].event
    assert isinstance(late, TaskCompleted)
    assert bytes(late.value) == b'"forgotten"'
    assert any("nobody awaited" in record.getMessage() for record in caplog.records)


@workflow
def forgetting_a_retry() -> Flow[str]:
    dispatch(flaky())
    yield from sleep(0)
    return "done"


@task(retry=Retry(initial=0.005))
def flaky() -> int:
    from dsl import current_task

    if current_task().attempt < 3:
        raise LookupError
    return 5


def test_retries_of_what_nobody_awaits_go_on_after_the_end(serve, client):
    serve(forgetting_a_retry, flaky)
    handle = client.start(forgetting_a_retry(), id="f")

    assert handle.result(20) == "done"
    until(lambda: "TaskCompleted" in events(handle.history()))
    assert [turn.late for turn in handle.history()] == [False, *[True] * 5]


@workflow
def cancelling_a_deferred() -> Flow[list[str]]:
    deferred = dispatch(held("cancelled"))
    deferred.cancel()
    try:
        yield from deferred
    except TaskCancelled as error:
        return [str(error), deferred.status()]
    return []


def test_a_cancelled_task_settles_at_once(serve, client):
    serve(cancelling_a_deferred, held)
    cancelled = gate("cancelled")

    assert client.run(cancelling_a_deferred(), timeout=20) == ["held was cancelled", "cancelled"]
    cancelled.open()


# ------------------------------------------------------------------------------------------- branches


@workflow
def branching() -> Flow[list[int]]:
    def leg(base: int) -> Flow[int]:
        total = 0
        for number in range(3):
            total += yield from echo(base + number)
        return total

    legs = [spawn(leg(10 * number)) for number in range(3)]
    direct = yield from gather(leg(100), leg(200))
    return [*(yield from gather(*legs)), *direct]


def test_branches_run_beside_each_other_and_answer(serve, client):
    serve(branching, echo, cache_instances=1)
    handles = [client.start(branching(), id=f"b{number}") for number in range(5)]

    assert [handle.result(20) for handle in handles] == [[3, 33, 63, 303, 603]] * 5


@workflow
def cancelling_a_branch() -> Flow[list[str]]:
    seen: list[str] = []

    def leg() -> Flow[str]:
        try:
            yield from sleep(3600)
        except Cancelled:
            seen.append(f"cleaned {(yield from echo(7))}")
            raise
        return "never"

    branch: Deferred[str] = spawn(leg())
    yield from echo(1)
    branch.cancel()
    try:
        yield from branch
    except BranchCancelled:
        seen.append("cancelled")
    return seen


def test_a_cancelled_branch_can_clean_up_with_tasks(serve, client):
    serve(cancelling_a_branch, echo)

    assert client.run(cancelling_a_branch(), timeout=20) == ["cleaned 7", "cancelled"]


@workflow
def many(count: int) -> Flow[int]:
    return sum((yield from gather(*[echo(number) for number in range(count)])))


def test_five_hundred_tasks_at_once(serve, client):
    serve(many, echo)

    assert client.run(many(500), timeout=60) == sum(range(500))

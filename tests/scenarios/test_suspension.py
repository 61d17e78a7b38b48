"""Suspension: code that cannot follow history changes nothing; what comes waits for code that can."""

import gc
import threading

import pytest

from dsl import Channel, Flow, Workflow, method, query, sleep, task, workflow
from infinitic.errors import InfiniticError, WorkflowExists, WorkflowFailed
from tests.scenarios.given import events, until

words = Channel(str, name="words")

FIRST = """
from dsl import *
words = Channel(str, name="words")

@task
def step(name: str) -> str:
    return name

@workflow
def journey() -> Flow[list[str]]:
    one = yield from step("one")
    seen = [one]
    for _ in range(3):
        seen.append((yield from words.receive()))
    return seen
"""
CHANGED = FIRST.replace('step("one")', 'step("another")')
REORDERED = FIRST.replace('one = yield from step("one")', 'yield from sleep(1)\n    one = yield from step("one")')
COMPATIBLE = FIRST.replace("return seen", "return [*seen, 'and more']")

STATEFUL = """
from dsl import *

class Account(Workflow):
    closed = Channel(bool)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        yield from sleep(0)
        yield from self.closed.receive()
        return self.total

    @method
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @query
    def balance(self) -> int:
        return self.total
"""
STATEFUL_CHANGED = STATEFUL.replace("yield from sleep(0)\n", "yield from sleep(1)\n")


def status_of(client, workflow_id):
    return next(record for record in client.find() if record.workflow_id == workflow_id).status


@pytest.fixture
def opened(serve, client, deploy):
    """An instance that waits for its words, and no worker any more."""
    release = deploy(FIRST)
    worker = serve(release.journey, release.step)
    handle = client.start(release.journey(), id="j")
    until(lambda: "TaskCompleted" in events(handle.history()))
    worker.close()
    return handle


@pytest.mark.parametrize("source", [CHANGED, REORDERED], ids=["changed", "reordered"])
def test_changed_code_suspends_with_the_reason_and_changes_nothing(opened, serve, client, deploy, source):
    release = deploy(source)
    serve(release.journey, release.step)
    client.start(words.by_id("j").send("a"))
    until(lambda: status_of(client, "j") == "suspended")

    assert events(opened.history()) == ["Started", "TaskCompleted"]
    [record] = client.find(status="suspended")
    assert "history says" in record.reason
    assert "now asks for" in record.reason


def test_a_signal_that_nobody_would_get_any_more_is_told_by_who_got_it(serve, client, deploy):
    """What is withdrawn is no command: only the signal tells."""
    source = FIRST.replace("one = yield", "early = dispatch(words.receive())\n    one = yield")
    first = deploy(source)
    worker = serve(first.journey, first.step)
    handle = client.start(first.journey(), id="j")
    until(lambda: "TaskCompleted" in events(handle.history()))
    client.run(words.by_id("j").send("a"), timeout=20)
    worker.close()
    second = deploy(source.replace("seen = [one]", "early.cancel()\n    seen = [one]"))
    serve(second.journey, second.step)
    client.run(words.by_id("j").send("b"), timeout=20)

    [record] = client.find(status="suspended")
    assert record.reason.startswith("j: history says that turn 2 answered m0.0 at position m0, but ")
    assert "now asks for a run in which it answers nothing. " in record.reason


def test_the_right_code_drains_the_inbox_by_itself_and_in_order(opened, serve, client, deploy, storage):
    wrong = deploy(CHANGED)
    worker = serve(wrong.journey, wrong.step)
    for word in ("a", "b", "c"):
        client.start(words.by_id("j").send(word))
    until(lambda: len(storage.load("j").inbox) == 3)
    worker.close()
    right = deploy(FIRST + "\n# as it was\n")
    serve(right.journey, right.step)

    assert opened.result(20) == ["one", "a", "b", "c"]
    assert status_of(client, "j") == "completed"
    assert storage.load("j").inbox == ()


def test_a_compatible_change_goes_on_at_once(opened, serve, client, deploy):
    release = deploy(COMPATIBLE)
    serve(release.journey, release.step)
    for word in ("a", "b", "c"):
        client.run(words.by_id("j").send(word), timeout=20)

    assert opened.result(20) == ["one", "a", "b", "c", "and more"]


def test_a_signal_to_a_suspended_instance_is_received(opened, serve, client, deploy):
    wrong = deploy(CHANGED)
    worker = serve(wrong.journey, wrong.step)
    for word in ("a", "b", "c"):
        client.run(words.by_id("j").send(word), timeout=20)
    assert status_of(client, "j") == "suspended"
    worker.close()
    right = deploy(FIRST + "\n# as it was\n")
    serve(right.journey, right.step)

    assert opened.result(20) == ["one", "a", "b", "c"]


def test_tags_that_a_suspended_instance_gets_wait_with_all_else(opened, serve, client, deploy):
    wrong = deploy(CHANGED)
    worker = serve(wrong.journey, wrong.step)
    client.run(words.by_id("j").send("a"), timeout=20)
    client.tag("j", add=["vip"], timeout=20)
    assert (status_of(client, "j"), client.count(tag="vip")) == ("suspended", 0)
    worker.close()
    right = deploy(FIRST + "\n# as it was\n")
    serve(right.journey, right.step)
    for word in ("b", "c"):
        client.run(words.by_id("j").send(word), timeout=20)

    assert opened.result(20) == ["one", "a", "b", "c"]
    assert client.count(tag="vip") == 1


def test_a_signal_that_came_twice_to_a_suspended_instance_counts_once(opened, serve, client, deploy, storage):
    wrong = deploy(CHANGED)
    worker = serve(wrong.journey, wrong.step)
    for _ in range(3):
        client.start(words.by_id("j").send("a"), id="the same")
    client.run(words.by_id("j").send("b"), timeout=20)
    client.run(words.by_id("j").send("c"), timeout=20)
    assert len(storage.load("j").inbox) == 3
    worker.close()
    right = deploy(FIRST + "\n# as it was\n")
    serve(right.journey, right.step)

    assert opened.result(20) == ["one", "a", "b", "c"]


def test_a_suspended_instance_can_still_be_attached_to_but_not_replaced(opened, serve, client, deploy):
    wrong = deploy(CHANGED)
    serve(wrong.journey, wrong.step)
    client.run(words.by_id("j").send("a"), timeout=20)
    assert status_of(client, "j") == "suspended"

    for if_exists in ("fail", "restart"):
        with pytest.raises(WorkflowExists) as raised:
            client.start(wrong.journey(), id="j", if_exists=if_exists)
        assert raised.value.status == "suspended"
    assert client.start(wrong.journey(), id="j").status() == "suspended"


def test_others_go_on_while_one_is_suspended(opened, serve, client, deploy):
    wrong = deploy(CHANGED)
    serve(wrong.journey, wrong.step)
    client.run(words.by_id("j").send("a"), timeout=20)
    fresh = client.start(wrong.journey(), id="fresh")
    for word in ("x", "y", "z"):
        client.run(words.by_id("fresh").send(word), timeout=20)

    assert fresh.result(20) == ["another", "x", "y", "z"]
    assert status_of(client, "j") == "suspended"


def test_a_query_of_a_suspended_instance_tells_the_reason(serve, client, deploy):
    right = deploy(STATEFUL)
    worker = serve(right.Account)
    client.start(right.Account.run(), id="acc")
    client.run(right.Account.by_id("acc").add(5), timeout=20)
    worker.close()
    wrong = deploy(STATEFUL_CHANGED)
    serve(wrong.Account)

    with pytest.raises(InfiniticError, match="suspended"):
        client.run(wrong.Account.by_id("acc").balance(), timeout=20)


def test_calls_that_waited_in_the_inbox_are_answered_in_the_end(serve, client, deploy):
    right = deploy(STATEFUL)
    worker = serve(right.Account)
    handle = client.start(right.Account.run(), id="acc")
    assert client.run(right.Account.by_id("acc").add(5), timeout=20) == 5
    worker.close()
    wrong = deploy(STATEFUL_CHANGED)
    worker = serve(wrong.Account)
    calls = [client.start(right.Account.by_id("acc").add(10)) for _ in range(3)]
    until(lambda: status_of(client, "acc") == "suspended")
    worker.close()
    again = deploy(STATEFUL + "\n# as it was\n")
    serve(again.Account)

    assert [call.result(20) for call in calls] == [15, 25, 35]
    client.run(again.Account.by_id("acc").closed.send(True), timeout=20)
    assert handle.result(20) == 35


TYPED = """
from dsl import *
words = Channel(str, name="words")

@task
def measure() -> int:
    return 5

@workflow
def measuring() -> Flow[str]:
    size = yield from measure()
    return f"{size} {(yield from words.receive())}"
"""
RETYPED = TYPED.replace("-> int:", "-> list[int]:")


def test_a_recorded_answer_that_todays_types_cannot_read_suspends(serve, client, deploy):
    first = deploy(TYPED)
    worker = serve(first.measuring, first.measure)
    handle = client.start(first.measuring(), id="m")
    until(lambda: "TaskCompleted" in events(handle.history()))
    worker.close()
    second = deploy(RETYPED)
    worker = serve(second.measuring, second.measure)
    client.run(words.by_id("m").send("x"), timeout=20)
    [record] = client.find(status="suspended")
    assert "not what the declared type says" in record.reason
    worker.close()
    third = deploy(TYPED + "\n# as it was\n")
    serve(third.measuring, third.measure)

    assert handle.result(20) == "5 x"


FAILING = """
from dsl import *

@task
def step(name: str) -> str:
    return name

@workflow
def failing() -> Flow[str]:
    yield from step("one")
    raise LookupError("no")
"""
MENDED = FAILING.replace('step("one")', 'step("two")').replace('raise LookupError("no")', 'return "mended"')


def test_a_failed_instance_whose_code_changed_stays_failed_and_can_be_restarted(serve, client, deploy):
    first = deploy(FAILING)
    worker = serve(first.failing, first.step)
    handle = client.start(first.failing(), id="f")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    worker.close()
    second = deploy(MENDED)
    serve(second.failing, second.step)
    client.run(words.by_id("f").send("too late"), timeout=20)

    assert status_of(client, "f") == "failed"
    assert client.start(second.failing(), id="f", if_exists="restart").result(20) == "mended"


# ------------------------------------------------------------------------------ code that does not come back

release = threading.Event()
entered = threading.Event()
blocking = True


@task
def quick(number: int) -> int:
    return number


@workflow
def hanging() -> Flow[str]:
    yield from quick(1)
    if blocking:
        entered.set()
        release.wait(30)
    yield from quick(2)
    return "came back"


@workflow
def hanging_at_once() -> Flow[str]:
    entered.set()
    release.wait(30)
    yield from sleep(0)
    return "came back"


@workflow
def innocent(number: int) -> Flow[int]:
    return (yield from quick(number)) + (yield from quick(number))


@pytest.fixture
def _free():
    release.clear()
    entered.clear()
    yield
    release.set()


@pytest.mark.usefixtures("_free")
@pytest.mark.parametrize("code", [hanging, hanging_at_once])
def test_slow_code_is_reported_with_its_line_and_does_not_stop_the_others(stage, client, caplog, code):
    stage.serve_with_limits(code, innocent, quick, slow=0.02, give_up=60)
    handle = client.start(code(), id="h")
    assert entered.wait(20)

    assert [client.run(innocent(number), timeout=20) for number in range(5)] == [0, 2, 4, 6, 8]
    until(gc.isenabled)  # garbage is collected again, although the code that hangs is not back
    until(lambda: any("release.wait(30)" in record.getMessage() for record in caplog.records))
    release.set()
    assert handle.result(20) == "came back"
    assert status_of(client, "h") == "completed"


@pytest.mark.usefixtures("_free")
def test_what_comes_for_slow_code_waits_for_it(stage, client):
    stage.serve_with_limits(hanging_and_listening, innocent, quick, slow=0.02, give_up=60)
    handle = client.start(hanging_and_listening(), id="h")
    assert entered.wait(20)
    for word in ("a", "b"):
        client.start(words.by_id("h").send(word))
    assert client.run(innocent(1), timeout=20) == 2
    release.set()

    assert handle.result(20) == ["a", "b"]


@workflow
def hanging_and_listening() -> Flow[list[str]]:
    yield from quick(1)
    if blocking:
        entered.set()
        release.wait(30)
    return [(yield from words.receive()), (yield from words.receive())]


@pytest.mark.usefixtures("_free")
@pytest.mark.parametrize("code", [hanging, hanging_at_once])
def test_hung_code_suspends_its_instance_and_a_late_outcome_is_discarded(stage, client, caplog, code):
    stage.serve_with_limits(code, innocent, quick, slow=0.02, give_up=0.05)
    client.start(code(), id="h")
    assert entered.wait(20)
    until(lambda: client.count(status="suspended") == 1)
    [record] = client.find(status="suspended")
    assert "release.wait(30)" in record.reason
    release.set()

    assert client.run(innocent(3), timeout=20) == 6
    assert status_of(client, "h") == "suspended"
    assert len(client.get("h").history()) == (1 if code is hanging else 0)


class Interrupted(BaseException):
    """Of no kind that fails a run."""


@workflow
def interrupting() -> Flow[None]:
    yield from quick(1)
    raise KeyboardInterrupt


def test_code_that_raises_what_is_no_exception_stops_nobody_else(serve, client):
    serve(interrupting, innocent, quick)
    client.start(interrupting(), id="i")
    until(lambda: client.count(status="suspended") or client.count(status="failed"))

    assert client.run(innocent(2), timeout=20) == 4


@workflow
def spiteful() -> Flow[str]:
    try:
        return (yield from words.receive())
    finally:
        raise Interrupted


def test_code_whose_cleanup_raises_what_is_no_exception_does_not_end_its_worker(serve, client):
    serve(spiteful, innocent, quick, cache_instances=1)
    for number in range(3):
        client.start(spiteful(), id=f"s{number}")
    until(lambda: client.count(spiteful) == 3)

    assert [client.run(innocent(number), timeout=20) for number in range(5)] == [0, 2, 4, 6, 8]
    assert client.count(spiteful, status="running") == 3


class Ledger(Workflow):
    @method
    def run(self) -> Flow[str]:
        return (yield from words.receive())

    @query
    def nothing(self) -> int:
        return 0


RECURSION = """
from dsl import *

def deep(n: int) -> int:
    return deep(n + 1) + 1

@workflow
def bottomless() -> Flow[int]:
    yield from sleep(0)
    return deep(0)
"""


def test_code_that_recurses_without_end_fails_its_run_only(serve, client, deploy):
    release = deploy(RECURSION)
    serve(release.bottomless, innocent, quick)
    with pytest.raises(WorkflowFailed) as raised:
        client.run(release.bottomless(), timeout=20)

    assert isinstance(raised.value.error, RecursionError)
    assert client.run(innocent(2), timeout=20) == 4

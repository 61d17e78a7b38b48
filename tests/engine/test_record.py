"""The state record: what anyone can read of an instance with no worker alive."""

from datetime import timedelta

from dsl import Flow, Workflow, dispatch, gather, method, race, sleep, spawn, workflow
from infinitic.engine.instance import Surroundings
from infinitic.engine.record import state_record
from infinitic.events import Caller
from infinitic.serialization import Serializer
from tests.engine.driver import RUN, SECOND, Driver, drive
from tests.engine.given import Hotels, Loyalty, child, confirmed, step


def place(frame):
    return frame.function.rpartition(".")[2], frame.line, frame.source


def line_of(fn, offset):
    return fn.__code__.co_firstlineno + offset


def test_a_fresh_run_is_told_whole():
    def flow():
        yield from Hotels.book("Oslo")

    caller = Caller("parent", "p", RUN, "m0.1")
    run = drive(flow, caller=caller, tags=("t",), meta={"k": 1}, root="r", reply_to="client")
    record = state_record(run.instance, ("start",))

    assert (record.workflow, record.workflow_id, record.run, record.status) == ("flow", "wf", RUN, "running")
    assert (record.tags, record.meta, record.caller, record.root) == (("t",), {"k": 1}, caller, "r")
    assert (record.started, record.updated, record.ended, record.turns) == (SECOND, SECOND, 0, 1)
    assert (record.reply_to, record.starts, record.waiting, record.late) == ("client", ("start",), 1, 0)
    (wait,) = record.waits
    assert (wait.position, wait.kind, wait.name, wait.since) == ("m0.0", "task", "Hotels.book", SECOND)
    assert (wait.attempt, wait.next_at, wait.error) == (1, 0, None)
    assert [place(one) for one in wait.stack] == [("flow", line_of(flow, 1), "")]


def test_each_kind_of_wait_says_what_it_is():
    def flow():
        kid = child("x").options(id="kid")
        yield from gather(kid, Loyalty.by_id("ada").redeem(1), sleep(5), confirmed.receive())

    record = drive(flow).record

    assert [(one.kind, one.name, one.workflow_id, one.next_at) for one in record.waits] == [
        ("child", "child", "kid", 0),
        ("call", "Loyalty.redeem", "ada", 0),
        ("timer", "timer", "", 6 * SECOND),
        ("receive", "confirmed", "", 0),
    ]
    assert [one.expects for one in record.waits] == ["", "", "", "str"]


def test_a_task_that_waits_for_its_next_attempt_says_when_and_why():
    run = drive(lambda: (yield from step("a")))
    try:
        raise OSError("one") from ValueError("why")
    except OSError as error:
        run.fail("m0.0", error, 1, retry_in=5 * SECOND)

    (wait,) = run.record.waits
    assert (wait.attempt, wait.next_at, wait.error.summary) == (1, 7 * SECOND, "OSError: one")
    assert (wait.error.cause, wait.error.traceback) == (None, "")


def test_stacks_go_through_yield_from_branches_and_combinators_with_source():
    def inner():
        yield from race(a=step("a"), b=sleep(5))

    def helper():
        yield from inner()

    def flow():
        asked = dispatch(step("nobody waits"))
        yield from gather(helper(), step("b"))
        return asked

    lines = []

    def source(file, line):
        lines.append(line)
        return f"line {line}"

    run = drive(flow, surroundings=Surroundings(Serializer(), source))
    waits = {one.position: [place(frame) for frame in one.stack] for one in run.record.waits}

    branch = [("helper", line_of(helper, 1)), ("inner", line_of(inner, 1))]
    assert waits == {
        "m0.0": [],
        "m0.b1.0": [(*one, f"line {one[1]}") for one in branch],
        "m0.b1.1": [(*one, f"line {one[1]}") for one in branch],
        "m0.2": [("flow", line_of(flow, 2), f"line {line_of(flow, 2)}")],
    }


def test_a_stack_is_made_anew_only_for_a_branch_that_moved():
    made = []

    def source(file, line):
        made.append(line)
        return ""

    def branch(name):
        yield from step(name)
        yield from step(name)

    def flow():
        spawn(branch("a"))
        spawn(branch("b"))
        yield from sleep(50)

    run = drive(flow, surroundings=Surroundings(Serializer(), source))
    run.checks = False
    assert run.record.waiting == 3
    made.clear()
    run.complete("m0.b0.0")
    moved = run.record

    assert made == [line_of(branch, 2)]
    assert moved.waits[0].position == "m0.b1.0"


def test_it_is_bounded_to_the_twenty_longest_waits():
    def flow():
        yield from gather(*[step(str(n)) for n in range(50)])

    run = drive(flow)
    run.complete("m0.3")

    assert (len(run.record.waits), run.record.waiting) == (20, 49)
    assert [one.position for one in run.record.waits][:4] == ["m0.0", "m0.1", "m0.2", "m0.4"]
    assert len(state_record(run.instance, tuple(str(n) for n in range(200))).starts) == 100


def test_signals_that_wait_and_calls_that_run_are_counted():
    run = Driver(Loyalty.slowly("x"))
    run.signal("s1", "bonus", 1)
    run.signal("s2", "bonus", 2)
    run.call("c1", "slowly", name="y")

    record = run.record
    assert (record.buffered, record.open_calls, record.method) == ({"bonus": 2}, ("c1",), "slowly")


def test_an_ended_run_tells_its_end_and_what_is_still_under_way():
    def flow() -> Flow[None]:
        dispatch(step("a"))
        yield from step("b")

    done = drive(flow)
    done.complete("m0.1")
    assert (done.record.status, done.record.ended, done.record.late) == ("completed", 2 * SECOND, 1)
    assert (done.record.waits, done.record.waiting) == ((), 0)

    failed = drive(flow)
    failed.fail("m0.1", ValueError("no"))
    assert (failed.record.status, failed.record.error.summary) == (
        "failed",
        "TaskFailed: step failed: ValueError: no",
    )


def test_the_retention_is_what_the_start_says_or_else_the_workflow():
    @workflow(retention=timedelta(days=1))
    def flow():
        yield from sleep(5)

    class Card(Workflow, retention=60):
        @method
        def run(self):
            yield from sleep(5)

    class Gold(Card):
        pass

    told = [Driver(flow()), Driver(flow(), retention=0), Driver(Card.run()), Driver(Gold.run()), Driver(child("x"))]
    assert [run.record.retention for run in told] == [86_400 * SECOND, 0, 60 * SECOND, 60 * SECOND, None]

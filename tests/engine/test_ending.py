"""Ends: of methods and of runs, who is told, and what becomes of what is open."""

import pytest
from msgspec import Raw

from dsl import Flow, Workflow, dispatch, gather, method, sleep
from infinitic.events import Caller
from infinitic.history import Answer, Cancellation, End, NextAttempt
from tests.engine.driver import SECOND, Driver, drive
from tests.engine.given import Loyalty, child, confirmed, step

PARENT = Caller("parent", "p-1", "00000000000000000000000000000009", "m0.3")


class Pair(Workflow):
    """Two methods that end as they are told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @method
    def main(self) -> Flow[str]:
        return (yield from self.told("main"))

    @method
    def other(self) -> Flow[str]:
        return (yield from self.told("other"))

    @method
    def nothing(self) -> None:
        """Ends at once."""

    def told(self, name: str) -> Flow[str]:
        answer: str = yield from step(name)
        self.seen.append(answer)
        if answer == "fail":
            raise ValueError(f"{name} failed")
        return f"{name}: {self.seen}"


def answers(run):
    return [(one.call_id, one.status) for one in run.sends if isinstance(one, Answer)]


def test_the_caller_is_told_of_the_run_s_end_and_so_is_the_client():
    run = drive(lambda: (yield from step("a")), caller=PARENT, reply_to="client")
    run.complete("m0.0", 5)

    assert run.sends == [Answer("", "completed", Raw(b"5"), None, PARENT, "client")]
    assert run.turns[-1].end == End("completed", Raw(b"5"))


def test_a_run_that_nobody_waits_for_tells_nobody():
    run = drive(lambda: (yield from step("a")))
    run.complete("m0.0", 5)

    assert run.sends == []


def test_a_run_ends_with_its_last_method_as_its_first_one_did():
    run = Driver(Pair.main())
    run.call("c1", "other")

    run.complete("m0.0", "fine")
    assert (run.status, run.record.value) == ("running", Raw(b"\"main: ['fine']\""))
    run.complete("m1.0", "fine too")

    assert run.result == "main: ['fine']"
    assert answers(run) == [("c1", "completed")]


def test_a_secondary_method_that_fails_fails_its_call_alone():
    run = Driver(Pair.main())
    run.call("c1", "other")
    run.complete("m1.0", "fail")
    assert (run.status, answers(run)) == ("running", [("c1", "failed")])
    run.complete("m0.0", "fine")

    assert run.status == "completed"
    assert [(one.call_id, one.status) for one in run.record.calls] == [("c1", "failed"), ("", "completed")]


def test_a_secondary_method_that_fails_last_leaves_the_run_as_the_first_one_ended():
    run = Driver(Pair.main())
    run.call("c1", "other")
    run.complete("m0.0", "fine")
    run.complete("m1.0", "fail")

    assert run.result == "main: ['fine']"


def test_the_run_fails_with_its_first_method_and_the_other_callers_are_told():
    run = Driver(Pair.main(), reply_to="client")
    run.call("c1", "other")
    run.complete("m0.0", "fail")

    assert run.error == "ValueError: main failed"
    assert answers(run) == [("", "failed"), ("c1", "failed")]
    assert run.open == ["m1.0"]


def test_a_cancelled_first_method_waits_for_the_others():
    run = Driver(Pair.main())
    run.call("c1", "other")
    run.cancel("k", call_id="start")
    assert run.status == "running"
    run.complete("m1.0", "fine")

    assert run.status == "cancelled"


def test_of_ended_calls_the_last_hundred_are_kept_and_the_run_s_own():
    run = Driver(Pair.main())
    run.call("c", "other")
    run.complete("m0.0", "fine")
    run.checks = False
    for n in range(102):
        run.call(str(n), "nothing")
    run.checks = True
    run.call("last", "nothing")

    assert list(run.instance.calls) == ["", *[str(n) for n in range(3, 102)], "last"]


def test_a_completed_run_lets_its_tasks_run_on_and_drops_timers_and_receives():
    def flow():
        for one in (step("a"), sleep(9), confirmed.receive(), child("x")):
            dispatch(one)
        yield from step("b")

    run = drive(flow)
    run.fail("m0.0", OSError("one"), retry_in=SECOND)
    run.complete("m0.4")

    assert run.status == "completed"
    assert run.open == ["m0.0", "m0.3"]
    assert run.sends == []
    assert run.instance.draft.timers_set == {"m0.0": (3 * SECOND, 1)}
    assert run.fire("m0.1") is None
    run.fire("m0.0", 1)
    assert run.sends == [NextAttempt("m0.0", 2)]


def test_a_cancelled_run_cancels_its_tasks_children_and_calls():
    def flow():
        for one in (step("a"), sleep(9), child("x"), Loyalty.by_id("ada").redeem(1)):
            dispatch(one)
        yield from step("b")

    run = drive(flow)
    run.cancel()

    assert run.status == "cancelled"
    assert run.sends == [Cancellation(at) for at in ("m0.4", "m0.0", "m0.2", "m0.3")]
    assert run.open == []
    assert run.complete("m0.0", "late") is None
    assert run.answer("m0.2", status="cancelled") is None


def test_a_failed_run_says_what_was_raised_where_and_why():
    def flow():
        try:
            yield from step("a")
        except Exception as error:
            raise ValueError("cannot go on") from error

    run = drive(flow)
    run.fail("m0.0", OSError("no disk"))

    error = run.instance.end.error
    assert (error.summary, error.cause.summary) == (
        "ValueError: cannot go on",
        "TaskFailed: step failed: OSError: no disk",
    )
    assert error.cause.cause.summary == "OSError: no disk"
    assert [one.function.rpartition(".")[2] for one in error.stack] == ["flow"]


def test_a_run_that_takes_longer_than_its_timeout_fails_and_says_so():
    run = drive(lambda: (yield from gather(step("a"), sleep(99))), timeout=30 * SECOND, reply_to="client")
    assert run.instance.draft.timers_set["timeout"] == (31 * SECOND, 0)

    run.fire("timeout")

    assert run.error == "TimeoutError: the run took longer than its timeout of 30 s"
    assert run.turns[-1].end.timed_out
    assert answers(run) == [("", "timed_out")]
    assert run.record.timed_out
    assert run.fire("timeout") is None
    assert run.open == ["m0.0"]  # as after any failure: a retry can use its answer


def test_a_timeout_ends_the_methods_that_still_run_after_the_first():
    run = Driver(Pair.main(), timeout=30 * SECOND)
    run.call("c1", "other")
    run.complete("m0.0", "fine")
    run.fire("timeout")

    assert run.result == "main: ['fine']"
    assert answers(run) == [("c1", "cancelled")]


def test_cleanup_at_the_end_changes_nothing_any_more():
    def lingering(state):
        try:
            yield from step("b")
        finally:
            dispatch(step("never"))

    def flow():
        from dsl import spawn

        spawn(lingering([]))
        yield from step("a")

    run = drive(flow)
    run.complete("m0.1")

    assert run.positions == []
    assert run.status == "completed"


@pytest.mark.parametrize("result", [None, 5, "x", [1], {"a": 1}])
def test_a_result_is_kept_as_json(result):
    run = drive(lambda: (yield from step("a")))
    run.complete("m0.0", result)

    assert run.result == result

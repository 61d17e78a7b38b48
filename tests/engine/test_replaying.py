"""Replaying: history applied again, and failed runs taken up again by a retry."""

from typing import Any

import msgspec
import pytest

from dsl import Flow, Workflow, compensations, dispatch, gather, inline, method, settle, sleep, spawn, workflow
from infinitic.engine import turns
from infinitic.engine.instance import Diverged
from infinitic.errors import NonDeterminismError
from infinitic.history import Cancellation, End, NextAttempt, RetryChild, decode_turn, encode_turn
from tests.engine.driver import SECOND, Driver, drive
from tests.engine.given import amounts, child, confirmed, count, step


def flow_of(body):
    """The workflow `flow` with this body."""
    return workflow(name="flow")(body)


# --- replay ---


def test_a_replay_reaches_the_same_place_after_each_turn_and_goes_on_from_there():
    def flow():
        a = yield from step("a")
        b, timer = yield from gather(step("b"), sleep(5))
        return a, b, timer

    run = drive(flow)
    run.evict()
    run.complete("m0.0", 1)
    run.evict()
    run.fire("m0.2")
    run.evict()
    run.complete("m0.1", 2)

    assert run.result == [1, 2, None]


def test_turns_that_are_lacking_can_be_replayed_later():
    run = drive(lambda: (yield from gather(step("a"), step("b"))))
    again = run.replayed()
    run.complete("m0.0", 1)
    run.complete("m0.1", 2)

    turns.replay(again, run.bodies[1:])

    assert (again.status, again.turns) == ("completed", 3)


def test_the_recorded_end_is_what_counts():
    run = drive(lambda: (yield from step("a")))
    run.complete("m0.0", "then")
    last = decode_turn(run.bodies[-1])
    told = encode_turn(msgspec.structs.replace(last, end=End("completed", msgspec.Raw(b'"as it was"'))))

    again = run.replayed(bodies=[run.bodies[0], told])

    assert bytes(again.end.value) == bytes(again.calls[""].value) == b'"as it was"'


def test_after_a_divergence_everything_is_closed():
    closed = []

    def body():
        try:
            yield from step("b")
        finally:
            closed.append(1)

    run = drive(lambda: (yield from step("a")))
    run.diverges(flow_of(body))

    assert closed == [1]


def test_a_divergence_on_the_way_to_a_retry_is_one():
    def then():
        yield from step("a")
        raise ValueError("no")

    run = drive(then)
    run.complete("m0.0")

    with pytest.raises(Diverged) as caught:
        run.retry(flow_of(lambda: (yield from step("b"))))
    assert isinstance(caught.value.error, NonDeterminismError)


# --- retry ---


def test_unchanged_commands_of_the_failed_turn_carry_on_without_being_sent_again():
    ran = []

    def read():
        ran.append(1)
        return len(ran)

    def body(bug):
        def flow():
            yield from step("first")
            asked = dispatch(step("a"))
            kid = dispatch(child("x"))
            timer = dispatch(sleep(60))
            number = yield from inline(read)
            if bug:
                raise ValueError("bug")
            return number, (yield from asked & kid & timer)

        return flow

    run = drive(body(bug=True))
    run.complete("m0.0")
    assert run.positions == ["m0.1", "m0.2", "m0.3", "m0.4"]
    run.retry(flow_of(body(bug=False)))

    assert (run.status, run.positions, run.sends, run.outputs) == ("running", [], [], [])
    assert run.open == ["m0.1", "m0.2", "m0.3"]
    assert run.instance.draft.timers_set == {"m0.3": (62 * SECOND, 0)}
    run.complete("m0.1", "a")
    run.answer("m0.2", 5)
    run.fire("m0.3")
    assert run.result == [1, ["a", 5, None]]
    assert ran == [1]


def test_answers_that_came_after_the_failure_are_used():
    def body(bug):
        def flow():
            yield from step("first")
            a, b = dispatch(step("a")), dispatch(step("b"))
            if bug:
                raise ValueError("bug")
            return (yield from a & b)

        return flow

    run = drive(body(bug=True))
    run.complete("m0.0")
    run.complete("m0.2", "b")
    run.retry(flow_of(body(bug=False)))
    run.complete("m0.1", "a")

    assert run.result == ["a", "b"]


def test_an_answer_waits_until_the_new_code_asks_for_it():
    def then():
        yield from step("first")
        dispatch(step("a"))
        dispatch(step("b"))
        raise ValueError("bug")

    def today():
        yield from step("first")
        a = yield from step("a")
        b = yield from step("b")
        return a, b

    run = drive(then)
    run.complete("m0.0")
    run.complete("m0.2", "b")
    run.complete("m0.1", "a")
    run.retry(flow_of(today))

    assert run.result == ["a", "b"]
    assert run.positions == []


def test_changed_commands_are_issued_under_a_new_generation():
    def then():
        yield from step("first")
        dispatch(step("a"))
        dispatch(step("b"))
        raise ValueError("bug")

    def today():
        yield from step("first")
        c = yield from step("c")
        d = yield from step("d")
        return c, d, (yield from step("e"))

    run = drive(then)
    run.complete("m0.0")
    run.complete("m0.1", "not c")
    run.retry(flow_of(today))
    assert run.positions == ["m0.1~1"]
    assert run.complete("m0.1", "not c") is None
    assert run.complete("m0.2", "not d") is None
    run.complete("m0.1~1", "c")
    assert run.positions == ["m0.2~1"]  # the failed turn had asked for something else at m0.2
    assert run.complete("m0.2", "not d") is None
    run.complete("m0.2~1", "d")
    assert run.positions == ["m0.3"]
    run.complete("m0.3", "e")

    assert run.result == ["c", "d", "e"]


def test_a_command_that_could_not_be_sent_is_sent_by_the_mended_code():
    def body(value):
        def flow():
            yield from count(value)

        return flow

    run = drive(body("five"))
    assert run.status == "failed"
    run.retry(flow_of(body(5)))

    assert [(one.position, one.failure) for one in run.issued] == [("m0.0", None)]
    run.complete("m0.0", 5)
    assert run.status == "completed"


def test_a_task_whose_failure_failed_the_run_is_sent_again_and_its_attempts_go_on():
    seen: list[Any] = []

    def flow():
        try:
            return (yield from step("a"))
        except Exception as error:
            seen.append(error)
            raise

    run = drive(flow)
    run.fail("m0.0", OSError("one"), 1, retry_in=0)
    run.fail("m0.0", OSError("two"), 2)
    assert run.status == "failed"
    run.retry()
    assert run.sends == [NextAttempt("m0.0", 3, uncounted=2)]
    assert run.outputs[0].message.attempt == 3
    run.fail("m0.0", OSError("three"), 3)
    assert [one.number for one in seen[-1].attempts] == [1, 2, 3]
    run.retry()
    assert run.sends == [NextAttempt("m0.0", 4, uncounted=3)]
    run.complete("m0.0", "good")

    assert run.result == "good"


def test_all_that_failed_for_good_since_is_tried_again():
    def flow():
        return (yield from gather(step("a"), step("b"), child("x")))

    run = drive(flow)
    run.fail("m0.0", OSError("a"))
    run.fail("m0.1", OSError("b"))
    run.answer("m0.2", status="failed", error=OSError("x"))
    run.retry()

    assert run.sends == [NextAttempt("m0.0", 2, 1), NextAttempt("m0.1", 2, 1), RetryChild("m0.2")]
    run.complete("m0.0", 1)
    run.complete("m0.1", 2)
    run.answer("m0.2", 3)
    assert run.result == [1, 2, 3]


def test_what_late_turns_have_sent_is_not_sent_again():
    def flow():
        asked = dispatch(step("a"))
        yield from count(1)
        return (yield from asked)

    run = drive(flow)
    run.fail("m0.1", OSError("no"))
    run.fail("m0.0", OSError("one"), 1, retry_in=0)
    assert run.sends == [NextAttempt("m0.0", 2)]
    run.fail("m0.0", OSError("two"), 2, retry_in=SECOND)
    run.fire("m0.0", 2)
    run.retry()

    assert run.sends == [NextAttempt("m0.1", 2, 1)]
    assert run.instance.draft.timers_set == {}
    run.complete("m0.1", 1)
    run.complete("m0.0", "a")
    assert run.result == "a"


def test_a_failed_child_is_retried_and_each_retry_asks_again():
    run = drive(lambda: (yield from child("x")))
    run.answer("m0.0", status="failed", error=OSError("x"))
    run.retry()
    assert run.sends == [RetryChild("m0.0")]
    run.answer("m0.0", status="failed", error=OSError("x"))
    run.retry()
    assert run.sends == [RetryChild("m0.0")]
    assert run.outputs[0].message.kind == "event"
    run.answer("m0.0", 5)

    assert run.result == 5


def test_a_retry_that_fails_at_once_can_be_retried():
    def body(bug):
        def flow():
            yield from step("first")
            asked = dispatch(step("a"))
            if bug:
                raise ValueError(bug)
            b = yield from step("b")
            return b, (yield from asked)

        return flow

    run = drive(body("one"))
    run.complete("m0.0")
    run.complete("m0.1", "a")
    run.retry(flow_of(body("two")))
    assert run.error == "ValueError: two"
    run.retry(flow_of(body("three")))
    run.retry(flow_of(body("")))
    assert run.positions == ["m0.2"]
    run.evict()
    run.complete("m0.2", "b")

    assert run.result == ["b", "a"]
    assert [turn.event.voids for turn in run.turns[3:6]] == [1, 1, 1]


def test_a_signal_to_a_failed_run_is_known_after_a_retry_that_fails_at_once_too():
    def flow():
        yield from step("a")
        raise ValueError("bug")

    run = drive(flow)
    run.complete("m0.0")
    run.signal("s1", "news", 1)
    run.retry()

    assert run.signal("s1", "news", 1) is None


def test_an_answer_that_came_late_is_known_after_a_retry_that_fails_at_once_too():
    def flow():
        dispatch(step("beside"))
        yield from step("a")
        raise ValueError("bug")

    run = drive(flow)
    run.complete("m0.1")
    run.complete("m0.0", 1)
    run.retry()

    assert run.complete("m0.0", 1) is None


def test_a_run_that_fails_again_later_can_be_retried_again():
    def flow():
        a = yield from step("a")
        b = yield from step("b")
        return a, b

    run = drive(flow)
    run.fail("m0.0", OSError("a"))
    run.retry()
    run.complete("m0.0", 1)
    run.fail("m0.1", OSError("b"))
    run.retry()
    run.evict()
    run.complete("m0.1", 2)

    assert run.result == [1, 2]
    assert run.instance.generation == 2


def test_a_run_that_failed_in_its_first_turn_can_be_retried():
    def body(bug):
        def flow():
            asked = dispatch(step("a"))
            if bug:
                raise ValueError("bug")
            return (yield from asked)

        return flow

    run = drive(body(bug=True), timeout=60 * SECOND)
    run.retry(flow_of(body(bug=False)))

    assert (run.positions, run.record.started) == ([], SECOND)
    assert run.instance.draft.timers_set == {"timeout": (62 * SECOND, 1)}
    run.complete("m0.0", "a")
    assert run.result == "a"


def test_a_limit_of_the_run_begins_anew_and_an_old_timer_is_ignored():
    run = drive(lambda: (yield from step("a")), timeout=60 * SECOND)
    run.fire("timeout")
    assert run.status == "failed"
    run.complete("m0.0", "late")
    run.retry()

    assert run.result == "late"

    waits = drive(lambda: (yield from gather(step("a"), sleep(99))), timeout=60 * SECOND)
    waits.fire("timeout")
    waits.retry()
    assert waits.instance.draft.timers_set == {"timeout": (63 * SECOND, 1), "m0.1": (100 * SECOND, 0)}
    assert waits.fire("timeout", 0) is None
    assert waits.fire("timeout", 1) is not None
    assert waits.status == "failed"


def test_timers_are_armed_again():
    def flow():
        yield from gather(step("a"), sleep(60), count(1))

    run = drive(flow)
    run.fail("m0.0", OSError("one"), 1, retry_in=9 * SECOND)
    run.fail("m0.2", OSError("no"))
    assert run.instance.draft.timers_set == {"m0.0": (11 * SECOND, 1)}
    run.retry()

    assert run.instance.draft.timers_set == {"m0.0": (11 * SECOND, 1), "m0.1": (61 * SECOND, 0)}


def test_a_timer_of_the_failed_turn_that_is_due_by_now_is_over():
    def body(bug):
        def flow():
            yield from step("a")
            timer = dispatch(sleep(1))
            if bug:
                raise ValueError("bug")
            yield from timer

        return flow

    run = drive(body(bug=True))
    run.complete("m0.0")
    run.retry(flow_of(body(bug=False)))

    assert run.status == "completed"


def test_signals_that_came_meanwhile_are_there():
    def body(bug):
        def flow():
            first = yield from amounts.receive()
            if bug:
                raise ValueError("bug")
            return first, (yield from amounts.receive()), (yield from confirmed.receive())

        return flow

    run = drive(body(bug=True))
    run.signal("s1", "amounts", 1)
    run.signal("s2", "amounts", 2)
    run.signal("s3", "confirmed", "x")
    assert [turn.late for turn in run.turns] == [False, False, True, True]
    run.retry(flow_of(body(bug=False)))

    assert run.result == [1, 2, "x"]
    assert run.signal("s2", "amounts", 2) is None


def test_an_answer_that_could_not_be_read_is_read_by_the_mended_types():
    from dsl import task

    @task(name="count")
    def counted(number: int) -> str:
        raise NotImplementedError

    def body(tasks):
        def flow():
            yield from sleep(1)
            return (yield from gather(*[task(n) for n, task in enumerate(tasks)]))

        return flow

    run = drive(body([count, count]))
    run.fire("m0.0")
    run.complete("m0.1", "five")
    run.complete("m0.2", "six")
    assert run.error == "TaskFailed: count failed: Expected `int`, got `str`"
    run.retry(flow_of(body([counted, counted])))
    assert run.result == ["five", "six"]

    still = drive(body([count, counted]))
    still.fire("m0.0")
    still.complete("m0.1", "five")
    still.complete("m0.2", "six")
    still.retry(flow_of(body([counted, count])))
    assert still.error == "TaskFailed: count failed: Expected `int`, got `str`"
    assert still.turns[-1].settled == ("m0.2",)


def test_answers_that_cannot_be_read_in_one_retry_fail_alike():
    from dsl import task

    @task(name="count")
    def counted(number: int) -> float:
        raise NotImplementedError

    def body(bug):
        def flow():
            yield from sleep(1)
            asked = dispatch(gather(count(1))), dispatch(gather(counted(2)))
            if bug:
                raise ValueError("bug")
            outcomes = yield from settle(*asked)
            return (yield from step(" ".join(str(one.error) for one in outcomes)))

        return flow

    run = drive(body(bug=True))
    run.fire("m0.0")
    run.complete("m0.1", "five")
    run.complete("m0.2", "six")
    run.retry(flow_of(body(bug=False)))

    assert bytes(run.issued[0].arguments).count(b"Expected `int`, got `str`") == 2


def test_undos_of_a_failed_turn_are_done_once():
    def flow():
        with compensations() as undo:
            yield from step("book")
            undo(step("cancel"))
            yield from step("pay")

    run = drive(flow)
    run.complete("m0.0")
    run.fail("m0.1", OSError("no"))
    assert run.positions == ["m0.b2.0"]
    run.complete("m0.b2.0")
    assert run.error == "TaskFailed: step failed: OSError: no"
    run.retry()

    assert run.error == "TaskFailed: step failed: OSError: no"  # what failed it was the end of the undos


def test_a_cancellation_of_a_loser_may_be_sent_again():
    def body(bug):
        def flow():
            from dsl import race

            yield from race(a=step("a"), b=step("b"))
            if bug:
                raise ValueError("bug")

        return flow

    run = drive(body(bug=True))
    run.complete("m0.0")
    assert run.sends == [Cancellation("m0.1")]
    run.retry(flow_of(body(bug=False)))

    assert (run.sends, run.status) == ([Cancellation("m0.1")], "completed")


def test_branches_of_the_failed_turn_may_be_gone():
    def branch():
        yield from gather(step("b"), step("c"))

    def then():
        yield from step("a")
        spawn(branch())
        raise ValueError("bug")

    def today():
        yield from step("a")
        yield from step("d")

    run = drive(then)
    run.complete("m0.0")
    run.complete("m0.b1.0")
    run.retry(flow_of(today))
    assert run.positions == ["m0.1"]
    assert run.complete("m0.b1.0") is None
    assert run.complete("m0.b1.1") is None
    run.complete("m0.1")

    assert run.status == "completed"


def test_each_retry_is_known_by_its_id():
    def flow():
        yield from step("a")
        raise ValueError("at once")

    run = drive(flow)
    run.complete("m0.0")
    run.retry()
    run.retry()

    assert list(run.instance.senders) == ["retry-2", "retry-3"]


def test_many_late_answers_are_applied_in_order():
    def body(bug):
        def flow():
            asked = [dispatch(count(n)) for n in range(300)]
            yield from step("go")
            if bug:
                raise ValueError("bug")
            return sum((yield from gather(*asked)))

        return flow

    run = Driver(flow_of(body(bug=True))())
    run.complete("m0.300")
    run.checks = False
    for n in range(300):
        run.complete(f"m0.{n}", n)
    run.checks = True
    run.retry(flow_of(body(bug=False)))

    assert run.result == sum(range(300))


def desk(kind, bug):
    """A method wakes the first one up, which has a bug."""

    class Desk(Workflow):
        @method
        def run(self) -> Flow[None]:
            self.timer = dispatch(sleep(100))
            yield from settle(self.timer)
            if bug:
                raise ValueError("bug")

        @method
        def note(self, what: kind) -> None:
            self.timer.cancel()

    return Desk.run()


def test_a_call_that_the_mended_code_cannot_take_fails_and_its_replay_too():
    run = Driver(desk(str, bug=True))
    run.call("c", "note", what="one")
    assert run.status == "failed"
    turn = run.retry(desk(int, bug=False))
    run.evict()

    told = [(one.call_id, one.status, one.error.type) for one in turn.sends]
    assert (told, run.status) == ([("c", "failed", "infinitic.errors:DecodeError")], "running")

"""Arriving: answers, attempts, timers, signals, calls, cancellations; repeats and what comes too late."""

from typing import Any

import pytest
from msgspec import Raw

from dsl import (
    Flow,
    TaskFailed,
    TaskTimedOut,
    WorkerLost,
    Workflow,
    WorkflowFailed,
    dispatch,
    gather,
    method,
    settle,
    sleep,
    spawn,
)
from infinitic.engine.arriving import ARRIVE
from infinitic.engine.instance import Diverged, Refusal
from infinitic.errors import UnreadableHistory
from infinitic.events import (
    Answered,
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    ResumeRequested,
    SignalReceived,
    SuspendRequested,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import Cancellation, NextAttempt
from infinitic.serialization import error_value
from tests.engine.driver import RUN, SECOND, Driver, drive
from tests.engine.given import Loyalty, amounts, child, confirmed, count, step


def caught(make):
    """A workflow that keeps the error of what it waits for, for the test to look at."""
    seen = []

    def flow():
        try:
            return (yield from make())
        except Exception as error:
            seen.append(error)
            return "caught"

    return flow, seen


def test_every_event_arrives_somewhere():
    assert set(ARRIVE) | {SuspendRequested, ResumeRequested} == set(AnyEvent.__args__)


# --- tasks ---


def test_the_first_answer_wins_and_repeats_change_nothing():
    run = drive(lambda: (yield from gather(step("a"), step("b"))))

    run.complete("m0.0", 1)
    assert run.complete("m0.0", 2) is None
    assert run.fail("m0.0", ValueError("late")) is None
    run.complete("m0.1", 3)

    assert run.result == [1, 3]


def test_a_result_comes_as_its_declared_type_and_unknown_types_as_data():
    run = drive(lambda: (yield from gather(step("a"), count(1))))

    run.complete("m0.0", {"x": [1]})
    run.complete("m0.1", 7)

    assert run.result == [{"x": [1]}, 7]


def test_retries_keep_their_attempts_and_a_failure_for_good_carries_them_all():
    flow, seen = caught(lambda: step("a"))
    run = drive(flow)

    run.fail("m0.0", OSError("one"), 1, retry_in=2 * SECOND)
    assert run.instance.draft.timers_set == {"m0.0": (4 * SECOND, 1)}
    assert run.sends == []
    run.fire("m0.0", 1)
    assert run.sends == [NextAttempt("m0.0", 2)]
    run.fail("m0.0", OSError("two"), 2, retry_in=0)
    assert run.sends == [NextAttempt("m0.0", 3)]
    run.fail("m0.0", OSError("three"), 3)

    error = seen[0]
    assert type(error) is TaskFailed
    assert str(error) == "step failed after 3 attempts: OSError: three"
    assert [(one.number, str(one.error)) for one in error.attempts] == [(1, "one"), (2, "two"), (3, "three")]
    assert error.__cause__ is error.error is error.attempts[-1].error


def test_an_old_attempt_s_failure_is_ignored_and_its_success_settles():
    run = drive(lambda: (yield from step("a")))

    run.fail("m0.0", OSError("one"), 1, retry_in=0)
    assert run.fail("m0.0", OSError("one again"), 1, retry_in=0) is None
    assert run.fail("m0.0", OSError("from the future"), 7) is None
    run.complete("m0.0", "late but good", attempt=1)

    assert run.result == "late but good"


def test_a_success_while_the_next_attempt_waits_clears_its_timer():
    run = drive(lambda: (yield from gather(step("a"), sleep(99))))

    run.fail("m0.0", OSError("one"), 1, retry_in=SECOND)
    assert run.fail("m0.0", OSError("one"), 1, retry_in=SECOND) is None
    run.complete("m0.0", "good")

    assert run.instance.draft.timers_cleared == ("m0.0",)
    assert run.fire("m0.0", 1) is None


def test_a_timer_of_an_older_attempt_is_ignored():
    run = drive(lambda: (yield from step("a")))

    run.fail("m0.0", OSError("one"), 1, retry_in=SECOND)
    run.fire("m0.0", 1)
    assert run.fire("m0.0", 1) is None
    run.fail("m0.0", OSError("two"), 2, retry_in=SECOND)
    assert run.fire("m0.0", 1) is None
    run.fire("m0.0", 2)

    assert run.sends == [NextAttempt("m0.0", 3)]
    assert run.record.waits[0].attempt == 3


def test_a_task_that_timed_out_and_one_that_killed_its_worker_say_so():
    flow, seen = caught(lambda: step("a"))
    timed = drive(flow)
    timed.apply(AttemptFailed("", "m0.0", error_value(TimeoutError("30 s")), timed_out=True))
    lost = drive(flow)
    lost.fail("m0.0", WorkerLost("step", OSError("killed")))

    assert [type(one) for one in seen[:2]] == [TaskTimedOut, TaskTimedOut]
    assert {type(one) for one in seen[2:]} == {WorkerLost}
    assert timed.result == lost.result == "caught"


def test_an_error_of_a_class_that_is_known_is_that_class_with_its_fields():
    from tests.engine.given import Shut

    flow, seen = caught(lambda: step("a"))
    run = drive(flow)
    run.fail("m0.0", Shut("Oslo"))

    assert (type(seen[0].error), seen[0].error.city) == (Shut, "Oslo")
    assert run.result == "caught"


def test_an_answer_that_is_not_of_the_declared_type_fails_the_call_and_is_on_record():
    flow, seen = caught(lambda: count(1))
    run = drive(flow)

    run.complete("m0.0", "five")

    assert run.result == "caught"
    assert run.turns[-1].refused.summary == "DecodeError: Expected `int`, got `str`"
    assert run.turns[-1].settled == ("m0.0",)
    assert {str(one) for one in seen} == {"count failed: Expected `int`, got `str`"}
    assert len(seen) == 2  # live, and on replay


def test_an_answer_that_was_refused_then_stays_refused_whatever_today_s_types_say():
    from dsl import task, workflow

    @task(name="count")
    def counted(number: int) -> str:
        raise NotImplementedError

    def body(asked):
        def flow():
            try:
                return (yield from asked(1))
            except TaskFailed:
                return (yield from step("refused"))

        return flow

    run = drive(body(count))
    run.complete("m0.0", "five")

    again = run.replayed(workflow(name="flow")(body(counted)))
    assert list(again.open) == ["m0.1"]


def test_an_answer_that_only_today_s_types_cannot_read_is_not_raised_into_the_workflow():
    from dsl import task, workflow

    @task(name="count")
    def counted(number: int) -> str:
        raise NotImplementedError

    swallowed = []

    @workflow(name="flow")
    def today():
        try:
            yield from counted(1)
        except BaseException as error:
            swallowed.append(error)

    def flow():
        return (yield from count(1))

    run = drive(flow)
    run.complete("m0.0", 5)
    error = run.diverges(today)

    assert str(error) == (
        "wf: the answer recorded at position m0.0 is not what the declared type says: Expected `str`, got `int`. "
        "Make the type accept it again."
    )
    assert [type(one) for one in swallowed] == [GeneratorExit]  # it was closed


def test_an_answer_to_what_was_never_asked_for_is_no_workflow_s_business():
    run = drive(lambda: (yield from gather(step("a"), spawned())))

    for position in ("m0.2", "m0.b1.1", "m7.0", "nonsense", "m0.", "m0.²"):
        with pytest.raises(Diverged, match="which was never issued"):
            run.complete(position)
        run.instance = run.replayed()
    assert run.complete("m0.1") is None  # a branch's number
    run.complete("m0.b1.0")
    assert run.complete("m0.b1.0") is None
    with pytest.raises(Diverged, match="which was never issued"):
        run.fire("m0.b1.1")


def spawned():
    yield from step("b")


# --- signals ---


def test_signals_come_first_in_first_out_buffered_or_awaited():
    def flow():
        first = yield from confirmed.receive()
        second = yield from confirmed.receive()
        yield from sleep(1)
        return first, second, (yield from confirmed.receive())

    run = drive(flow)
    run.signal("s1", "confirmed", "a")
    assert run.turns[-1].settled == ("m0.0",)
    run.signal("s2", "confirmed", "b")
    run.signal("s3", "confirmed", "c")
    assert run.record.buffered == {"confirmed": 1}
    run.fire("m0.2")

    assert run.result == ["a", "b", "c"]
    assert [(one.position, getattr(one, "signal", "")) for one in run.issued] == [("m0.3", "s3")]


def test_several_waiters_are_served_in_the_order_they_began():
    def waiter(name):
        return name, (yield from amounts.receive())

    def flow():
        return (yield from gather(waiter("a"), waiter("b"), amounts.receive()))

    run = drive(flow)
    for n in range(3):
        run.signal(f"s{n}", "amounts", n)

    assert run.result == [["a", 0], ["b", 1], 2]


def test_drain_takes_all_that_is_buffered_and_does_not_wait():
    def flow():
        yield from sleep(1)
        drained = amounts.drain()
        return drained, amounts.drain(), (yield from amounts.receive())

    run = drive(flow)
    run.signal("s1", "amounts", 1)
    run.signal("s2", "amounts", 2)
    run.fire("m0.0")
    run.signal("s3", "amounts", 3)

    assert run.result == [[1, 2], [], 3]
    assert [one.signal for one in run.turns[3].commands] == ["s1", "s2", ""]


def test_a_signal_is_known_by_its_id():
    run = drive(lambda: (yield from gather(amounts.receive(), amounts.receive())))

    run.signal("s1", "amounts", 1)
    assert run.signal("s1", "amounts", 1) is None
    run.signal("s2", "amounts", 2)

    assert run.result == [1, 2]


def test_the_last_10_000_ids_are_remembered():
    run = drive(lambda: (yield from sleep(9)), senders=tuple(str(n) for n in range(10_000)))

    assert run.signal("0", "amounts", 1) is None
    assert run.signal("new", "amounts", 1) is not None
    assert run.signal("1", "amounts", 1) is None
    assert run.signal("0", "amounts", 1) is not None
    assert len(run.instance.senders) == 10_000


class Patient(Workflow):
    """Receives from a channel of its module."""

    @method
    def run(self) -> Flow[str]:
        yield from step("a")
        return (yield from confirmed.receive())


def test_a_class_keeps_the_signals_for_a_channel_of_its_module_too():
    run = Driver(Patient.run())
    run.signal("s1", "confirmed", "yes")
    run.complete("m0.0")

    assert run.result == "yes"


def test_a_signal_of_the_wrong_type_is_refused_and_leaves_no_trace():
    waiting = drive(lambda: (yield from amounts.receive()))
    refusal = waiting.signal("s1", "amounts", "many")

    assert isinstance(refusal, Refusal)
    assert (refusal.status, str(refusal.error)) == ("refused", "channel 'amounts': Expected `int`, got `str`")
    assert len(waiting.turns) == 1
    waiting.signal("s1", "amounts", 5)
    assert waiting.result == 5

    buffered = Driver(Loyalty.slowly("x"))
    refusal = buffered.signal("s1", "bonus", "many")
    assert (refusal.status, str(refusal.error)) == ("refused", "channel 'bonus': Expected `int`, got `str`")
    refusal = buffered.signal("s1", "bonsu", 5)
    assert str(refusal.error) == "Loyalty has no channel 'bonsu' (it has: amounts, bonus, confirmed)"


def test_a_buffered_signal_that_its_receiver_cannot_read_is_the_receiver_s_failure():
    def flow():
        yield from sleep(1)
        try:
            yield from amounts.receive()
        except Exception as error:
            return str(error), (yield from amounts.receive())

    run = drive(flow)
    run.signal("s1", "amounts", "many")  # a function's channels are not known before it receives
    run.signal("s2", "amounts", 2)
    run.fire("m0.0")

    assert run.result == ["Expected `int`, got `str`", 2]


@pytest.mark.parametrize("buffered", [True, False])
def test_a_signal_that_only_today_s_types_cannot_read_suspends(buffered):
    from dsl import Channel, workflow

    today = Channel(str, name="amounts")

    def flow(channel):
        if buffered:
            yield from sleep(1)
        yield from channel.receive()
        yield from sleep(1)

    def then():
        return flow(amounts)

    run = drive(then)
    run.signal("s1", "amounts", 5)
    if buffered:
        run.fire("m0.0")
    error = run.diverges(workflow(name="then")(lambda: flow(today)))

    assert isinstance(error, UnreadableHistory)
    assert error.position == ("m0.1" if buffered else "m0.0")


@pytest.mark.parametrize("how", ["completed", "cancelled"])
def test_a_run_that_has_ended_takes_no_signal_no_call_and_no_cancellation(how):
    run = Driver(Loyalty.run(1))
    if how == "completed":
        run.signal("s1", "bonus", 5)
    else:
        run.cancel()

    assert run.status == how
    for refusal in (run.signal("s2", "bonus", 5), run.call("c", "redeem", points=1), run.cancel("again")):
        assert isinstance(refusal, Refusal)
        assert refusal.status == "finished"
        assert str(refusal.error) == f"Loyalty 'wf' is {how} and takes no further calls or signals."
    assert run.signal("s1", "bonus", 5) is None or how == "cancelled"


# --- children and calls ---


def test_a_child_s_answer_comes_as_its_declared_type():
    run = drive(lambda: (yield from child("x")))
    run.answer("m0.0", 5)
    assert run.result == 5

    flow, seen = caught(lambda: child("x"))
    wrong = drive(flow)
    wrong.answer("m0.0", "five")
    assert wrong.result == "caught"
    assert str(seen[0]) == "Expected `int`, got `str`"


def test_a_failed_child_raises_with_the_whole_chain_of_causes():
    flow, seen = caught(lambda: child("x"))
    run = drive(flow)
    try:
        raise TaskFailed("charge", OSError("no money")) from OSError("no money")
    except TaskFailed as failure:
        run.answer("m0.0", status="failed", error=failure)

    error: Any = seen[0]
    assert type(error) is WorkflowFailed
    assert str(error) == f"child {run.turns[0].commands[0].workflow_id!r} failed: charge failed: OSError: no money"
    causes: Any = error.__cause__
    assert (type(causes), type(causes.__cause__)) == (TaskFailed, OSError)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        ("cancelled", None, "WorkflowCancelled: child 'x' was cancelled"),
        ("timed_out", TimeoutError("5 s"), "WorkflowTimedOut: child 'x' timed out: 5 s"),
        ("exists", ValueError("taken"), "ValueError: taken"),
        ("finished", ValueError("over"), "ValueError: over"),
        ("refused", ValueError("wrong"), "ValueError: wrong"),
        ("unknown", None, "UnknownWorkflow: there is no child instance with the id 'x'"),
        ("failed", None, "WorkflowFailed: child 'x' failed: Exception: no reason was given"),
    ],
)
def test_how_a_child_ended_is_raised_where_it_is_awaited(status, error, says):
    flow, seen = caught(lambda: child("x").options(id="x"))
    run = drive(flow)
    run.answer("m0.0", status=status, error=error)

    assert f"{type(seen[0]).__name__}: {seen[0]}" == says


def test_a_method_of_another_instance_is_called_and_answered():
    run = drive(lambda: (yield from Loyalty.by_id("ada").redeem(3)))
    run.answer("m0.0", True)

    assert run.result is True


def test_a_cancelled_child_is_asked_to_stop_and_settles_when_it_answers():
    def flow():
        asked = dispatch(child("x"))
        yield from sleep(1)
        asked.cancel()
        (outcome,) = yield from settle(asked)
        return repr(outcome.error), asked.status()

    run = drive(flow)
    run.fire("m0.1")
    assert run.sends == [Cancellation("m0.0")]
    assert run.status == "running"
    run.answer("m0.0", status="cancelled")

    assert run.result[1] == "cancelled"
    assert run.result[0].startswith("WorkflowCancelled")


# --- methods ---


def test_methods_run_beside_each_other_and_share_the_object():
    run = Driver(Loyalty.run(2))
    run.signal("s1", "bonus", 5)

    run.call("c1", "redeem", points=3)  # a plain function: done at once
    assert [(one.call_id, one.status) for one in run.sends] == [("c1", "completed")]
    run.call("c2", "slowly", name="x")
    assert run.positions == ["m2.0"]
    assert run.record.open_calls == ("c2",)
    run.signal("s2", "bonus", 1)
    assert run.status == "running"  # the last method ends it
    run.complete("m2.0", "ok")

    assert run.result == 103
    assert [bytes(one.value) for one in run.sends if one.call_id] == [b'"x: ok, 103"']


def test_a_call_is_known_by_its_id():
    run = Driver(Loyalty.run(1))

    run.call("c1", "redeem", points=3)
    assert run.call("c1", "redeem", points=3) is None

    assert run.instance.state.points == -3


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("reedem", {}, "Loyalty has no method 'reedem' (it has: redeem, run, slowly)"),
        ("balance", {}, "Loyalty has no method 'balance' (it has: redeem, run, slowly)"),
        (
            "redeem",
            {"points": "all"},
            "Loyalty.redeem(points: int): Expected `int`, got `str` - at `$.points`",
        ),
        ("redeem", {}, "Loyalty.redeem(points: int): the required argument `points` is missing"),
    ],
)
def test_a_call_that_cannot_be_is_refused_without_a_turn(method, arguments, says):
    run = Driver(Loyalty.run(1))

    refusal = run.call("c1", method, **arguments)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, str(refusal.error)) == ("refused", says)
    assert len(run.turns) == 1


def test_a_start_that_cannot_be_is_a_run_that_failed():
    run = Driver(Loyalty.run(1), arguments=Raw(b'{"weeks":"two"}'))

    assert run.error == "DecodeError: Loyalty.run(weeks: int): Expected `int`, got `str` - at `$.weeks`"


def test_a_second_start_changes_nothing():
    run = drive(lambda: (yield from sleep(1)))

    assert run.apply(run.start) is None


def test_arguments_that_only_today_s_types_cannot_read_suspend():
    from dsl import Channel, Flow, Workflow, method, workflow

    @workflow(name="child")
    def today(name: int) -> Flow[int]:
        return (yield from count(1))

    class Today(Workflow, name="Loyalty"):
        bonus = Channel(int)

        @method
        def run(self, weeks: int) -> Flow[None]:
            yield from self.bonus.receive()

        @method
        def redeem(self, points: str) -> bool:
            return True

    run = Driver(child("x"))
    assert isinstance(run.diverges(today), UnreadableHistory)

    called = Driver(Loyalty.run(1))
    called.call("c", "redeem", points=1)
    error = called.diverges(Today.run(1))
    assert isinstance(error, UnreadableHistory)
    assert "Loyalty.redeem(points: str): Expected `str`, got `int` - at `$.points`" in str(error)


# --- cancelling ---


def test_a_cancelled_run_gets_cancelled_in_all_its_branches():
    def branch(name):
        try:
            yield from step(name)
        finally:
            yield from step(f"{name} cleanup")

    def flow():
        spawn(branch("b"))
        yield from gather(branch("a"), step("c"))

    run = drive(flow)
    run.cancel()

    assert run.sends == [Cancellation("m0.b1.0"), Cancellation("m0.2"), Cancellation("m0.b0.0")]
    assert sorted(run.positions) == ["m0.b0.1", "m0.b1.1"]
    run.complete("m0.b0.1")
    run.complete("m0.b1.1")
    assert run.status == "cancelled"


def test_a_second_cancellation_does_not_disturb_the_cleanup():
    def flow():
        try:
            yield from sleep(99)
        finally:
            yield from step("cleanup")

    run = drive(flow)
    run.cancel("one")
    assert run.cancel("one") is None
    assert run.cancel("two") is None
    run.complete("m0.1")

    assert run.status == "cancelled"


def test_a_cancellation_for_another_run_is_ignored():
    run = drive(lambda: (yield from sleep(99)))

    assert run.apply(CancelRequested("c", run="another")) is None
    assert run.apply(CancelRequested("c", run=RUN)) is not None
    assert run.status == "cancelled"


def test_one_call_can_be_cancelled():
    run = Driver(Loyalty.run(1))
    run.call("c1", "slowly", name="x")

    run.cancel("k", call_id="c1")
    assert [type(one).__name__ for one in run.sends] == ["Cancellation", "Answer"]
    assert run.sends[1].status == "cancelled"
    assert run.status == "running"
    assert run.cancel("k2", call_id="c1") is None
    assert run.cancel("k3", call_id="unknown") is None
    run.signal("s", "bonus", 1)

    assert run.result == 101


def test_a_workflow_that_swallows_its_cancellation_completes():
    from dsl import Cancelled

    def flow():
        try:
            yield from sleep(99)
        except Cancelled:
            return (yield from step("as I like"))

    run = drive(flow)
    run.cancel()
    run.complete("m0.1", "done")

    assert run.result == "done"


# --- late ---


def test_a_failed_run_keeps_answers_of_what_runs_on_as_late_turns():
    def flow():
        dispatch(step("a"))
        dispatch(step("b"))
        dispatch(child("x"))
        yield from step("c")

    run = drive(flow)
    run.fail("m0.1", OSError("one"), 1, retry_in=SECOND)
    run.fail("m0.3", ValueError("fatal"))
    assert run.instance.draft.timers_set == {"m0.1": (3 * SECOND, 1)}
    assert run.record.late == 3

    run.complete("m0.0", "a")
    run.fire("m0.1", 1)
    assert run.sends == [NextAttempt("m0.1", 2)]
    run.fail("m0.1", OSError("two"), 2)
    assert [(at, str(error)) for at, error in run.instance.draft.unawaited] == [
        ("m0.1", "step failed after 2 attempts: OSError: two")
    ]
    run.answer("m0.2", 5)
    run.signal("s1", "amounts", 5)

    assert [turn.late for turn in run.turns] == [False, False, False, True, True, True, True, True]
    assert [turn.end is None for turn in run.turns] == [True, True, False, True, True, True, True, True]
    assert (run.record.late, run.record.status, run.instance.failed_turn) == (0, "failed", 2)
    assert run.complete("m0.0", "again") is None
    assert run.fire("m0.1", 2) is None


def test_what_a_combinator_waited_for_when_the_run_failed_cancels_nothing_later():
    def flow():
        from dsl import race

        dispatch(race(a=step("a"), b=step("b")))
        yield from step("c")

    run = drive(flow)
    run.fail("m0.2", ValueError("fatal"))
    run.complete("m0.0", "a")

    assert run.sends == []
    assert run.open == ["m0.1"]


EVENTS = [
    TaskCompleted("", "m0.0"),
    AttemptFailed("", "m0.0", error_value(ValueError())),
    TimerFired("", "m0.1"),
    Answered("", "m0.2"),
    SignalReceived("s", "confirmed", Raw(b'"x"')),
]


@pytest.mark.parametrize("event", EVENTS)
def test_a_repeat_of_any_event_changes_nothing(event):
    def flow():
        yield from settle(step("a"), sleep(5), child("x"), confirmed.receive(), step("b"))

    run = drive(flow)
    assert run.apply(event) is not None
    assert run.apply(event) is None
    assert run.instance.at == 2 * SECOND

"""The story of a run: what the tree says of each kind of step, of attempts, losers, ends and retries."""

from attrs import evolve
from msgspec.structs import replace

from dsl import Flow, add_tags, dispatch, workflow
from infinitic.events import ErrorValue, Signal, TagsChanged, TaskCompleted, TaskStarted
from infinitic.ids import task_id
from infinitic.records import CANCELLED, COMPLETED, CONTINUED, FAILED, RUNNING, SUSPENDED, StateRecord
from infinitic.story import Attempt, Branch, Note, Step, Together, tell
from tests.cli.desks import Desk
from tests.cli.given import NINE, RUN, SECOND, WORKER, Told, refused
from tests.cli.trips import (
    Loyalty,
    branches,
    careless,
    confirmed,
    hasty,
    many,
    monthly,
    parent,
    payment,
    trip,
)


def at(seconds: float) -> int:
    return NINE + round(seconds * SECOND)


def steps(told: Told) -> dict[str, Step]:
    return {step.position: step for step in told.story().steps}


def statuses(told: Told) -> dict[str, str]:
    return {position: step.status for position, step in steps(told).items()}


# --- tasks ---


def test_a_task_that_answered_is_one_step_with_its_arguments_and_its_answer():
    told = Told(payment("visa"))
    told.complete("m0.0", "receipt")

    assert told.story().methods[0].nodes == (
        Step(
            position="m0.0",
            kind="task",
            label="charge",
            asked=NINE,
            turn=0,
            arguments='{"card":"visa","cents":500}',
            status="completed",
            settled=at(1),
            value='"receipt"',
            attempt=1,
            attempts=(Attempt(1, "completed", None, WORKER, at(0.5), at(1)),),
            owner="charge",
        ),
    )


def test_a_delegated_task_tells_the_id_by_which_somebody_completes_it():
    told = Told(payment("visa"))
    assert steps(told)["m0.0"].task_id == ""

    told.apply(TaskStarted("", "m0.0", 1, WORKER, delegated=True))
    assert steps(told)["m0.0"].task_id == task_id("payment", "wf-1", RUN, "m0.0")

    told.apply(TaskCompleted("by-hand", "m0.0", told.json("receipt"), 0, "client"))
    step = steps(told)["m0.0"]
    assert (step.status, step.value, step.attempt) == ("completed", '"receipt"', 1)
    assert step.attempts == (Attempt(0, "completed", None, "client"),)


def test_all_attempts_of_a_task_are_told_and_when_the_next_was_due():
    told = Told(payment("slow"))
    told.fail("m0.0", 1, retry_in=30)
    told.fire("m0.0", 1, after=30)
    told.complete("m0.0", "receipt", attempt=2)

    step = steps(told)["m0.0"]
    error = step.attempts[0].error

    assert error is not None
    assert (error.name, error.message) == ("ConnectionError", "no route to the bank")
    assert step.attempts == (
        Attempt(1, "failed", error, WORKER, at(0.5), at(1), next_at=at(31)),
        Attempt(2, "completed", None, WORKER, at(31.5), at(32)),
    )
    assert (step.status, step.attempt, step.next_at, step.duration) == ("completed", 2, 0, 32 * SECOND)


def test_a_task_between_two_attempts_waits_and_knows_when_the_next_is_due():
    told = Told(payment("slow"))
    told.fail("m0.0", 1, retry_in=30)

    step = steps(told)["m0.0"]

    assert (step.status, step.attempt, step.next_at) == ("waiting", 1, at(31))
    assert [frame.source for frame in step.stack] == [
        "return (yield from pay(card))",
        "return (yield from charge(card, 500))",
    ]


def test_a_task_that_failed_for_good_has_its_error_and_fails_the_run_with_the_stack():
    told = Told(payment("stolen"))
    told.fail("m0.0", 1)

    story = told.story()

    assert story.steps[0].status == "failed"
    assert story.steps[0].error == story.steps[0].attempts[0].error
    assert (story.status, story.ended) == (FAILED, at(1))
    error = story.methods[0].error
    assert error is not None
    assert error.summary == "TaskFailed: charge failed: ConnectionError: no route to the bank"
    assert [frame.function for frame in error.stack] == ["payment", "pay"]


# --- side by side ---


def test_what_was_asked_for_at_one_go_stands_together():
    told = Told(trip("Oslo"))

    [together] = told.story().methods[0].nodes

    assert isinstance(together, Together)
    assert [(node.label, node.status) for node in together.nodes if isinstance(node, Step)] == [
        ("Hotels.book", "waiting"),
        ("charge", "waiting"),
    ]


def test_a_receive_and_a_timer_that_lost_are_withdrawn():
    told = Told(trip("Oslo"))
    told.complete("m0.0", 300)
    told.complete("m0.1", "receipt")
    told.signal("confirmed", "yes")

    assert statuses(told) == {
        "m0.0": "completed",
        "m0.1": "completed",
        "m0.2": "completed",
        "m0.3": "withdrawn",
        "m0.4": "waiting",
    }


def test_a_task_that_lost_a_race_is_cancelled():
    told = Told(hasty())
    told.fire("m0.1", after=5)

    assert statuses(told) == {"m0.0": "cancelled", "m0.1": "completed"}
    assert steps(told)["m0.0"].stopped == at(5)


def test_beyond_the_waits_that_the_record_lists_nothing_is_called_withdrawn():
    told = Told(many())
    told.fire("m0.7", after=86_400)

    story = told.story()

    assert story.waiting == 29
    assert [step.position for step in story.steps if step.status != "waiting"] == ["m0.7"]
    assert [bool(step.stack) for step in story.steps] == [n <= 20 and n != 7 for n in range(30)]


def test_each_spawned_generator_is_a_branch_of_its_own():
    told = Told(branches())
    told.complete("m0.b1.0", 50)

    [together] = told.story().methods[0].nodes

    assert isinstance(together, Together)
    first, second = together.nodes
    assert isinstance(first, Branch)
    assert isinstance(second, Branch)
    assert (first.path, second.path) == ("m0.b0", "m0.b1")
    assert [(node.label, node.status) for node in second.nodes if isinstance(node, Step)] == [
        ("Hotels.book", "completed"),
        ("charge", "waiting"),
    ]


# --- signals, methods, other instances ---


def test_a_signal_is_told_at_the_receive_that_took_it_whether_it_came_early_or_late():
    told = Told(Loyalty.run(3))
    told.signal("bonus", 5)
    told.signal("bonus", 6)

    assert [(step.status, step.value) for step in told.story().steps] == [
        ("completed", "5"),
        ("completed", "6"),
        ("waiting", "null"),
    ]

    early = Told(trip("Oslo"))
    early.signal("confirmed", "yes")
    early.complete("m0.0", 300)
    early.complete("m0.1", "receipt")

    taken = steps(early)["m0.2"]
    assert (taken.kind, taken.label, taken.value, taken.instant) == ("receive", "confirmed", '"yes"', True)


def test_signals_that_nobody_received_stay_listed():
    told = Told(trip("Oslo"))
    told.signal("confirmed", "yes")

    assert told.story().unreceived == (Signal("signal-1", "confirmed", told.json("yes")),)


def test_a_signal_is_told_at_the_receive_that_chose_it_also_after_a_retry(monkeypatch):
    told = Told(Desk.run())
    for number in (1, 200, 2):
        told.signal("papers", number)

    story = told.story()
    assert [(step.status, step.value, step.which) for step in story.steps] == [
        ("completed", "200", "int, where=Desk.large")
    ]
    assert [signal.value for signal in story.unreceived] == [told.json(1), told.json(2)]

    monkeypatch.setattr(Desk, "broken", False)
    told.retry()
    story = told.story()
    assert [(step.status, step.value) for step in story.steps] == [("completed", "200"), ("completed", "1")]
    assert [signal.value for signal in story.unreceived] == [told.json(2)]

    told = Told(Desk.run())
    told.signal("papers", 7)
    assert [(step.status, step.error and step.error.name) for step in told.story().steps] == [
        ("failed", "ZeroDivisionError")
    ]
    assert [signal.value for signal in told.story().unreceived] == [told.json(7)]


def test_a_signal_that_was_dropped_is_listed_as_such():
    told = Told(Desk.run())
    told.signal("rings", 1)

    assert told.story().dropped == (Signal("signal-1", "rings", told.json(1)),)
    assert told.story().unreceived == ()


def test_each_method_is_a_root_with_its_own_answer():
    told = Told(Loyalty.run(1))
    told.call("redeem", points=2)

    run, redeem = told.story().methods

    assert (run.name, run.status, run.arguments) == ("run", RUNNING, '{"weeks":1}')
    assert (redeem.name, redeem.call_id, redeem.arguments) == ("redeem", "call-1", '{"points":2}')
    assert (redeem.status, redeem.value, redeem.started, redeem.ended) == (COMPLETED, "true", at(1), at(1))


def test_inline_results_sent_signals_and_children_are_steps_too():
    told = Told(parent("visa"))
    told.answer("m0.2", "receipt")

    inline, signal, child = told.story().steps

    assert (inline.kind, inline.label, inline.value, inline.instant) == ("inline", "dice", "4", True)
    assert (signal.kind, signal.label, signal.value) == ("signal", "confirmed", '"yes"')
    assert signal.workflow_id == "trip-1"
    assert (child.kind, child.label, child.workflow_id) == ("child", "payment", "pay-1")
    assert (child.status, child.value, child.duration) == ("completed", '"receipt"', SECOND)


def test_a_failed_child_has_the_error_that_it_answered():
    told = Told(parent("stolen"))
    told.answer("m0.2", error=refused())

    child = steps(told)["m0.2"]

    assert child.error is not None
    assert (child.status, child.error.summary) == ("failed", "ConnectionError: no route to the bank")


# --- ends ---


def test_what_nobody_awaited_is_under_way_after_the_end_and_its_answer_comes_late():
    told = Told(careless())

    assert (told.story().status, told.story().late) == (COMPLETED, 1)
    assert (steps(told)["m0.0"].status, steps(told)["m0.0"].late) == ("waiting", True)

    told.complete("m0.0", "receipt")

    assert told.story().late == 0
    assert (steps(told)["m0.0"].status, steps(told)["m0.0"].late) == ("completed", True)


def test_a_cancellation_is_noted_and_cancels_what_was_under_way():
    told = Told(payment("visa"))
    told.cancel()

    story = told.story()

    assert story.status == CANCELLED
    assert [node for node in story.methods[0].nodes if isinstance(node, Note)] == [Note(at(1), 1, "cancel")]
    assert statuses(told) == {"m0.0": "cancelled"}


def test_a_run_that_took_too_long_is_timed_out():
    told = Told(payment("visa"), timeout=5 * SECOND)
    told.fire("timeout", after=5)

    story = told.story()

    assert (story.status, story.methods[0].status) == (FAILED, "timed_out")
    assert Note(at(5), 1, "timeout") in story.methods[0].nodes


def test_continue_as_new_names_the_run_that_follows():
    told = Told(monthly(1))
    told.fire("m0.0", after=30 * 86_400)

    story = told.story()

    assert (story.status, story.following) == (CONTINUED, story.steps[-1].run)
    assert (story.steps[-1].kind, story.steps[-1].arguments) == ("continue", '{"month":2}')


def test_a_former_run_is_told_by_its_turns_alone():
    told = Told(monthly(1))
    told.fire("m0.0", after=30 * 86_400)
    later = replace(told.record(), run="another", status=RUNNING, reason="of another run", turns=1)

    story = tell(later, told.turns)

    assert (story.run, story.status, story.reason, story.turns) == (RUN, CONTINUED, "", 2)
    assert [step.status for step in story.steps] == ["completed", "completed"]


def test_a_suspended_run_says_why_and_still_waits():
    story = Told(payment("visa")).story(reason="the code asks for something else")

    assert (story.status, story.reason) == ("suspended", "wf-1: the code asks for something else")
    assert story.steps[0].status == "waiting"


# --- retries by hand ---


def test_a_retry_by_hand_notes_the_failure_that_it_took_back_and_goes_on():
    told = Told(payment("stolen"))
    told.fail("m0.0", 1)
    told.retry()

    story = told.story()
    step, failed, retried = story.methods[0].nodes

    assert story.status == RUNNING
    assert isinstance(step, Step)
    assert (step.status, step.attempt, step.error) == ("waiting", 2, None)
    assert isinstance(failed, Note)
    assert isinstance(failed.error, ErrorValue)
    assert (failed.kind, failed.at, failed.error.name) == ("failed", at(1), "TaskFailed")
    assert retried == Note(at(2), 2, "retried")


def test_a_retried_run_that_completes_is_completed():
    told = Told(payment("stolen"))
    told.fail("m0.0", 1)
    told.retry()
    told.complete("m0.0", "receipt", attempt=2)

    story = told.story()

    assert (story.status, story.methods[0].status, story.methods[0].value) == (
        COMPLETED,
        COMPLETED,
        '"receipt"',
    )
    assert [attempt.status for attempt in story.steps[0].attempts] == ["failed", "completed"]


# --- the whole ---


def test_the_same_turns_tell_the_same_story():
    told = Told(trip("Oslo"), tags=("vip",), meta={"by": "ann"})
    told.complete("m0.0", 300)

    assert told.story() == told.story()
    assert told.story() != evolve(told.story(), turns=9)
    assert (told.story().tags, told.story().meta) == (("vip",), {"by": "ann"})


def test_a_record_older_than_the_turns_withdraws_nothing():
    told = Told(trip("Oslo"))
    older = told.record()
    told.complete("m0.0", 300)
    told.complete("m0.1", "receipt")

    story = tell(older, told.turns)

    assert [step.status for step in story.steps] == ["completed", "completed", "waiting", "waiting"]


def test_an_instance_whose_start_could_not_be_applied_says_why():
    record = StateRecord("trip", "trip-1", RUN, SUSPENDED, reason="no workflow named 'trip'", started=NINE)
    story = tell(record, [])

    assert (story.run, story.status, story.reason) == (RUN, SUSPENDED, "no workflow named 'trip'")
    assert (story.started, story.turns, story.methods) == (NINE, 0, ())


# --- tags ---


@workflow
def tagging() -> Flow[None]:
    yield from add_tags("vip", "new")
    yield from confirmed.by_tag("vip").send("all")
    dispatch(Loyalty.by_tag("vip").redeem(3))
    yield from confirmed.receive()


def test_tags_are_told_as_they_are_and_who_changed_them():
    told = Told(tagging(), tags=("old",))
    told.apply(TagsChanged("t", ("late",), ("new",)))
    story = told.story()
    former = tell(replace(told.record(), run="of another run"), told.turns)

    assert story.tags == former.tags == ("late", "old", "vip")
    assert [(one.kind, one.label, one.status, one.to_tag) for one in story.steps] == [
        ("tags", "+new, +vip", "completed", ""),
        ("signal", "confirmed", "completed", "vip"),
        ("call", "Loyalty.redeem", "completed", "vip"),
        ("receive", "confirmed", "waiting", ""),
    ]
    assert story.methods[0].nodes[-1] == Note(at(1), 1, "tags", text="+late, -new")
    for line in (
        "✔ tags +new, +vip",
        '✔ confirmed.send("all") · to all tagged vip',
        "✔ Loyalty.redeem(points=3) · to all tagged vip",
        "✔ tags +late, -new · from outside · ",
    ):
        assert line in told.picture(after=1)

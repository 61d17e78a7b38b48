"""Continue-as-new: the next run's start, and where a run cannot be continued."""

from typing import Any

from msgspec import Raw

from dsl import Channel, Flow, Workflow, continue_as_new, dispatch, method, sleep, spawn, workflow
from infinitic.events import Caller, Signal, Started
from infinitic.history import Cancellation, ContinueIssued, End
from infinitic.ids import derived_run
from tests.engine.driver import RUN, SECOND, Driver, drive
from tests.engine.given import amounts, child, count, step

PARENT = Caller("parent", "p-1", RUN, "m0.3")


WRONG: Any = 5


@workflow
def counting(number: int, last: int = 3) -> Flow[int]:
    dispatch(step("left open"))
    dispatch(sleep(99))
    dispatch(child("x"))
    yield from count(number)
    if number == last:
        return number
    return (yield from continue_as_new(counting(number + 1, last).options(tags=["new"], meta={"b": 2})))


class Shop(Workflow):
    orders = Channel(int)

    @method
    def run(self, day: int) -> Flow[None]:
        yield from sleep(1)
        yield from continue_as_new(Shop.run(day + 1))

    @method
    def other(self) -> Flow[None]:
        yield from sleep(5)

    @method
    def impatient(self) -> Flow[None]:
        yield from continue_as_new(Shop.run(1))


def test_the_next_run_gets_a_fresh_start_with_all_that_moves_over():
    run = Driver(counting(1), caller=PARENT, reply_to="client", tags=("old",), meta={"a": 1}, root="r", timeout=SECOND)
    run.signal("s1", "amounts", 5)
    run.signal("s2", "other", 6)
    run.complete("m0.3", 1)

    assert run.status == "continued"
    assert run.issued == (
        ContinueIssued(
            "m0.4",
            "counting",
            derived_run(RUN, "m0.4"),
            "",
            Raw(b'{"number":2,"last":3}'),
            {"tags": ["new"], "meta": {"b": 2}},
        ),
    )
    assert run.instance.draft.continued == Started(
        id=derived_run(RUN, "m0.4"),
        workflow="counting",
        run=derived_run(RUN, "m0.4"),
        arguments=Raw(b'{"number":2,"last":3}'),
        tags=("new",),
        meta={"a": 1, "b": 2},
        caller=PARENT,
        root="r",
        reply_to="client",
        timeout=SECOND,
        previous=RUN,
        first=RUN,
        began=SECOND,
        signals=(Signal("s1", "amounts", Raw(b"5")), Signal("s2", "other", Raw(b"6"))),
        senders=("s1", "s2"),
    )


def test_nobody_is_told_tasks_and_children_are_cancelled_and_timers_dropped():
    run = Driver(counting(1), caller=PARENT, reply_to="client")
    run.complete("m0.3", 1)

    assert run.sends == [Cancellation("m0.0"), Cancellation("m0.2")]
    assert run.instance.draft.timers_set == {}
    assert run.open == []
    assert run.turns[-1].end == End("continued")
    assert run.record.calls == ()


def test_the_next_run_goes_on_with_the_signals_and_knows_their_senders():
    def flow(n):
        first = yield from amounts.receive()
        return first, (yield from amounts.receive())

    started = {"signals": (Signal("s1", "amounts", Raw(b"5")),), "senders": ("s1",), "previous": RUN}
    run = drive(flow, 1, **started)

    assert run.record.buffered == {}
    assert run.signal("s1", "amounts", 5) is None
    run.signal("s2", "amounts", 6)
    assert run.result == [5, 6]


def test_a_run_that_follows_keeps_the_instant_of_the_first_when_it_is_retried():
    def flow(bug):
        @workflow(name="flow")
        def mended():
            if bug:
                raise ValueError("bug")
            yield from sleep(5)

        return mended()

    run = Driver(flow(bug=True), began=5)
    before = run.record.started
    run.retry(flow(bug=False))

    assert (before, run.record.started) == (5, 5)


def test_a_class_goes_on_with_the_method_and_a_new_object():
    run = Driver(Shop.run(1))
    run.fire("m0.0")

    following = run.instance.draft.continued
    assert (following.workflow, following.method, bytes(following.arguments)) == ("Shop", "run", b'{"day":2}')


def test_it_is_an_error_while_other_methods_run():
    run = Driver(Shop.run(1))
    run.call("c", "other")
    run.fire("m0.0")

    assert run.error.startswith("ProtocolError: continue_as_new() works in the run's first method only")


def test_it_is_an_error_in_another_method():
    run = Driver(Shop.run(1))
    run.call("c", "impatient")

    assert run.status == "running"
    assert run.sends[0].error.summary.startswith("ProtocolError: continue_as_new() works in the run's first method")


def test_it_is_an_error_in_a_branch():
    def branch():
        yield from continue_as_new(child("x"))

    @workflow(name="child")
    def flow() -> Flow[None]:
        yield from spawn(branch())

    assert Driver(flow()).error.startswith("ProtocolError: continue_as_new() works in the run's first method only")


def test_it_is_an_error_to_go_on_as_another_workflow():
    def flow():
        yield from continue_as_new(child("x"))

    assert drive(flow).error == "ProtocolError: continue_as_new() goes on as flow, not as child."


def test_arguments_that_cannot_be_sent_are_its_failure_on_record():
    @workflow(name="child")
    def flow(name: str) -> Flow[str]:
        try:
            yield from continue_as_new(flow(WRONG))
        except Exception as error:
            return f"{type(error).__name__} {(yield from step('a'))}"
        return ""

    run = Driver(flow("x"))
    assert run.issued[0].failure.name == "DecodeError"
    run.complete("m0.1", "after")

    assert run.result == "DecodeError after"


def test_its_cleanup_has_no_effect():
    seen: list[int] = []

    @workflow(name="child")
    def flow(name: str) -> Flow[None]:
        try:
            yield from continue_as_new(flow("y"))
        finally:
            seen.append(1)
            yield from step("never")

    run = Driver(flow("x"))

    assert run.positions == ["m0.0"]
    assert seen
    assert run.status == "continued"


def test_other_arguments_on_replay_diverge():
    @workflow(name="counting")
    def today(number: int, last: int = 3) -> Flow[int]:
        return (yield from continue_as_new(counting(number + 2, last)))

    @workflow(name="counting")
    def then(number: int, last: int = 3) -> Flow[int]:
        return (yield from continue_as_new(counting(number + 1, last)))

    error = Driver(then(1)).diverges(today)

    assert (error.recorded, error.replayed) == (
        'continue_as_new counting({"number":2,"last":3})',
        "continue_as_new(counting(number=3, last=3))",
    )

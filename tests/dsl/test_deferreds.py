"""Dispatching without waiting, and branches."""

from typing import Any

import pytest

from dsl import OutsideWorkflow, Workflow, dispatch, query, sleep, spawn, task
from dsl.deferreds import Deferred
from tests.dsl.conftest import Kept, Record


@task
def a(n: int = 1) -> int:
    return n


class Loyalty(Workflow):
    @query
    def balance(self) -> int:
        return 0


def flow():
    yield from sleep(1)


async def coroutine(): ...


def test_dispatch_issues_at_once_and_gives_a_deferred(context: Record):
    begun = dispatch(a(5))

    assert context.issued == [a(5)]
    assert begun.slot == Kept("m0.0")
    assert (begun.status(), begun.done(), repr(begun)) == ("running", False, "<deferred m0.0 (a) running>")


def test_a_deferred_shows_how_it_stands(context: Record):
    begun = Deferred[int](Kept("m0.0", "completed"))

    assert (begun.status(), begun.done()) == ("completed", True)


def test_cancelling_tells_the_engine(context: Record):
    begun = dispatch(a(5))
    begun.cancel()

    assert context.cancelled == [begun.slot]


def test_dispatching_a_deferred_gives_it_back(context: Record):
    begun = dispatch(a(5))

    assert dispatch(begun) is begun
    assert context.issued == [a(5)]


def test_deferreds_are_told_apart_by_identity(context: Record):
    one, two = dispatch(a(5)), dispatch(a(5))

    assert one == one  # noqa: PLR0124  # that is the claim
    assert one != Deferred(one.slot)
    assert len({one, two}) == 2


def test_spawn_hands_over_a_generator_or_a_coroutine(context: Record):
    running, coming = flow(), coroutine()

    assert [repr(spawn(running)), repr(spawn(coming))] == [
        "<deferred m0.b0 (a) running>",
        "<deferred m0.b1 (a) running>",
    ]
    assert context.spawned == [running, coming]
    coming.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            flow,
            "dispatch() takes a command; run a generator or coroutine beside this one with spawn()",
        ),
        (lambda: a, "dispatch() takes a command such as a task call, not a"),
        (lambda: 5, "dispatch() takes a command such as a task call, not 5"),
        (lambda: [a(1)], "dispatch() takes a command such as a task call, not [a(n=1)]"),
        (
            lambda: Loyalty.by_id("ada").balance(),
            "dispatch() takes a command such as a task call, not Loyalty.balance(…)",
        ),
    ],
)
def test_dispatch_takes_commands(context: Record, wrong, message):
    with pytest.raises(TypeError) as caught:
        dispatch(wrong())

    assert (str(caught.value), context.issued) == (message, [])


def test_spawn_takes_flows(context: Record):
    wrongs: list[tuple[Any, str]] = [
        (a(1), "spawn() takes a generator or coroutine; a(n=1) is a command: use dispatch()"),
        (5, "spawn() takes a generator or coroutine, not 5: call the function, as in spawn(f(x))"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(TypeError) as caught:
            spawn(wrong)
        assert str(caught.value) == message
    assert context.spawned == []


def test_both_work_inside_a_workflow_only():
    running = flow()
    for use in (lambda: dispatch(a(1)), lambda: spawn(running)):
        with pytest.raises(OutsideWorkflow):
            use()


def test_a_deferred_is_cancelled_inside_a_workflow_only():
    with pytest.raises(OutsideWorkflow, match=r"^Deferred.cancel\(\) works only"):
        Deferred(Kept("m0.0")).cancel()

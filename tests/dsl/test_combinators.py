"""What combinators build, and what they refuse."""

import pytest

from dsl import Outcome, dispatch, first, gather, race, settle, sleep, task, timeout
from dsl.combinators import First, Gather, Race, Settle, Timeout
from dsl.commands import described
from dsl.timers import Timer


@task
def a(n: int = 1) -> int:
    return n


def flow():
    yield from sleep(1)


async def coroutine(): ...


def test_each_combinator_holds_its_items_in_order():
    assert gather(a(1), a(2)) == Gather((a(1), a(2)))
    assert first(a(1), a(2)) == First((a(1), a(2)))
    assert settle(a(1), a(2)) == Settle((a(1), a(2)))
    assert race(one=a(1), late=sleep(5)) == Race((a(1), sleep(5)), names=("one", "late"))
    assert timeout(a(1), 5) == Timeout((a(1), Timer(delay=5_000_000)))


def test_items_are_commands_deferreds_generators_and_coroutines(context):
    begun, running, coming = dispatch(a(1)), flow(), coroutine()
    items = (a(1), begun, running, coming, gather(a(1), a(2)))

    assert gather(*items) == Gather(items)
    coming.close()


def test_gather_and_settle_of_nothing_are_there():
    assert (gather(), settle()) == (Gather(()), Settle(()))


@pytest.mark.parametrize("empty", [first, race])
def test_the_first_of_nothing_is_refused(empty):
    with pytest.raises(ValueError, match=rf"^{empty.__name__}\(\) of nothing would wait for ever"):
        empty()


@pytest.mark.parametrize("combine", [gather, first, settle])
def test_a_list_is_refused_with_the_star_that_is_missing(combine):
    name = combine.__name__
    with pytest.raises(TypeError) as caught:
        combine([a(1)])

    assert str(caught.value) == (
        f"{name} takes commands, deferreds, generators and coroutines, not [a(n=1)]: write {name}(*items)"
    )


@pytest.mark.parametrize("wrong", [5, None, a, flow, "x"])
@pytest.mark.parametrize(
    "combine",
    [
        lambda x: gather(a(1), x),
        first,
        lambda x: settle(a(1), x),
        lambda x: race(one=x),
        lambda x: timeout(x, 5),
    ],
)
def test_what_cannot_be_waited_for_is_refused(combine, wrong):
    with pytest.raises(TypeError, match="takes commands, deferreds, generators and coroutines, not "):
        combine(wrong)


@pytest.mark.parametrize("seconds", ["5", None, True])
def test_a_timeout_is_a_duration(seconds):
    with pytest.raises(TypeError, match=r"^timeout\(\) takes seconds or a timedelta, not "):
        timeout(a(1), seconds)


def test_a_combinator_has_a_label():
    assert [described(one) for one in (gather(a(1), a(2)), race(x=a(1)), timeout(a(1), 1))] == [
        "gather(2 items)",
        "race(1 items)",
        "timeout(2 items)",
    ]


def test_an_outcome_is_ok_with_its_value():
    outcome = Outcome(5)

    assert (outcome.ok, outcome.value, outcome.error, repr(outcome)) == (True, 5, None, "Outcome(5)")
    assert Outcome(None).ok


def test_an_outcome_with_an_error_raises_it_when_its_value_is_asked_for():
    error = ValueError("no")
    outcome = Outcome[int](error=error)

    assert (outcome.ok, outcome.error) == (False, error)
    assert repr(outcome) == "Outcome(error=ValueError('no'))"
    with pytest.raises(ValueError, match=r"^no$") as caught:
        _ = outcome.value
    assert caught.value is error


def test_outcomes_are_equal_by_value_and_by_what_the_error_says():
    assert Outcome(5) == Outcome(5)
    assert Outcome(5) != Outcome(6)
    assert Outcome(error=ValueError("no")) == Outcome(error=ValueError("no"))
    assert Outcome(error=ValueError("no")) != Outcome(error=KeyError("no"))
    assert Outcome(None) != Outcome(error=ValueError("no"))
    assert Outcome(5) != 5

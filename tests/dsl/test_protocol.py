"""What workflow code may yield and return, and what it is told to write instead."""

import asyncio
from datetime import timedelta

import pytest

from dsl import Workflow, method, query, sleep, task, workflow
from dsl.protocol import is_flow, misuse, wrong_return, wrong_yield


@task
def charge(card: str) -> None: ...


@workflow
def trip(city: str): ...


class Loyalty(Workflow):
    @method
    def run(self) -> None: ...

    @query
    def balance(self) -> int:
        return 0


def generator():
    yield from sleep(1)


async def coroutine(): ...


async def asynchronous():
    yield 5


GATHER = "To wait for several commands write `yield from gather(*commands)`."
TIME = "To wait for some time write `yield from sleep(seconds)`."
NO_LOOP = "Workflow code runs on no event loop: use infinitic's `sleep`, `gather` and `race`, or do it in a task."
OTHER = "Yield a call, `sleep(…)`, `channel.receive()`, a deferred or a combinator; `return` a value."

YIELDED = [
    ([charge("1")], GATHER),
    ((), GATHER),
    ({1}, GATHER),
    (
        {"a": charge("1")},
        "To wait for the first of several commands by name write `yield from race(**commands)`.",
    ),
    (None, "A bare `yield` waits for nothing: leave it out, or write `yield from sleep(0)`."),
    (5, TIME),
    (0.5, TIME),
    (True, TIME),
    (timedelta(1), TIME),
    (
        Loyalty.by_id("ada").balance(),
        "Queries are for clients: client.run(Loyalty.balance(…)). A workflow can call a @method instead.",
    ),
    (charge, "Call it: `yield from charge(…)`."),
    (trip, "Call it: `yield from trip(…)`."),
    (Loyalty.run, "Call it: `yield from Loyalty.run(…)`."),
    (
        asynchronous(),
        "That is an async generator. Write it as a generator (`def … yield from …`) or as a coroutine "
        "(`async def … await …`), not as `async def` with `yield`.",
    ),
    (generator, "To run a function once and record its result write `yield from inline(fn, …)`."),
    ("text", OTHER),
    (object(), OTHER),
]


@pytest.mark.parametrize(("value", "advice"), YIELDED, ids=[type(value).__name__ for value, _ in YIELDED])
def test_a_wrong_yield_is_told_what_to_write_instead(value, advice):
    message = str(wrong_yield(value, "trips.py:5: yield x"))

    assert message.startswith("trips.py:5: yield x yields ")
    assert message.endswith(f", which is no command. {advice}")


def test_a_future_is_told_of_the_event_loop_that_is_not_there():
    loop = asyncio.new_event_loop()
    message = str(wrong_yield(loop.create_future(), "here"))
    loop.close()

    assert message.endswith(NO_LOOP)


def test_a_wrong_yield_is_shown_shortened():
    assert str(wrong_yield("x" * 99, "here")) == f"here yields '{'x' * 58}…, which is no command. {OTHER}"


def test_a_returned_command_is_a_forgotten_yield_from():
    assert str(wrong_return(charge("1"), "trip")) == (
        "trip returned charge(card='1'), a command that nothing waits for. "
        "Write `return (yield from …)` to return its answer."
    )


def test_a_returned_query_and_a_returned_async_generator_are_wrong():
    assert str(wrong_return(Loyalty.by_id("ada").balance(), "trip")) == (
        "trip returned a query; queries are for clients: client.run(Loyalty.balance(…))"
    )
    assert str(wrong_return(asynchronous(), "trip")).startswith("trip is an async generator. Write it as a generator")


@pytest.mark.parametrize("value", [None, 5, "x", [1], charge])
def test_any_other_return_is_right(value):
    assert wrong_return(value, "trip") is None


def test_generators_and_coroutines_are_flows():
    coming = coroutine()

    assert [is_flow(x) for x in (generator(), coming, charge("1"), "x", generator, asynchronous())] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    coming.close()


def caught(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_for_want_of_an_event_loop_says_what_to_write_instead():
    error = RuntimeError("no running event loop")

    assert str(misuse(error)) == f"no running event loop. {NO_LOOP}"
    assert misuse(error).__cause__ is error


def test_an_attribute_of_a_command_says_that_its_answer_is_missing():
    error = caught(lambda: sleep(5).upper())

    assert str(misuse(error)) == (
        "'Timer' object has no attribute 'upper'. "
        "sleep(5 s) only describes a call: write `yield from` before it to get its answer."
    )


def test_yield_from_a_list_is_told_of_gather():
    def flow():
        yield from [sleep(1), sleep(2)]

    running = flow()
    next(running)

    assert "gather(*commands)" in str(misuse(caught(lambda: running.send(5))))


def test_other_errors_are_the_users_own():
    for error in (RuntimeError("other"), ValueError("event loop"), caught(lambda: "".nothing)):
        assert misuse(error) is None

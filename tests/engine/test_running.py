"""Running: one command after another, what may be yielded and returned, and what may not."""

from typing import Any

import pytest

from dsl import (
    Cancelled,
    ProtocolError,
    Query,
    continue_as_new,
    dispatch,
    first,
    gather,
    sleep,
    spawn,
    timeout,
    workflow,
)
from dsl.combinators import Combinator
from infinitic.engine.alone import EncodedTask
from infinitic.engine.joins import RULES
from infinitic.engine.running import ISSUE
from tests.engine.driver import drive
from tests.engine.given import Loyalty, child, count, step


def test_tasks_run_one_after_another():
    def flow():
        a = yield from step("a")
        b = yield from step(a)
        return a, b

    run = drive(flow)
    assert run.positions == ["m0.0"]
    run.complete("m0.0", "b")
    assert [(one.position, bytes(one.arguments)) for one in run.issued] == [("m0.1", b'{"name":"b"}')]
    run.complete("m0.1", "c")

    assert run.result == ["b", "c"]


def test_a_plain_yield_gives_the_answer_too():
    def flow():
        return (yield step("a")), (yield gather(step("b"), sleep(0)))

    run = drive(flow)
    run.complete("m0.0", 1)
    run.complete("m0.1", 2)

    assert run.result == [1, [2, None]]


def test_an_async_workflow_awaits_commands_deferreds_combinators_and_coroutines():
    async def helper(name):
        return await step(name)

    async def flow():
        asked = dispatch(step("a"))
        b = await helper("b")
        a, c = await gather(asked, helper("c"))
        other = spawn(helper("d"))
        return a, b, c, await other

    run = drive(flow)
    for position in ("m0.1", "m0.0", "m0.b2.0", "m0.b3.0"):
        run.complete(position, position)

    assert run.result == ["m0.0", "m0.1", "m0.b2.0", "m0.b3.0"]


def test_a_plain_function_is_a_workflow_that_completes_at_once():
    def flow():
        dispatch(step("sent all the same"))
        return 5

    run = drive(flow)

    assert (run.result, run.positions, run.open) == (5, ["m0.0"], ["m0.0"])


@pytest.mark.parametrize("wrapped", [lambda flow: flow, lambda flow: (one for one in [flow]).send(None)])
def test_a_returned_generator_or_coroutine_is_driven(wrapped):
    async def inner():
        return await step("a")

    def middle():
        yield from sleep(0)
        return inner()

    def flow():
        return wrapped(middle())

    run = drive(flow)
    run.complete("m0.1", "a")

    assert run.result == "a"


def raising(error):
    def flow():
        yield from step("a")
        raise error()

    return flow


def test_whatever_workflow_code_raises_fails_its_run():
    class Unheard(BaseException):
        """Of no known kind."""

    for error in (ValueError, RecursionError, SystemExit, GeneratorExit, StopIteration):
        run = drive(raising(error))
        run.complete("m0.0")
        assert run.status == "failed"

    run = drive(raising(Unheard))
    with pytest.raises(Unheard):  # not the workflow's: the worker's own
        run.complete("m0.0")


def test_raising_cancelled_is_being_cancelled():
    run = drive(raising(Cancelled))
    run.complete("m0.0")

    assert run.status == "cancelled"


# --- what must not be yielded ---


def wrongly(value):
    def flow():
        try:
            yield value()
        except Exception:
            return "swallowed"

    return flow


def query_of_an_instance() -> Query[int]:
    return Loyalty.by_id("ada").balance()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (lambda: [step("a")], "yield from gather(*commands)"),
        (lambda: {"a": step("a")}, "yield from race(**commands)"),
        (lambda: None, "A bare `yield` waits for nothing"),
        (lambda: 5, "yield from sleep(seconds)"),
        (lambda: print, "yield from inline(fn, …)"),
        (object, "Yield a call"),
        (lambda: step, "Call it: `yield from step(…)`"),
        (lambda: Loyalty.redeem, "Call it: `yield from Loyalty.redeem(…)`"),
        (query_of_an_instance, "client.run(Loyalty.balance(…))"),
    ],
)
def test_a_wrong_yield_fails_the_run_says_where_and_what_to_write_and_cannot_be_swallowed(value, says):
    run = drive(wrongly(value))
    line = wrongly.__code__.co_firstlineno + 3

    assert run.error.startswith(f"ProtocolError: {__file__}:{line} yields ")
    assert says in run.error


def test_a_wrong_yield_names_its_source_line():
    run = drive(wrongly(lambda: 5))
    run.surroundings.source = lambda file, line: "yield value()"
    again = drive(wrongly(lambda: 5), surroundings=run.surroundings)

    assert ": `yield value()` yields 5" in again.error


def test_code_that_goes_on_after_a_wrong_yield_is_closed():
    seen = []

    def flow():
        while True:
            try:
                yield 5
            except Exception:
                seen.append("caught")
            finally:
                dispatch(step("a")) if seen else None

    run = drive(flow)

    assert run.error.startswith("ProtocolError: ")


def test_a_wrong_yield_in_a_branch_fails_the_run_whatever_its_method_waits_for():
    def broken():
        yield from step("a")
        yield 5

    def flow():
        try:
            spawn(broken())
            yield from sleep(50)
        except Exception:
            return (yield from step("swallowed"))

    run = drive(flow)
    run.complete("m0.b0.0")

    assert run.error.startswith("ProtocolError: ")
    assert run.record.waits == ()


def test_a_wrong_yield_in_a_branch_that_runs_just_now_fails_its_method_at_its_next_yield():
    def broken():
        yield 5

    def flow():
        spawn(broken())
        yield from step("never sent")

    run = drive(flow)

    assert run.error.startswith("ProtocolError: ")
    assert run.positions == []


def test_a_wrong_yield_in_a_branch_fails_a_method_that_returns_all_the_same():
    def broken():
        yield 5

    def flow():
        spawn(broken())
        yield from ()
        return "fine"

    assert drive(flow).error.startswith("ProtocolError: ")


def test_continue_as_new_is_yielded_by_itself():
    told = []

    def flow():
        try:
            dispatch(continue_as_new(child("x")))
        except ProtocolError as error:
            told.append(str(error))
        yield from gather(sleep(1), continue_as_new(child("x")))

    run = drive(flow)

    assert (
        run.error
        == f"ProtocolError: {told[0]}"
        == (
            "ProtocolError: continue_as_new(child(name='x')) ends the run: "
            "write `yield from continue_as_new(child(name='x'))`, by itself."
        )
    )


def test_asyncio_in_a_workflow_is_answered_with_a_hint():
    import asyncio

    async def flow():
        await asyncio.sleep(1)

    run = drive(flow)

    assert run.error.startswith("ProtocolError: no running event loop. ")


def test_attributes_of_a_command_are_answered_with_a_hint():
    def flow():
        yield from ()
        asked: Any = step("a")
        return asked.price

    assert "only describes a call: write `yield from` before it" in drive(flow).error


# --- what must not be returned ---


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (lambda: step("a"), "flow returned step(name='a'), a command that nothing waits for."),
        (lambda: dispatch(step("a")), "flow returned deferred m0.0 (step), a command that nothing waits for."),
        (query_of_an_instance, "flow returned a query"),
    ],
)
def test_a_returned_command_fails_the_run(value, says):
    def flow():
        return value()

    assert drive(flow).error.startswith(f"ProtocolError: {says}")


def test_a_result_that_json_cannot_hold_fails_the_run():
    def flow():
        yield from step("a")
        return object()

    run = drive(flow)
    run.complete("m0.0")

    assert run.error.startswith("EncodeError: a value of type object cannot be sent")


def test_a_type_hint_that_cannot_be_resolved_fails_the_run_by_name():
    from dsl import task

    @task
    def unresolved(x: "NotThere") -> None:  # type: ignore[name-defined]  # noqa: F821  # the point
        raise NotImplementedError

    def flow():
        asked: Any = unresolved(1)
        yield from asked

    assert "NotThere" in drive(flow).error


# --- the tables ---


def test_every_command_that_can_be_yielded_is_issued_somehow():
    from dsl import calls, channels, deferreds, inlines, tags, timers

    simple = {calls.TaskCall, calls.StartCall, calls.MethodCall, calls.Send, channels.Receive}
    simple |= {timers.Timer, inlines.Inline, deferreds.Deferred, EncodedTask, tags.ChangeTags}

    assert set(RULES) == set(Combinator.__subclasses__())
    assert set(ISSUE) == simple | set(RULES)


def test_waiting_for_the_same_turn_s_answer_costs_no_turn():
    def flow():
        yield from gather(sleep(0), sleep(-5))
        yield from timeout(sleep(0), 1)
        yield from first(sleep(0), step("a"))

    run = drive(flow)

    assert run.status == "completed"
    assert len(run.turns) == 1


def test_a_deep_chain_of_helpers_runs():
    def deep(n):
        return (yield from deep(n - 1)) if n else (yield from count(1))

    @workflow
    def flow():
        return (yield from deep(50))

    run = drive(flow.fn)
    run.complete("m0.0", 7)

    assert run.result == 7
    assert run.record.waits == ()

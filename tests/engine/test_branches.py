"""Branches: spawned flows, their cancellation, their cleanup, compensations; stacks."""

import gc
import warnings
from typing import Any

import pytest

from dsl import Cancelled, compensations, dispatch, gather, race, sleep, spawn, timeout
from infinitic.engine import turns
from infinitic.engine.branches import chain_of, is_fresh, raised_stack, stack_of
from infinitic.history import Cancellation
from tests.engine.driver import drive
from tests.engine.given import child, confirmed, step


def slowly(name="a", cleanup=None):
    try:
        return (yield from step(name))
    finally:
        if cleanup is not None:
            yield from step(cleanup)


# --- spawn ---


def test_a_branch_runs_at_once_and_its_positions_are_its_own():
    def flow():
        one, other = spawn(slowly("a")), spawn(slowly("b"))
        c = yield from step("c")
        return c, (yield from one & other)

    run = drive(flow)

    assert run.positions == ["m0.b0.0", "m0.b1.0", "m0.2"]
    run.complete("m0.b1.0", "b")
    run.complete("m0.2", "c")
    run.complete("m0.b0.0", "a")
    assert run.result == ["c", ["a", "b"]]


def test_branches_of_branches_are_counted_inside_their_own():
    def outer():
        return (yield from gather(slowly("a"), slowly("b")))

    def flow():
        return (yield from spawn(outer()))

    run = drive(flow)

    assert run.positions == ["m0.b0.b0.0", "m0.b0.b1.0"]


def test_a_branch_can_be_a_coroutine_and_fail_with_its_own_error():
    async def fails():
        await step("a")
        raise ValueError("from the branch")

    def flow():
        broken = spawn(fails())
        try:
            yield from broken
        except ValueError as error:
            return str(error), broken.status()

    run = drive(flow)
    run.complete("m0.b0.0")

    assert run.result == ["from the branch", "failed"]


def test_a_branch_that_nobody_awaits_fails_nothing_and_is_told_when_the_run_ends():
    def fails():
        yield from step("a")
        raise ValueError("nobody looks")

    def flow():
        spawn(fails())
        yield from step("b")

    run = drive(flow)
    run.complete("m0.b0.0")
    assert run.instance.draft.unawaited == ()
    run.complete("m0.1")

    assert run.status == "completed"
    assert [(at, str(error)) for at, error in run.instance.draft.unawaited] == [("m0.b0", "nobody looks")]


def test_a_failure_that_somebody_looks_at_in_the_end_is_not_told():
    def flow():
        asked = dispatch(step("a"))
        yield from sleep(1)
        try:
            yield from asked
        except Exception:
            yield from step("b")

    run = drive(flow)
    run.fail("m0.0", ValueError("a"))
    run.fire("m0.1")
    run.complete("m0.2")

    assert run.status == "completed"
    assert run.instance.draft.unawaited == ()


def test_a_flow_that_has_been_started_cannot_be_spawned():
    def flow():
        once = slowly()
        spawn(once)
        try:
            spawn(once)
        except Exception as error:
            yield from step(type(error).__name__)
            return "runs already or is over" in str(error)

    run = drive(flow)
    run.complete("m0.1")

    assert run.result is True


def test_a_branch_still_runs_when_the_run_ends_then_it_is_dropped():
    seen = []

    def lingering():
        try:
            yield from step("a")
        finally:
            seen.append("closed")
            yield from step("never")

    def flow():
        spawn(lingering())
        return (yield from step("b"))

    run = drive(flow)
    seen.clear()
    run.complete("m0.1", "b")

    assert run.result == "b"
    assert run.open == ["m0.b0.0"]
    assert "closed" in seen


# --- cancelling a branch ---


def cancelled_while(waiting, after=None):
    """A flow that cancels a branch which waits for *waiting*, and tells what became of it."""

    def branch():
        try:
            yield from waiting()
        except Exception:
            return "swallowed"
        finally:
            if after is not None:
                yield from after()

    def flow():
        other = spawn(branch())
        yield from step("go")
        other.cancel()
        try:
            yield from other
        except Exception as error:
            return repr(error), other.status()

    return flow


def test_a_cancelled_branch_gets_cancelled_at_its_yield_and_except_exception_does_not_swallow_it():
    run = drive(cancelled_while(lambda: step("a")))

    run.complete("m0.1")

    assert run.sends == [Cancellation("m0.b0.0")]
    assert run.result == ["BranchCancelled('m0.b0')", "cancelled"]


def test_what_a_cancelled_branch_waits_for_is_cancelled_with_it():
    waiting = lambda: gather(step("a"), sleep(9), confirmed.receive(), slowly("b"), child("c"))  # noqa: E731
    run = drive(cancelled_while(waiting))

    run.complete("m0.1")

    assert run.sends == [Cancellation(at) for at in ("m0.b0.0", "m0.b0.b3.0", "m0.b0.4")]
    assert run.result == ["BranchCancelled('m0.b0')", "cancelled"]
    assert run.open == ["m0.b0.4"]


def test_a_deferred_that_a_cancelled_branch_waits_for_stays_open():
    def flow():
        asked = dispatch(step("a"))

        def branch():
            yield from asked

        other = spawn(branch())
        yield from step("go")
        other.cancel()
        return (yield from asked)

    run = drive(flow)
    run.complete("m0.2")
    assert run.sends == []
    run.complete("m0.0", "a")

    assert run.result == "a"


def test_cleanup_in_finally_may_yield_commands():
    run = drive(cancelled_while(lambda: step("a"), after=lambda: step("cleanup")))

    run.complete("m0.1")
    assert run.positions == ["m0.b0.1"]
    run.complete("m0.b0.1")

    assert run.result == ["BranchCancelled('m0.b0')", "cancelled"]


def test_the_method_settles_only_after_the_cleanup_of_the_branches_it_cancelled():
    def flow():
        name, _ = yield from race(a=slowly("a", cleanup="a is undone"), b=step("b"))
        return name

    run = drive(flow)
    run.complete("m0.1", "b")
    assert run.status == "running"
    assert run.positions == ["m0.b0.1"]
    run.complete("m0.b0.1")

    assert run.result == "b"


def test_a_branch_is_cancelled_while_it_executes_at_its_next_yield():
    def flow():
        holder: list[Any] = []

        def branch():
            yield from step("a")
            holder[0].cancel()
            try:
                yield from step("never asked for")
            except Cancelled:
                return "caught"

        holder.append(spawn(branch()))
        return (yield from holder[0])

    run = drive(flow)
    run.complete("m0.b0.0")

    assert run.result == "caught"
    assert run.positions == []


def test_a_branch_that_its_own_child_cancels_is_cancelled_at_once():
    def flow():
        holder: list[Any] = []

        def inner():
            holder[0].cancel()
            yield from step("inner")

        def branch():
            yield from step("a")
            yield from gather(inner(), sleep(50))

        holder.append(spawn(branch()))
        try:
            yield from holder[0]
        except Exception as error:
            return repr(error)

    run = drive(flow)
    run.complete("m0.b0.0")

    assert run.sends == [Cancellation("m0.b0.b1.0")]
    assert run.result == "BranchCancelled('m0.b0')"


def test_cancelling_a_branch_whose_answer_came_in_the_same_turn_still_cancels_it():
    def flow():
        asked = dispatch(step("a"))
        seen = []

        def first():
            yield from asked
            other.cancel()

        def second():
            try:
                yield from asked
                seen.append("answered")
            except Cancelled:
                seen.append("cancelled")

        spawn(first())
        other = spawn(second())
        yield from sleep(1)
        return seen

    run = drive(flow)
    run.complete("m0.0")
    run.fire("m0.3")

    assert run.result == ["cancelled"]


def test_cancelling_what_has_ended_does_nothing():
    def flow():
        other, asked, timer = spawn(slowly()), dispatch(step("b")), dispatch(sleep(1))
        yield from gather(other, asked, timer)
        for one in (other, asked, timer):
            one.cancel()
        return other.status(), asked.status(), timer.status()

    run = drive(flow)
    run.complete("m0.b0.0")
    run.complete("m0.1")
    run.fire("m0.2")

    assert run.result == ["completed"] * 3
    assert run.sends == []


def test_deferreds_of_all_kinds_can_be_cancelled():
    def flow():
        everything = [dispatch(one) for one in (step("a"), sleep(9), confirmed.receive(), child("x"))]
        yield from step("go")
        for one in everything:
            one.cancel()
        return [one.status() for one in everything]

    run = drive(flow)
    run.complete("m0.4")

    assert run.sends == [Cancellation("m0.0"), Cancellation("m0.3")]
    assert run.result == ["cancelled", "cancelled", "cancelled", "running"]


def test_a_branch_may_swallow_its_cancellation_and_answer():
    def stubborn():
        try:
            yield from step("a")
        except Cancelled:
            return "as I like"

    def flow():
        other = spawn(stubborn())
        yield from step("go")
        other.cancel()
        return (yield from other), other.status()

    run = drive(flow)
    run.complete("m0.1")

    assert run.result == ["as I like", "completed"]


# --- compensations ---


def trip(fails_with=None, waits=None):
    with compensations() as undo:
        yield from step("book hotel")
        undo(step("cancel hotel"))
        yield from step("book car")
        undo(step("cancel car"))
        if waits is not None:
            yield from waits()
        if fails_with is not None:
            raise ValueError(fails_with)


def test_undos_run_last_first_and_the_method_fails_only_after_them():
    run = drive(trip, "no money")
    run.complete("m0.0")
    run.complete("m0.1")

    assert [bytes(one.arguments) for one in run.issued] == [b'{"name":"cancel car"}']
    run.complete("m0.b2.0")
    assert run.status == "running"
    assert [bytes(one.arguments) for one in run.issued] == [b'{"name":"cancel hotel"}']
    run.complete("m0.b2.1")

    assert run.error == "ValueError: no money"


def test_a_block_that_ends_well_undoes_nothing():
    run = drive(trip)
    run.complete("m0.0")
    run.complete("m0.1")

    assert run.status == "completed"
    assert run.positions == []


def test_an_undo_that_fails_becomes_a_note_and_the_others_still_run():
    run = drive(trip, "no money")
    run.complete("m0.0")
    run.complete("m0.1")
    run.fail("m0.b2.0", OSError("garage closed"))
    run.complete("m0.b2.1")

    assert run.error == "ValueError: no money"
    assert run.instance.end.error.notes == (
        "while undoing, step(name='cancel car') failed: step failed: OSError: garage closed",
    )


def test_a_cancelled_run_undoes_too_and_its_undos_are_not_cancelled():
    run = drive(trip, None, lambda: sleep(99))
    run.complete("m0.0")
    run.complete("m0.1")

    run.cancel()
    assert run.positions == ["m0.b3.0"]
    assert run.cancel("again") is None
    run.complete("m0.b3.0")
    run.complete("m0.b3.1")

    assert run.status == "cancelled"


def test_what_undos_run_beside_themselves_is_not_cancelled_either():
    def flow():
        with compensations() as undo:
            undo(gather(slowly("a"), slowly("b")))
            yield from step("book")
            raise ValueError("no")

    run = drive(flow)
    run.complete("m0.0")
    assert run.positions == ["m0.b1.b0.0", "m0.b1.b1.0"]
    run.cancel()
    assert run.sends == []
    run.complete("m0.b1.b0.0")
    run.complete("m0.b1.b1.0")

    assert run.error == "ValueError: no"


def test_the_method_waits_for_the_undos_of_its_branches():
    def flow():
        yield from gather(trip("no"), step("b"))

    run = drive(flow)
    run.complete("m0.b0.0")
    run.complete("m0.b0.1")
    assert run.positions == ["m0.b0.b2.0"]
    run.cancel()
    assert run.status == "running"
    run.complete("m0.b0.b2.0")
    run.complete("m0.b0.b2.1")

    assert run.status == "cancelled"


def test_a_branch_settles_only_after_its_undos():
    def flow():
        try:
            yield from spawn(trip("no"))
        except ValueError as error:
            return str(error), (yield from step("after"))

    run = drive(flow)
    run.complete("m0.b0.0")
    run.complete("m0.b0.1")
    run.complete("m0.b0.b2.0")
    run.complete("m0.b0.b2.1")
    assert run.positions == ["m0.1"]
    run.complete("m0.1", "later")

    assert run.result == ["no", "later"]


def test_undos_that_end_at_once_do_not_hold_anybody():
    def flow():
        with compensations() as undo:
            undo(sleep(0))
            yield from ()
            raise ValueError("no")

    run = drive(flow)

    assert run.error == "ValueError: no"


# --- eviction ---


@pytest.fixture
def nothing_is_printed(capsys):
    yield
    gc.collect()
    assert capsys.readouterr() == ("", "")


SEEN: list[str] = []


def yields_in_cleanup():
    try:
        try:
            yield from step("a")
        finally:
            SEEN.append("inner")
            yield from step("inner cleanup")
    finally:
        SEEN.append("outer")
        yield from sleep(1)


def delegates():
    try:
        yield from yields_in_cleanup()
    finally:
        yield from yields_in_cleanup()


async def awaits_in_cleanup():
    try:
        await step("a")
    finally:
        await gather(step("d"), awaits_in_cleanup())


async def awaits_deeper():
    try:
        await awaits_in_cleanup()
    finally:
        await awaits_in_cleanup()


def raises_in_cleanup():
    try:
        yield from timeout(step("a"), 5)
    finally:
        raise ValueError("in cleanup")


def asks_in_cleanup():
    try:
        yield from step("a")
    finally:
        for ask in (lambda: dispatch(gather(awaits_in_cleanup())), lambda: spawn(awaits_in_cleanup())):
            try:
                ask()
            except Exception as error:
                SEEN.append(type(error).__name__)


def stubborn():
    while True:
        try:
            yield from step("a")
        except BaseException:
            if len(SEEN) > 50:
                raise
            SEEN.append("stubborn")


def compensates_in_cleanup():
    with compensations() as undo:
        undo(step("never"))
        try:
            yield from step("a")
        finally:
            raise ValueError("in cleanup")


@pytest.mark.usefixtures("nothing_is_printed")
@pytest.mark.parametrize(
    ("branch", "seen"),
    [
        (yields_in_cleanup, ["inner", "outer"]),
        (delegates, ["inner", "outer", "inner", "outer"]),
        (awaits_in_cleanup, []),
        (awaits_deeper, []),
        (raises_in_cleanup, []),
        (asks_in_cleanup, ["OutsideWorkflow"] * 2),
        (stubborn, ["stubborn"] * 51),
        (compensates_in_cleanup, []),
    ],
)
def test_eviction_runs_no_cleanup_that_anybody_could_see(branch, seen):
    def flow():
        spawn(branch())
        return (yield from step("main"))

    run = drive(flow)
    before = run.open
    SEEN.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turns.close(run.instance)

    assert seen == SEEN
    run.instance = run.replayed()
    assert run.open == before
    run.complete("m0.1", "done")
    assert run.result == "done"


@pytest.mark.usefixtures("nothing_is_printed")
def test_an_end_drops_what_still_runs_in_silence():
    async def coroutine():
        try:
            await step("c")
        finally:
            await gather(coroutine(), coroutine())

    def flow():
        spawn(coroutine())
        yield from step("main")
        raise ValueError("no")

    run = drive(flow)
    run.complete("m0.1")

    assert run.error == "ValueError: no"


@pytest.mark.usefixtures("nothing_is_printed")
def test_a_coroutine_that_is_yielded_in_vain_does_not_complain():
    async def never():
        await step("never")

    def flow():
        holder: list[Any] = []

        def branch():
            yield from step("a")
            holder[0].cancel()
            yield gather(never(), never())

        holder.append(spawn(branch()))
        yield from step("b")
        yield [never()]

    run = drive(flow)
    run.complete("m0.b0.0")
    run.complete("m0.1")

    assert run.error.startswith("ProtocolError: ")


# --- stacks ---


def test_the_stack_of_a_generator_goes_through_yield_from_and_await():
    async def deepest():
        await step("a")

    class Bridge:
        def __await__(self):
            return (yield from deepest().__await__())

    async def middle():
        await Bridge()

    running = middle()
    running.send(None)
    stack = stack_of(running, lambda file, line: "source")

    assert (stack[0].function.rpartition(".")[2], stack[0].source) == ("middle", "source")
    assert all(one.file == __file__ for one in stack)
    assert chain_of(running)[0] is running
    assert not is_fresh(running)
    running.close()
    assert chain_of(running) == []


def test_the_stack_of_an_error_leaves_the_library_out():
    def deep():
        raise ValueError("deep")

    def flow():
        yield from step("a")
        deep()

    run = drive(flow)
    run.complete("m0.0")

    assert [one.function.rpartition(".")[2] for one in run.instance.end.error.stack] == ["flow", "deep"]


def test_an_error_without_a_traceback_has_no_stack():
    assert raised_stack(ValueError("never raised"), lambda file, line: "") == ()

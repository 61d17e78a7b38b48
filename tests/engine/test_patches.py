"""Patches: a change of the code that runs which were here before it do not see, for as long as they last."""

from hypothesis import given
from hypothesis import strategies as st

from dsl import Flow, InvalidId, Workflow, dispatch, gather, inline, method, patched, query, spawn, workflow
from infinitic.engine import turns
from infinitic.errors import NonDeterminismError
from infinitic.history import PatchIssued
from tests.engine.driver import Driver, drive
from tests.engine.given import step


def flow_of(body):
    """The workflow `flow` with this body."""
    return workflow(name="flow")(body)


def trip_as_it_was():
    yield from step("book")
    yield from step("pay")


def trip_with_insurance():
    yield from step("book")
    if patched("insure"):
        yield from step("insure")
    yield from step("pay")


def trip_without_asking():
    yield from step("book")
    yield from step("insure")
    yield from step("pay")


BEFORE, AFTER, SETTLED = map(flow_of, (trip_as_it_was, trip_with_insurance, trip_without_asking))


def asked(run: Driver) -> list[str]:
    """The tasks that a run has asked for."""
    return [bytes(one.arguments).decode() for turn in run.turns for one in turn.commands if hasattr(one, "arguments")]


def test_a_run_that_was_here_before_the_change_goes_on_as_it_began():
    run = Driver(BEFORE())
    run.complete("m0.0")
    run.program, run.instance = Driver(AFTER()).program, run.replayed(AFTER)
    run.complete("m0.1")

    assert (run.status, asked(run)) == ("completed", ['{"name":"book"}', '{"name":"pay"}'])


def test_a_run_that_comes_here_later_takes_the_new_way_and_keeps_that():
    run = Driver(BEFORE())
    run.program, run.instance = Driver(AFTER()).program, run.replayed(AFTER)
    run.complete("m0.0")

    assert run.issued == (PatchIssued("m0.patch0", "insure"), run.issued[1])
    assert run.issued[1].position == "m0.1"
    run.evict()
    run.complete("m0.1")
    run.complete("m0.2")
    assert asked(run) == ['{"name":"book"}', '{"name":"insure"}', '{"name":"pay"}']


def test_once_the_code_asks_no_more_what_history_keeps_of_it_is_passed_over():
    run = Driver(AFTER())
    for position in ("m0.0", "m0.1", "m0.2"):
        turns.close(run.replayed(SETTLED))
        run.complete(position)

    assert run.replayed(SETTLED).status == "completed"
    assert isinstance(run.diverges(BEFORE), NonDeterminismError)


def test_a_patch_is_asked_about_once_and_recorded_once():
    def flow():
        yield from step("a")
        return [patched("x"), patched("x"), patched("y"), (yield from step("b")), patched("x")]

    run = drive(flow)
    run.complete("m0.0")
    run.evict()
    run.complete("m0.1")

    assert run.result == [True, True, True, None, True]
    assert [one.position for turn in run.turns for one in turn.commands] == [
        "m0.0",
        "m0.patch0",
        "m0.patch1",
        "m0.1",
    ]


def test_the_first_answer_holds_for_the_whole_run_in_a_loop_too():
    def looping(*asks):
        def body():
            for name in "abc":
                yield from step(name)
                if any(map(patched, asks)):
                    yield from step(f"checked {name}")

        return flow_of(body)

    run = Driver(looping()())
    run.complete("m0.0")
    run.program, run.instance = Driver(looping("check")()).program, run.replayed(looping("check"))
    run.complete("m0.1")
    run.complete("m0.2")

    assert asked(run) == ['{"name":"a"}', '{"name":"b"}', '{"name":"c"}']


def test_a_patch_at_the_end_of_a_turn_and_after_all_that_is_asked_for_is_known_again():
    def flow():
        dispatch(step("a"))
        patched("late")
        yield from step("b")
        return patched("at the end")

    run = drive(flow)
    run.complete("m0.1")

    assert run.result is True


def test_a_patch_that_came_before_another_and_later_does_not_move_it():
    def first():
        yield from step("a")
        patched("first")
        yield from step("b")

    def second():
        yield from step("a")
        assert not patched("second")
        if patched("first"):
            yield from step("b")

    run = Driver(flow_of(first)())
    run.complete("m0.0")

    assert run.replayed(flow_of(second)).patches == {"second": False, "first": True}


def test_branches_share_the_answer():
    def branch(name):
        yield from step(name)
        return patched("x")

    def flow():
        one = spawn(branch("a"))
        two = spawn(branch("b"))
        return (yield from gather(one, two))

    run = drive(flow)
    run.complete("m0.b1.0")
    assert run.issued == (PatchIssued("m0.b1.patch0", "x"),)
    run.evict()
    run.complete("m0.b0.0")

    assert (run.issued, run.result) == ((), [True, True])


def test_a_query_asks_without_a_trace():
    class Asked(Workflow):
        @method
        def run(self) -> Flow[bool]:
            yield from step("a")
            return patched("x")

        @query
        def seen(self) -> bool:
            return patched("x")

    run = Driver(Asked.run())
    assert turns.query(run.instance, "seen", b"{}") == b"true"
    assert run.instance.patches == {}
    run.complete("m0.0")
    assert [type(one) for one in run.issued] == [PatchIssued]


def test_a_query_of_a_run_that_was_here_before_is_told_so():
    class Then(Workflow, name="Asked"):
        @method
        def run(self) -> Flow[None]:
            yield from step("a")

        @query
        def seen(self) -> bool:
            return False

    class Now(Workflow, name="Asked"):
        @method
        def run(self) -> Flow[None]:
            patched("x")
            yield from step("a")

        @query
        def seen(self) -> bool:
            return patched("x")

    run = Driver(Then.run())

    assert turns.query(run.replayed(Now.run()), "seen", b"{}") == b"false"


def test_what_was_asked_in_a_turn_that_failed_is_asked_anew_by_a_retry():
    def then():
        yield from step("a")
        raise LookupError("no")

    def now():
        yield from step("a")
        if not patched("mended"):
            raise LookupError("no")
        yield from step("b")
        if not patched("twice"):
            raise LookupError("no again")
        return "done"

    run = Driver(flow_of(then)())
    run.complete("m0.0")
    assert run.status == "failed"
    run.retry(flow_of(now))
    assert [one.position for one in run.issued] == ["m0.patch0", "m0.1"]
    run.evict()
    run.complete("m0.1")

    assert run.result == "done"


def test_a_patch_of_a_turn_that_was_voided_does_not_hold_by_that():
    def then():
        yield from step("a")
        patched("x")
        raise LookupError("no")

    def now():
        yield from step("a")
        yield from step("b")

    run = Driver(flow_of(then)())
    run.complete("m0.0")
    run.retry(flow_of(now))
    run.evict()

    assert run.instance.patches == {}
    run.complete("m0.1")
    assert run.status == "completed"


def test_what_cannot_be_an_id_is_refused_where_it_is_asked():
    def flow():
        yield from step("a")
        try:
            patched(" ")
        except InvalidId as error:
            return str(error)

    run = drive(flow)
    run.complete("m0.0")

    assert "the id of a patch" in run.result


def test_an_inline_function_beside_a_patch_keeps_its_answer():
    def flow():
        patched("x")
        number = yield from inline(lambda: 7)
        patched("y")
        yield from step("a")
        return number

    run = drive(flow)
    run.evict()
    run.complete("m0.1")

    assert run.result == 7


# --- any code, changed at any places, when a run is anywhere ---

NAMES = st.sampled_from("abcd")
STEPS = st.lists(st.tuples(NAMES, st.sampled_from([None, "p", "q"])), min_size=1, max_size=6)
"""What the new code asks for: all of it, or what its patch guards."""


def changing(steps, ask):
    """The workflow that asks for the steps; *ask* says of a guarded one whether it is there."""

    def body():
        for name, guard in steps:
            if guard is None or ask(guard):
                yield from step(name)
        yield from step("last")

    return flow_of(body)


@given(STEPS, st.integers(0, 7), st.data())
def test_old_histories_go_on_under_new_code_and_new_ones_after_the_removal(steps, begun, data):
    before, after, settled = (changing(steps, ask) for ask in (lambda _: False, patched, lambda _: True))
    run = Driver(before())
    for _ in range(begun):
        if run.status == "running":
            run.complete(run.open[0])
    run.program, run.instance = Driver(after()).program, run.replayed(after)
    while run.status == "running":
        run.complete(run.open[0])  # which compares with a replay each time
        if data.draw(st.booleans()):
            run.evict()
    assert run.replayed(after).status == "completed"

    new = Driver(after())
    while new.status == "running":
        turns.close(new.replayed(settled))
        new.complete(new.open[0])
    assert new.replayed(settled).status == "completed"

"""Checking: what of stored instances replays, what not, and how both sides are told."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from dsl import Flow, gather, inline, sleep, task, workflow
from infinitic.engine.instance import Surroundings
from infinitic.engine.record import state_record
from infinitic.events import Frame
from infinitic.history import decode_turn, encode_turn
from infinitic.records import FAILED, RUNNING, Mark, Stored, TurnRow, Version
from infinitic.serialization import Serializer
from infinitic.storages import Page
from infinitic.worker.checking import (
    ACCEPT,
    GUARD,
    MEND,
    Group,
    Outcome,
    Problem,
    Row,
    Side,
    Tally,
    check_instance,
    found,
)
from infinitic.worker.source import source_line
from tests.engine.driver import RUN, Driver, program_of
from tests.engine.given import confirmed, count, step

FLOW: Any = workflow(name="flow")
ADVICE = GUARD.format(2)


def a(position: str, name: str) -> Side:
    return Side(position, "task", "step", f'{{"name":"{name}"}}')


def checked(run: Driver, today: Any) -> Outcome:
    """What checking the recorded *run* with the workflow *today* says."""
    rows = tuple(TurnRow(RUN, number, body) for number, body in enumerate(run.bodies))
    version, mark = Version(RUN, len(rows)), Mark(RUN, len(rows))
    record = state_record(run.instance)
    stored = Stored(workflow="flow", workflow_id="wf", version=version, mark=mark, token="", record=record, turns=rows)
    return check_instance(stored, program_of(today), Surroundings(Serializer(), source_line))


def problem(run: Driver, today: Any) -> Problem:
    said = checked(run, today).problem
    assert said is not None
    return said


def here(function: Any, line: int, text: str) -> Frame:
    code = function.__code__
    return Frame(__file__, code.co_firstlineno + line, code.co_qualname, text)


@pytest.fixture
def opened() -> Driver:
    """A run that has asked for a, then for b and for a signal at once."""

    @FLOW
    def then() -> Flow[None]:
        yield from step("a")
        yield from gather(step("b"), confirmed.receive())

    run = Driver(then())
    run.complete("m0.0", 1)
    return run


def test_code_that_asks_for_the_same_replays(opened):
    @FLOW
    def today() -> Flow[int]:
        one = yield from step("a")
        yield from gather(step("b"), confirmed.receive())
        return one

    assert checked(opened, today) == Outcome("flow", "wf", 2)


def test_a_step_that_was_put_in_between_stands_beside_what_history_says(opened):
    def code() -> Flow[None]:
        yield from step("a")
        yield from step("new")
        yield from gather(step("b"), confirmed.receive())

    assert problem(opened, FLOW(code)) == Problem(
        "diverges",
        'history says step({"name":"b"}) at m0.1, the code now asks for step(name=\'new\')',
        ADVICE,
        "m0.1",
        1,
        (
            Row(a("m0.0", "a"), a("m0.0", "a")),
            Row(a("m0.1", "b"), a("m0.1", "new"), differs=True),
            Row(Side("m0.2", "receive", "confirmed.receive()"), None),
        ),
        (here(code, 2, 'yield from step("new")'),),
    )


def test_what_comes_after_a_step_that_is_new_is_aligned_with_it(opened):
    @FLOW
    def today() -> Flow[None]:
        yield from step("a")
        yield from gather(step("new"), step("b"), confirmed.receive())

    receive = "receive", "confirmed.receive()"
    assert problem(opened, today).rows[1:] == (
        Row(None, a("m0.1", "new"), differs=True),
        Row(a("m0.1", "b"), a("m0.2", "b")),
        Row(Side("m0.2", *receive), Side("m0.3", *receive)),
    )


def test_a_step_that_is_missing_has_nothing_beside_it(opened):
    @FLOW
    def today() -> Flow[None]:
        yield from step("a")
        yield from step("b")

    assert problem(opened, today).rows[1:] == (
        Row(a("m0.1", "b"), a("m0.1", "b")),
        Row(Side("m0.2", "receive", "confirmed.receive()"), None, differs=True),
    )


def test_the_lines_lead_through_every_yield_from(opened):
    def inner() -> Flow[None]:
        yield from step("new")

    def outer() -> Flow[None]:
        yield from step("a")
        yield from inner()

    assert problem(opened, FLOW(outer)).stack == (
        here(outer, 2, "yield from inner()"),
        here(inner, 1, 'yield from step("new")'),
    )


def test_code_that_returns_where_it_went_on_is_told_as_an_end(opened):
    @FLOW
    def today() -> Flow[None]:
        yield from step("a")

    assert problem(opened, today).rows[1:] == (
        Row(a("m0.1", "b"), Side("", "end", "returns"), differs=True),
        Row(Side("m0.2", "receive", "confirmed.receive()"), None),
    )


def test_code_that_raises_where_it_went_on_is_told_with_its_line(opened):
    def code() -> Flow[None]:
        yield from step("a")
        raise LookupError("no such hotel")

    said = problem(opened, FLOW(code))
    line = here(code, 2, 'raise LookupError("no such hotel")')

    assert (said.what, said.summary) == ("raises", "the code raises LookupError: no such hotel where it went on")
    assert (said.advice, said.stack, said.turn) == (MEND, (line,), 1)
    assert said.rows[1] == Row(a("m0.1", "b"), Side("", "end", "raises LookupError: no such hotel"), differs=True)


def test_what_types_of_today_cannot_read_is_told():
    @task(name="count")
    def counted_as_text(number: int) -> str:
        raise NotImplementedError

    @FLOW
    def then() -> Flow[None]:
        yield from count(1)
        yield from sleep(5)

    @FLOW
    def today() -> Flow[None]:
        yield from counted_as_text(1)
        yield from sleep(5)

    run = Driver(then())
    run.complete("m0.0", 5)

    summary = "what was recorded at m0.0 cannot be read by today's types: Expected `str`, got `int`"
    assert problem(run, today) == Problem("unreadable", summary, ACCEPT, "m0.0", 1)


def test_another_outcome_of_the_same_commands_is_told_in_words():
    @FLOW
    def then() -> Flow[None]:
        yield from gather(confirmed.receive(), sleep(5))

    run = Driver(then())
    run.signal("s", "confirmed", "x")
    run.bodies[1] = encode_turn(msgspec.structs.replace(decode_turn(run.bodies[1]), settled=("m0.9",)))

    [*_, last] = problem(run, then).rows
    assert (last.then, last.now, last.differs) == (
        Side("", "run", "that turn 1 answered m0.9"),
        Side("", "run", "a run in which it answers nothing"),
        True,
    )


# --- nothing is run ---


def test_inline_functions_are_not_run_whether_their_result_is_known_or_not():
    ran: list[str] = []

    def known() -> int:
        ran.append("known")
        return 7

    def new() -> int:
        ran.append("new")
        return 8

    @FLOW
    def then() -> Flow[None]:
        chance = yield from inline(known)
        yield from count(chance)

    @FLOW
    def today() -> Flow[None]:
        chance = yield from inline(known)
        yield from count(chance + 1)

    @FLOW
    def newer() -> Flow[None]:
        yield from inline(known)
        yield from inline(new)
        yield from step("never")

    run = Driver(then())
    kept = [*run.bodies]
    del ran[:]
    [first, second] = problem(run, today).rows
    [_, unknown] = problem(run, newer).rows

    assert first.then == first.now
    assert second.now == Side("m0.1", "task", "count", '{"number":8}')
    assert unknown.now is not None
    assert unknown.now.kind == "inline"
    assert (ran, run.bodies) == ([], kept)


# --- failed runs ---


def failing(fails: bool, first: str = "a") -> Any:
    @FLOW
    def flow() -> Flow[str]:
        yield from step(first)
        if fails:
            raise ValueError("no")
        return "mended"

    return flow


def test_a_failed_run_is_checked_up_to_where_a_retry_takes_it_up():
    run = Driver(failing(fails=True)())
    run.complete("m0.0", 1)
    assert run.instance.status == FAILED

    assert checked(run, failing(fails=False)) == Outcome("flow", "wf", 1)
    assert problem(run, failing(fails=False, first="b")).position == "m0.0"


def test_a_run_that_failed_again_after_a_retry_is_checked_up_to_the_same_place():
    run = Driver(failing(fails=True)())
    run.complete("m0.0", 1)
    run.retry()
    assert run.instance.status == FAILED

    assert checked(run, failing(fails=False)) == Outcome("flow", "wf", 1)


def test_both_sides_of_what_a_retry_asks_for_are_told():
    def flow(fails: bool, after: str) -> Any:
        @FLOW
        def code() -> Flow[None]:
            yield from step("a")
            if fails:
                raise ValueError("no")
            yield from step(after)

        return code

    run = Driver(flow(fails=True, after="b")())
    run.complete("m0.0", 1)
    run.retry(flow(fails=False, after="b")())
    assert run.instance.status == RUNNING

    assert checked(run, flow(fails=False, after="b")).problem is None
    assert problem(run, flow(fails=False, after="c")).rows[-1] == Row(a("m0.1", "b"), a("m0.1", "c"), differs=True)


# --- counting ---


def outcome(workflow_id: str, position: str, now: str, line: int = 5) -> Outcome:
    row = Row(a(position, workflow_id), a(position, now), differs=True)
    stack = (Frame("trips.py", line, "trip", ""),)
    return Outcome("flow", workflow_id, 3, Problem("diverges", workflow_id, "", position, 2, (row,), stack))


def test_the_same_divergence_of_many_instances_is_one_group():
    tally = Tally()
    tally.add([outcome("a", "m0.3", "x"), outcome("b", "m0.12", "y"), outcome("c", "m0.1", "z", line=9)])
    tally.add([Outcome("flow", "d", 1), outcome("e", "m0.3", "x")])

    assert [*tally.groups.values()] == [
        Group("flow", outcome("a", "m0.3", "x").problem, 3, ["a", "b", "e"]),
        Group("flow", outcome("c", "m0.1", "z", line=9).problem, 1, ["c"]),
    ]
    assert (tally.replayed, tally.diverged) == (1, 4)


class Pages:
    """A storage that gives its records in pages of two."""

    def __init__(self, records: list[Any]) -> None:
        self.records = records

    def find(self, where: Any, limit: int, after: str = "") -> Page:
        begin = int(after or 0)
        mine = [one for one in self.records if one.status == where.status]
        end = begin + min(2, limit)
        return Page(tuple(mine[begin:end]), str(end) if end < len(mine) else "")


def test_all_pages_of_all_statuses_are_found_up_to_the_limit():
    record = state_record(Driver(failing(fails=False)()).instance)
    records = [
        msgspec.structs.replace(record, workflow_id=f"{n}", status=RUNNING if n < 5 else FAILED) for n in range(8)
    ]
    storage: Any = Pages(records)

    def ids(*statuses: str, limit: int = 0) -> str:
        return "".join(one.workflow_id for one in found(storage, statuses, limit=limit))

    assert [ids(RUNNING), ids(RUNNING, FAILED), ids(RUNNING, FAILED, limit=6), ids(RUNNING, limit=3)] == [
        "01234",
        "01234567",
        "012345",
        "012",
    ]


def test_an_instance_that_has_not_begun_replays():
    run = Driver(failing(fails=False)(), arguments=Raw(b"{}"))
    run.bodies.clear()

    assert checked(run, failing(fails=False)) == Outcome("flow", "wf", 0)

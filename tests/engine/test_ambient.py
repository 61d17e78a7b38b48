"""The ambient context: time, chance, ids, logs; what code may know of its instance."""

import gc
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from dsl import (
    CurrentWorkflow,
    OutsideWorkflow,
    current_workflow,
    dispatch,
    gather,
    logger,
    now,
    random,
    sleep,
    uuid4,
    workflow_id,
)
from infinitic.engine.instance import LogLine
from infinitic.events import Caller
from tests.engine.driver import RUN, drive
from tests.engine.given import step


def chances():
    items = [1, 2, 3, 4, 5]
    random.shuffle(items)
    return [str(uuid4()), random(), random.randint(1, 99), random.choice("abc"), random.uniform(0, 1), items]


def test_chance_is_the_same_on_every_replay_and_its_own_in_every_branch():
    def branch():
        yield from sleep(0)
        return chances()

    def flow():
        mine = chances()
        others = yield from gather(branch(), branch())
        yield from step("a")
        return [mine, *others, chances()]

    run = drive(flow)
    run.evict()
    run.complete("m0.2")

    assert len({str(one) for one in run.result}) == 4
    again = drive(flow)
    again.complete("m0.2")
    assert again.result == run.result


def test_chance_of_another_run_is_another():
    def flow():
        return chances()

    assert drive(flow).result == drive(flow).result
    assert drive(flow).result != drive(flow, run="00000000000000000000000000000002").result


def test_now_is_the_time_of_the_turn():
    def flow():
        first = now()
        yield from step("a")
        return str(first), str(now())

    run = drive(flow)
    run.evict()
    run.at += 500
    run.complete("m0.0")

    assert run.result == ["1970-01-01 00:00:01+00:00", "1970-01-01 00:00:02.000500+00:00"]
    assert datetime.fromisoformat(run.result[0]).tzinfo == UTC


def test_the_logger_is_silent_on_replay():
    def flow():
        logger.info("before %s", "a", key=1)
        yield from step("a")
        logger.warning("after")

    run = drive(flow)
    assert run.instance.draft.logs == (LogLine(20, "before %s", ("a",), {"key": 1}),)
    run.evict()
    assert run.instance.draft.logs == ()
    run.complete("m0.0")
    assert run.instance.draft.logs == (LogLine(30, "after", (), {}),)


def test_code_knows_its_instance():
    def flow():
        assert current_workflow() == CurrentWorkflow(
            id="wf", name="flow", run=RUN, tags=frozenset({"t"}), meta={"k": 1}, parent="p-1", root="r"
        )
        yield from ()
        return workflow_id()

    caller = Caller("parent", "p-1", RUN, "m0.0")

    assert drive(flow, tags=("t",), meta={"k": 1}, caller=caller, root="r").result == "wf"


def test_the_topmost_instance_is_its_own_root():
    def flow():
        about = current_workflow()
        yield from ()
        return about.parent, about.root

    assert drive(flow).result == [None, "wf"]


def test_outside_of_a_turn_nothing_works():
    run = drive(lambda: (yield from step("a")))

    assert run.status == "running"
    for helper in (now, uuid4, current_workflow, lambda: dispatch(step("a"))):
        with pytest.raises(OutsideWorkflow):
            helper()


def test_what_one_instance_dispatched_is_not_cancelled_from_outside():
    kept = []

    def flow():
        kept.append(dispatch(step("a")))
        yield from kept[-1]

    drive(flow)

    with pytest.raises(OutsideWorkflow):
        kept[0].cancel()


class Cycle:
    """Keeps a suspended generator alive until garbage is collected."""

    def __init__(self, generator):
        self.itself, self.generator = self, generator
        next(generator)


def test_what_another_instance_dropped_is_not_cleaned_up_as_this_one():
    def dropped():
        try:
            yield
        finally:
            with suppress(OutsideWorkflow):
                dispatch(step("not mine"))

    def flow():
        assert not gc.isenabled()
        Cycle(dropped())
        kept = [[] for _ in range(gc.get_threshold()[0] * 2)]  # enough to have garbage collected
        yield from step("mine")
        return len(kept) > 0

    run = drive(flow)

    assert run.positions == ["m0.0"]
    assert gc.isenabled()


def test_a_process_that_collects_no_garbage_collects_none_afterwards_either():
    gc.disable()
    try:
        drive(lambda: (yield from step("a")))

        assert not gc.isenabled()
    finally:
        gc.enable()

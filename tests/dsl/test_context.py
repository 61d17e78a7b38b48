"""The helpers of workflow code and of tasks: what they ask of the context, what they say outside of it."""

import random as standard
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dsl import (
    CurrentTask,
    CurrentWorkflow,
    OutsideTask,
    OutsideWorkflow,
    compensations,
    current_batch,
    current_task,
    current_workflow,
    logger,
    now,
    patched,
    random,
    uuid4,
    workflow_id,
)
from dsl.context import TASK
from tests.dsl.conftest import Record

OUTSIDE: dict[str, Callable[[], Any]] = {
    "now()": now,
    "uuid4()": uuid4,
    "patched()": lambda: patched("x"),
    "random()": random,
    "random.randint()": lambda: random.randint(1, 6),
    "random.uniform()": lambda: random.uniform(1, 6),
    "random.choice()": lambda: random.choice([1]),
    "random.shuffle()": lambda: random.shuffle([1]),
    "random.sample()": lambda: random.sample([1], 1),
    "workflow_id()": workflow_id,
    "current_workflow()": current_workflow,
    "logger": lambda: logger.info("x"),
    "compensations()": lambda: compensations().__enter__(),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_a_helper_works_inside_a_workflow_only(what):
    with pytest.raises(OutsideWorkflow) as caught:
        OUTSIDE[what]()

    assert str(caught.value) == (
        f"{what} works only inside a workflow while it runs. "
        "In a task or a script use Python's own (datetime, uuid, random, logging)."
    )


def test_current_task_works_inside_a_task_only():
    with pytest.raises(OutsideTask, match=r"^current_task\(\) works only inside a task that a worker runs\.$"):
        current_task()


def test_current_task_tells_what_runs(attempt: CurrentTask):
    assert current_task() is attempt
    assert attempt == CurrentTask("t1", "charge", 2, "trip-42", "trip", frozenset(), {}, None)


def test_in_a_batch_there_are_several_tasks_and_elsewhere_none(attempt: CurrentTask):
    message = r"^current_batch\(\) is for tasks that a worker runs in batches, and tells of each; "
    with pytest.raises(OutsideTask, match=message):
        current_batch()

    token = TASK.set((attempt, attempt))
    try:
        assert current_batch() == (attempt, attempt)
        with pytest.raises(OutsideTask, match=message):
            current_task()
    finally:
        TASK.reset(token)


def test_time_and_names_are_the_contexts(context: Record):
    assert now() == datetime(2030, 1, 2, tzinfo=UTC)
    assert workflow_id() == "trip-42"
    assert current_workflow() == CurrentWorkflow("trip-42", "trip", "r1", frozenset({"vip"}), {}, None, "")


def test_what_was_patched_the_context_knows(context: Record):
    assert (patched("new"), patched("old")) == (True, False)


def test_chance_is_the_contexts(context: Record):
    same = standard.Random(42)
    cards = [1, 2, 3]
    shuffled = [1, 2, 3]

    drawn = [
        random(),
        random.randint(1, 6),
        random.uniform(1, 6),
        random.choice(cards),
        random.sample(cards, 2),
    ]
    random.shuffle(cards)

    expected = [
        same.random(),
        same.randint(1, 6),
        same.uniform(1, 6),
        same.choice(shuffled),
        same.sample(shuffled, 2),
    ]
    same.shuffle(shuffled)
    assert (drawn, cards) == (expected, shuffled)


def test_a_uuid_is_a_valid_one_and_the_same_on_every_replay(context: Record):
    drawn = uuid4()

    assert (drawn.version, drawn.variant) == (4, uuid.RFC_4122)
    assert drawn == uuid.UUID(int=standard.Random(42).getrandbits(128), version=4)


def test_log_lines_go_to_the_context(context: Record):
    logger.debug("a")
    logger.info("b %s", "c", city="Oslo")
    logger.warning("d")
    logger.error("e")
    logger.log(5, "f")

    assert context.logged == [
        (10, "a", (), {}),
        (20, "b %s", ("c",), {"city": "Oslo"}),
        (30, "d", (), {}),
        (40, "e", (), {}),
        (5, "f", (), {}),
    ]


def test_meta_is_nobody_elses():
    CurrentTask("t1", "a").meta["x"] = 1
    CurrentWorkflow("i", "a", "r").meta["x"] = 1

    assert (CurrentTask("t1", "a").meta, CurrentWorkflow("i", "a", "r").meta) == ({}, {})


def test_a_task_without_anybody_to_tell_may_say_what_it_likes():
    about = CurrentTask("t1", "a")
    about.heartbeat({"page": 1})

    assert (about.details, about.cancelled) == (None, False)


def test_a_task_speaks_through_what_its_worker_gave_it():
    said: list[Any] = []

    class Pulse:
        cancelled = True

        def heartbeat(self, details: Any = None) -> None:
            said.append(details)

    about = CurrentTask("t1", "a", pulse=Pulse())
    about.heartbeat(7)

    assert (said, about.cancelled) == ([7], True)

"""Every error: what it prints, and that it survives pickling with all its facts."""

import copy
import inspect
import pickle
import re
from datetime import timedelta
from typing import Any

import pytest

from dsl import errors
from dsl.errors import (
    Attempt,
    BranchCancelled,
    Cancelled,
    DoNotRetry,
    InfiniticError,
    InvalidId,
    OutsideTask,
    OutsideWorkflow,
    ProtocolError,
    ReadOnly,
    RemoteError,
    RetryIn,
    TaskCancelled,
    TaskFailed,
    TaskTimedOut,
    UnknownWorkflow,
    WorkerLost,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTerminated,
    WorkflowTimedOut,
)

NO = ValueError("no")
TWICE = (Attempt(1, KeyError("k"), "w1", 1, 2), Attempt(2, NO, "w2", 3, 4))

SAYS = [
    (InfiniticError("x"), "x"),
    (TaskFailed("Hotels.book", NO), "Hotels.book failed: ValueError: no"),
    (TaskFailed("Hotels.book", NO, TWICE), "Hotels.book failed after 2 attempts: ValueError: no"),
    (TaskTimedOut("charge", TimeoutError("30 s")), "charge timed out: 30 s"),
    (TaskTimedOut("charge", TimeoutError("30 s"), TWICE), "charge timed out on attempt 2: 30 s"),
    (TaskTimedOut("charge", TimeoutError("silence"), TWICE, "heartbeat"), "charge timed out on attempt 2: silence"),
    (TaskTimedOut("charge", TimeoutError("an hour"), (), "total_timeout"), "charge timed out: an hour"),
    (
        TaskTimedOut("charge", TimeoutError("an hour"), TWICE, "total_timeout"),
        "charge timed out: an hour; attempt 2 had failed: ValueError: no",
    ),
    (TaskCancelled("charge"), "charge was cancelled"),
    (WorkerLost("charge", RuntimeError("died")), "charge failed: RuntimeError: died"),
    (WorkflowFailed("trip", "a", TaskFailed("charge", NO)), "trip 'a' failed: charge failed: ValueError: no"),
    (WorkflowTimedOut("trip", "a", TimeoutError("1 h")), "trip 'a' timed out: 1 h"),
    (WorkflowTerminated("trip", "a", "by ann"), "trip 'a' was terminated: by ann"),
    (WorkflowTerminated("trip", "a"), "trip 'a' was terminated"),
    (WorkflowCancelled("trip", "a"), "trip 'a' was cancelled"),
    (BranchCancelled("m0.b1"), "branch m0.b1 was cancelled"),
    (
        WorkflowExists("order", "a", "running"),
        "'a' is in use by an order instance that is running. Choose another id, attach to it "
        "(if_exists='attach'), or restart it once it has ended.",
    ),
    (WorkflowFinished("trip", "a", "failed"), "trip 'a' is failed and takes no further calls or signals."),
    (UnknownWorkflow("trip", "a"), "there is no trip instance with the id 'a'"),
    (UnknownWorkflow("", "a"), "there is no workflow instance with the id 'a'"),
    (
        OutsideWorkflow("now()"),
        "now() works only inside a workflow while it runs. "
        "In a task or a script use Python's own (datetime, uuid, random, logging).",
    ),
    (OutsideTask(), "current_task() works only inside a task that a worker runs."),
    (ProtocolError("write this"), "write this"),
    (
        ReadOnly("sleep(5 s)"),
        "queries, validators and predicates may only read, and one asked for sleep(5 s). Leave it out, or make it a "
        "@method.",
    ),
    (InvalidId("a workflow id", "''", "text"), "'' cannot be a workflow id: expected text."),
    (RemoteError("shop.cards:CardRefused", "stolen", {"code": 5}), "CardRefused: stolen"),
    (RemoteError("CardRefused", ""), "CardRefused"),
    (Cancelled("by ann"), "by ann"),
    (RetryIn(5), "to be tried again in 5 s"),
    (RetryIn(timedelta(minutes=1), "busy"), "busy"),
    (DoNotRetry("refused"), "refused"),
]


def facts(error: BaseException) -> tuple[Any, ...]:
    cause = error.__cause__ and repr(error.__cause__)
    fields = {name: repr(value) for name, value in vars(error).items()}
    return type(error), repr(error.args), fields, str(error), cause


@pytest.mark.parametrize(("error", "text"), SAYS)
def test_an_error_says_what_happened(error, text):
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in SAYS])
@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_and_copying_with_all_its_facts(error, way):
    assert facts(way(error)) == facts(error)


def test_this_page_holds_every_error():
    there = {one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, BaseException)}

    assert {type(error) for error, _ in SAYS} == there


def test_the_picture_shows_every_error_beneath_what_it_is_a_kind_of():
    there = {one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, BaseException)}

    assert shown(errors) == {(one.__name__, one.__base__.__name__) for one in there}


def shown(module: Any) -> set[tuple[str, str]]:
    """The classes of the picture in a module's docstring, each with what it hangs from."""
    above, found = ["Exception"], set()
    for line in module.__doc__.splitlines():
        match = re.match(r"((?:│   |    )*)(?:├── |└── )?([A-Z]\w+)((?:, [A-Z]\w+)*) *(\(a BaseException\))?", line)
        if match is None or "." in line:
            continue
        depth = 0 if line[0].isalpha() else len(match[1]) // 4 + 1
        names = [match[2], *match[3].split(", ")[1:]]
        found |= {(name, "BaseException" if match[4] else above[depth]) for name in names}
        above[depth + 1 :] = [names[0]]
    return found


def test_notes_survive_pickling():
    error = WorkflowCancelled("trip", "a")
    error.add_note("while undoing, it failed")

    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while undoing, it failed"]


def test_attempts_survive_pickling_and_are_equal_by_value():
    error = pickle.loads(pickle.dumps(TaskFailed("charge", NO, TWICE)))

    assert error.attempts == TWICE
    assert error.attempts != (TWICE[1], TWICE[0])
    assert error.__cause__ is error.error


def test_the_cause_is_the_tasks_own_error():
    failed, stopped = TaskFailed("charge", NO), WorkflowFailed("trip", "a", NO)

    assert (failed.__cause__, failed.error, stopped.__cause__, stopped.error) == (NO, NO, NO, NO)
    assert TaskCancelled("charge").__cause__ is None


def test_who_catches_what():
    assert issubclass(TaskTimedOut, TaskFailed)
    assert issubclass(TaskCancelled, TaskFailed)
    assert issubclass(WorkerLost, TaskFailed)
    assert issubclass(WorkflowTimedOut, WorkflowFailed)
    assert issubclass(WorkflowTerminated, WorkflowFailed)
    assert issubclass(InvalidId, ValueError)
    assert not issubclass(Cancelled, Exception)
    assert not issubclass(TaskTimedOut, TimeoutError)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_retry_lies_ahead(delay):
    with pytest.raises(ValueError, match=r"^RetryIn takes seconds, zero or more, not "):
        RetryIn(delay)


def test_a_retry_is_kept_in_seconds():
    assert (RetryIn(timedelta(minutes=2)).delay, RetryIn(5).delay) == (120.0, 5.0)


def test_a_stand_in_knows_the_classs_own_name():
    assert [RemoteError(name, "").name for name in ("shop.cards:Card.Refused", "shop.Refused", "Refused")] == [
        "Refused"
    ] * 3
    assert RemoteError("Refused", "").fields == {}


def test_a_stand_in_has_the_fields_as_attributes():
    error = RemoteError("shop.cards:CardRefused", "stolen", {"code": 5, "message": "mine"})

    assert (error.code, error.message, error.fields["message"]) == (5, "stolen", "mine")
    assert not hasattr(error, "colour")
    with pytest.raises(AttributeError, match=r"shop\.cards:CardRefused has no field 'colour' here"):
        error.colour  # noqa: B018  # asked for, and that is all

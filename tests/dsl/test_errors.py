"""Every error: what it prints, and that it survives pickling with all its facts."""

import copy
import inspect
import pickle
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
    (TaskCancelled("charge"), "charge was cancelled"),
    (WorkerLost("charge", RuntimeError("died")), "charge failed: RuntimeError: died"),
    (WorkflowFailed("trip", "a", TaskFailed("charge", NO)), "trip 'a' failed: charge failed: ValueError: no"),
    (WorkflowTimedOut("trip", "a", TimeoutError("1 h")), "trip 'a' timed out: 1 h"),
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
        "a query may only read, and this one asked for sleep(5 s). Make it a @method, or leave it out.",
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

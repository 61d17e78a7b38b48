"""Errors on their way from a task through workflows to a client: what they were, why, and what they say."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any

import pytest

from dsl import Flow, Retry, settle, task, workflow
from infinitic.errors import RemoteError, TaskFailed, WorkflowFailed
from tests.scenarios.given import cause_chain

ONCE = Retry(max_attempts=1)


class Reason(Enum):
    STOLEN = "stolen"
    EMPTY = "empty"


class Cards:
    @dataclass
    class Refused(Exception):
        reason: Reason
        since: date

        def __str__(self) -> str:
            return f"{self.reason.name} since {self.since}"


class Busy(Exception):
    def __init__(self, *, attempt: int) -> None:
        super().__init__(f"busy {attempt}")
        self.attempt = attempt


@task(retry=ONCE)
def refuse() -> None:
    raise Cards.Refused(Reason.STOLEN, date(2030, 1, 2))


@task(retry=Retry(max_attempts=3, initial=0.001))
def busy() -> None:
    from dsl import current_task

    raise Busy(attempt=current_task().attempt)


@task(retry=ONCE)
def local() -> None:
    class Local(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    raise Local(5)


@task(retry=ONCE)
def deep() -> None:
    error: Exception = ValueError("0")
    for number in range(1, 11):
        try:
            error.add_note(f"note {number - 1}")
            raise LookupError(str(number)) from error
        except LookupError as raised:
            error = raised
    raise error


@task(retry=ONCE)
def several() -> None:
    inner = ExceptionGroup("two", [Busy(attempt=1), ValueError("x")])
    raise ExceptionGroup("both", [Cards.Refused(Reason.EMPTY, date(2030, 1, 2)), inner])


@workflow
def child() -> Flow[None]:
    yield from busy()


@workflow
def parent() -> Flow[None]:
    yield from child().options(id="c")


@workflow
def catching() -> Flow[list[Any]]:
    failed, called = yield from settle(busy(), child().options(id="c2"))
    error = failed.error
    assert isinstance(error, TaskFailed)
    assert isinstance(called.error, WorkflowFailed)
    assert isinstance(called.error.error, TaskFailed)
    try:
        yield from refuse()
    except TaskFailed as refused:
        theirs = refused.error
    inner = called.error.error
    return [
        [attempt.number for attempt in error.attempts],
        [str(attempt.error) for attempt in inner.attempts],
        isinstance(theirs, Cards.Refused) and theirs.reason is Reason.STOLEN,
    ]


@pytest.fixture(autouse=True)
def served(serve):
    serve(parent, child, catching, busy, refuse, local, deep, several)


def test_a_failure_reads_well_at_each_level_from_parent_to_task(client):
    with pytest.raises(WorkflowFailed) as raised:
        client.run(parent().options(id="p"), timeout=20)

    assert cause_chain(raised.value) == ["WorkflowFailed", "WorkflowFailed", "TaskFailed", "Busy"]
    levels = []
    error: BaseException | None = raised.value
    while error is not None:
        levels.append(str(error))
        error = error.__cause__
    assert levels == [
        "parent 'p' failed: child 'c' failed: busy failed after 3 attempts: Busy: busy 3",
        "child 'c' failed: busy failed after 3 attempts: Busy: busy 3",
        "busy failed after 3 attempts: Busy: busy 3",
        "busy 3",
    ]


def test_workflow_code_sees_all_attempts_of_a_task_and_of_a_childs_task_and_users_own_classes(client):
    assert client.run(catching(), timeout=20) == [[1, 2, 3], ["busy 1", "busy 2", "busy 3"], True]


def test_a_users_error_comes_back_as_itself_with_its_fields(client):
    with pytest.raises(TaskFailed) as raised:
        client.run(refuse(), timeout=20)

    assert raised.value.error == Cards.Refused(Reason.STOLEN, date(2030, 1, 2))
    assert str(raised.value) == "refuse failed: Refused: STOLEN since 2030-01-02"


def test_an_error_whose_class_nobody_can_import_is_stood_in_for(client):
    with pytest.raises(TaskFailed) as raised:
        client.run(local(), timeout=20)
    error = raised.value.error

    assert isinstance(error, RemoteError)
    assert (error.name, error.message, error.fields, error.code) == ("Local", "code 5", {"code": 5}, 5)
    assert str(raised.value) == "local failed: Local: code 5"


def test_ten_causes_and_their_notes_come_along(client):
    with pytest.raises(TaskFailed) as raised:
        client.run(deep(), timeout=20)

    chain, error = [], raised.value.error.__cause__
    while error is not None:
        chain.append((str(error), error.__notes__))
        error = error.__cause__
    assert str(raised.value.error) == "10"
    assert chain == [(str(number), [f"note {number}"]) for number in range(9, -1, -1)]


def test_a_group_of_errors_comes_back_as_one(client):
    with pytest.raises(TaskFailed) as raised:
        client.run(several(), timeout=20)
    group = raised.value.error

    assert isinstance(group, ExceptionGroup)
    refused, inner = group.exceptions
    assert refused == Cards.Refused(Reason.EMPTY, date(2030, 1, 2))
    assert isinstance(inner, ExceptionGroup)
    assert [(type(one), str(one)) for one in inner.exceptions] == [(Busy, "busy 1"), (ValueError, "x")]
    assert (group.message, inner.message) == ("both", "two")

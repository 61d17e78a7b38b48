"""What was done is undone, last first, when the block fails or is cancelled."""

from typing import Any

import pytest

from dsl import Cancelled, OutsideWorkflow, compensations, task
from tests.dsl.conftest import Record


@task
def undone(what: str) -> None: ...


def fail(error: BaseException):
    with compensations() as undo:
        undo(undone("hotel"))
        undo(undone("car"))
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), Cancelled()])
def test_a_failure_and_a_cancellation_hand_over_the_undos_last_first(context: Record, error):
    with pytest.raises(type(error)) as caught:
        fail(error)

    assert caught.value is error
    (branch,) = context.compensated
    assert list(branch) == [undone("car"), undone("hotel")]


def test_an_undo_that_fails_is_a_note_and_the_others_still_run(context: Record):
    error = ValueError("no")
    with pytest.raises(ValueError, match=r"^no$"):
        fail(error)
    (branch,) = context.compensated

    assert next(branch) == undone("car")
    assert branch.throw(KeyError("lost")) == undone("hotel")
    assert error.__notes__ == ["while undoing, undone(what='car') failed: 'lost'"]


def test_without_an_error_nothing_is_undone(context: Record):
    with compensations() as undo:
        undo(undone("hotel"))

    assert context.compensated == []


def test_without_an_undo_nothing_is_handed_over(context: Record):
    with pytest.raises(ValueError, match="no"), compensations():
        raise ValueError("no")

    assert context.compensated == []


def test_eviction_runs_nothing(context: Record):
    def flow():
        with compensations() as undo:
            undo(undone("hotel"))
            yield

    running = flow()
    next(running)
    running.close()

    assert context.compensated == []


def test_an_undo_is_a_command(context: Record):
    wrong: Any = 5
    with (
        pytest.raises(TypeError, match=r"^undo\(\) takes a command such as a task call, not 5$"),
        compensations() as undo,
    ):
        undo(wrong)


def test_compensations_work_inside_a_workflow_only():
    with pytest.raises(OutsideWorkflow), compensations():
        pass

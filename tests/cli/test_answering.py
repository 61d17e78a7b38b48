"""`complete` and `fail` beside a real worker, and what `show` and `why` say of a task that waits for somebody."""

import pytest

from infinitic.ids import task_id
from tests.cli.given import tidy

OFFICE = """
from infinitic import Flow, task, workflow


@task(delegated=True)
def approve(paper: str) -> bool | None:
    return None


@workflow
def signing(paper: str) -> Flow[bool]:
    return (yield from approve(paper))
"""


@pytest.fixture
def waiting(infinitic, folder, worker):
    """The id of a task that waits for somebody."""
    (folder / "office.py").write_text(OFFICE)
    worker("office")
    infinitic("start", "signing", "paper=lease", "--id", "s-1")
    while "client.complete" not in infinitic("show", "s-1").out:
        pass
    run = infinitic("show", "s-1", "--json").data["run"]
    return task_id("signing", "s-1", run, "m0.0")


def test_a_task_is_completed_once(infinitic, waiting):
    first = infinitic("complete", waiting, "true")
    assert (first.code, first.out) == (0, "the task is completed\n")
    assert infinitic("result", "s-1", "--timeout", "60").out == "true\n"

    again = infinitic("complete", waiting, "false")
    assert (again.code, again.out) == (0, "the task had its answer already, and keeps it\n")


def test_a_task_is_failed(infinitic, waiting):
    failed = infinitic("fail", waiting, "nobody has signed")
    assert (failed.code, failed.out) == (0, "the task has failed\n")

    result = infinitic("result", "s-1", "--timeout", "60")
    assert (result.code, "approve failed: Exception: nobody has signed" in result.err) == (1, True)


def test_what_cannot_be_completed_says_why(infinitic, waiting):
    refused = infinitic("complete", waiting, "perhaps")
    assert (refused.code, refused.line) == (2, "the answer of approve: Expected `bool`, got `str`")
    nonsense = infinitic("complete", "nonsense")
    assert nonsense.code != 0
    assert nonsense.line.startswith("'nonsense' cannot be a task id")


def test_show_and_why_tell_whom_it_waits_for(infinitic, waiting):
    assert f"waits for client.complete('{waiting}', …)" in tidy(infinitic("show", "s-1").out)
    told = infinitic("why", "s-1")

    assert f"Its function has returned, and it waits for client.complete('{waiting}', …)." in told.out
    assert f"infinitic complete {waiting} VALUE" in told.out
    assert "which somebody is to complete" in infinitic("list").out

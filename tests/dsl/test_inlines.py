"""Inline steps, and the end of a run in favour of the next."""

from functools import partial
from typing import Any

import pytest

from dsl import Workflow, continue_as_new, inline, method, sleep, task, workflow
from dsl.commands import described
from dsl.inlines import ContinueAsNew, Inline


@task
def a(n: int) -> int:
    return n


@workflow
def monthly(month: int): ...


class Loyalty(Workflow):
    @method
    def run(self) -> None: ...


def read(path: str, *, limit: int = 5) -> str:
    return path


def test_inline_holds_the_function_and_its_arguments():
    step: Any = inline(read, "x", limit=3)

    assert step == Inline(read, ("x",), {"limit": 3})
    assert (step.name, step.label) == ("read", "inline(read)")
    assert described(inline(partial(read, "x"))) == "inline(partial)"


@pytest.mark.parametrize(("wrong", "shown"), [(5, "5"), (sleep(5), "sleep(5 s)"), (None, "None")])
def test_inline_takes_a_function(wrong, shown):
    with pytest.raises(TypeError) as caught:
        inline(wrong)

    assert str(caught.value) == f"inline() takes a function and its arguments, as in inline(f, x), not {shown}"


def test_a_run_goes_on_as_a_start():
    again: Any = continue_as_new(monthly(2))

    assert again == ContinueAsNew(monthly(2))
    assert again.label == "continue_as_new(monthly(month=2))"
    assert continue_as_new(Loyalty.run()) == ContinueAsNew(Loyalty.run())


@pytest.mark.parametrize("wrong", [a(1), monthly, sleep(5), 5, Loyalty.by_id("ada").run()])
def test_a_run_goes_on_as_nothing_else(wrong):
    with pytest.raises(TypeError, match=r"^continue_as_new\(\) takes a workflow's start, as in "):
        continue_as_new(wrong)


def test_a_run_that_goes_on_as_new_has_the_parent_that_it_had():
    with pytest.raises(TypeError) as caught:
        continue_as_new(monthly(2).options(parent_close="abandon"))

    assert str(caught.value) == ("monthly(month=2) goes on under the parent that it has: leave out parent_close=")

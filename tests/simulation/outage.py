"""A release that cannot go on: its workflow code raises what is no error of a workflow, and writes nothing.

It lives in a file of its own, because a release is told by the source of its workflows' module.
"""

from __future__ import annotations

from typing import Any

from dsl import Flow, method
from tests.simulation import programs


class Outage(BaseException):
    """What no code of a workflow can handle."""


class Play(programs.Play):
    """Cannot run any program, nor add."""

    @method
    def run(self, program: list[Any], rest: list[list[Any]], before: list[Any]) -> Flow[list[Any]]:
        raise Outage("this release is broken")

    @method
    def add(self, number: int) -> Flow[int]:
        raise Outage("this release is broken")

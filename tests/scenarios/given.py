"""What the scenarios share: a stage of workers and clients, waiting with a deadline, tasks that are held up."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

from dsl.workflows import Workflow, WorkflowFunction
from infinitic.backends import Backend
from infinitic.backends.urls import Role, open_backend
from infinitic.client import Client
from infinitic.config import load_config
from infinitic.history import Turn
from infinitic.worker import Worker
from infinitic.worker.loops import Loops
from tests.scenarios.places import Place

PATIENCE = 20.0
"""Seconds after which what ought to come is given up. No test that passes waits for it."""

T = TypeVar("T")


def open_at(place: Place, role: Role = "client") -> Backend:
    """The backend there."""
    return open_backend(load_config(**place), role)


def until(condition: Callable[[], T], what: str = "") -> T:
    """What *condition* gives as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, what or "it did not come to pass in time"
        time.sleep(0.002)


class Stage:
    """Workers, clients and what they leave behind, over one backend."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._stack = ExitStack()
        self._client: Client | None = None

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self._stack.enter_context(Client(**self.place))
        return self._client

    def another_client(self) -> Client:
        return self._stack.enter_context(Client(**self.place))

    def serve(self, *served: Any, **options: Any) -> Worker:
        """A running worker for these workflows and services, whichever they are."""
        workflows = [one for one in served if is_workflow(one)]
        services = [one for one in served if not is_workflow(one)]
        return self._stack.enter_context(Worker(**self.place, workflows=workflows, services=services, **options))

    def serve_with_limits(self, *served: Any, slow: float, give_up: float) -> Worker:
        """As `serve`, with other limits for workflow code that does not come back, in seconds."""
        return self.serve(*served, loops=partial(Loops, tick=slow / 2, slow=slow, give_up=give_up))


def is_workflow(one: Any) -> bool:
    return isinstance(one, WorkflowFunction) or (isinstance(one, type) and issubclass(one, Workflow))


class Gate:
    """Holds tasks up until the test opens it, and tells how many came."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.came = 0

    def pass_through(self) -> None:
        with self._lock:
            self.came += 1
        assert self._open.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()

    def wait_for(self, count: int = 1) -> None:
        until(lambda: self.came >= count, f"{self.came} of {count} came to the gate")


def events(history: tuple[Turn, ...]) -> list[str]:
    """The kinds of the events of a history, in order."""
    return [type(turn.event).__name__ for turn in history]


def cause_chain(error: BaseException) -> list[str]:
    """The class names from an error down its causes."""
    names = []
    one: BaseException | None = error
    while one is not None:
        names.append(type(one).__name__)
        one = one.__cause__
    return names

"""The event loop of a stage's `async def` tasks, which turns only while one of them runs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class TaskLoop:
    """One loop for all, as in a worker; but a task that another one waits for has a loop of its own."""

    def __init__(self) -> None:
        self._runner = _new_runner()
        self._is_busy = False

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        """What *task* returns; it runs in an empty context. Raises what it raises."""
        if self._is_busy:
            with _new_runner() as runner:
                return _run(runner, task)
        self._is_busy = True
        try:
            return _run(self._runner, task)
        finally:
            self._is_busy = False

    def close(self) -> None:
        """Cancel what tasks left behind on the loop, and close it; the next task gets another one."""
        runner, self._runner = self._runner, _new_runner()
        _off_loop(runner.close)


def _new_runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=asyncio.new_event_loop)  # without the factory it sets the thread's loop


def _run(runner: asyncio.Runner, task: Coroutine[Any, Any, T]) -> T:
    return _off_loop(partial(runner.run, task, context=contextvars.Context()))


def _off_loop(act: Callable[[], T]) -> T:
    """What *act* returns, which starts or stops a loop: on this thread, unless a loop (of an async test) has it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return act()
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(act).result()

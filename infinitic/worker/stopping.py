"""Stopping: the signals by which a process that serves is asked to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""The status of a process that was asked twice."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], None]]:
    """Gives a function that returns at the first SIGINT or SIGTERM; a second one ends the process at once.

    Must be entered on the main thread; ends with the block.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(INTERRUPTED)
        asked = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # a signal that another thread gets, or that comes just before a wait, ends no wait; but it is in the pipe
    told_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait() -> None:
        while not asked:
            os.read(reader, 1)

    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(told_before)
        os.close(reader)
        os.close(writer)

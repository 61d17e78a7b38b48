"""An event loop on a thread of its own: for `async def` tasks, and for what is to happen later."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

STOP = 2.0
"""How long what runs on the loop may take to be cancelled, in seconds."""


class LoopThread:
    """The loop begins when it is first needed. Once it is stopped, nothing happens there any more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call(self, what: Callable[..., Any], *args: Any) -> None:
        """Call *what* on the loop's thread, soon."""
        loop = self._begun()
        if loop is not None:
            with suppress(RuntimeError):  # it is closed: all is over
                loop.call_soon_threadsafe(what, *args)

    def after(self, seconds: float, what: Callable[[], None]) -> Callable[[], None]:
        """Call *what* there after so many seconds; what this returns calls that off."""
        handles = deque[asyncio.TimerHandle]()
        self.call(lambda: handles.append(asyncio.get_running_loop().call_later(seconds, what)))
        return lambda: self.call(lambda: handles[0].cancel() if handles else None)

    def _begun(self) -> asyncio.AbstractEventLoop | None:
        with self._lock:
            if self._loop is None and not self._stopped:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    def stop(self) -> None:
        """Cancel what runs there, and end the thread."""
        with self._lock:
            loop, thread, self._thread, self._stopped = self._loop, self._thread, None, True
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(STOP)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it with all that is left."""
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=STOP))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

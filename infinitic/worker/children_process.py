"""One child process as its supervisor sees it: two pipes, neither of which is ever waited for, and its notes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

from infinitic.worker.children_pipes import UP, Down, Frames, Up, framed, noted, notes_file

LOOK = 500
"""Milliseconds between two looks whether the child lives, while it says nothing. A process that it forked and left
behind may hold its end of the pipe open."""
LINGER = 1.0
"""Seconds for a child that has closed its pipe to end by itself."""
READ = 1 << 18
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What may be sent to all processes of a terminal or a container at once: children leave it to their supervisor."""


class Child:
    """A process of *command*, to which a last argument is added: its number and what it needs to answer."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.ready = self.drained = False
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._backlog = bytearray()  # what the pipe had no room for
        self._closed = False
        theirs, self._down = os.pipe()
        self._up, theirs_too = os.pipe()
        self._woken, self._wake = os.pipe()
        self._notes = notes_file()
        for one in (self._down, self._woken, self._wake):
            os.set_blocking(one, False)
        passed = (theirs, theirs_too, self._notes)
        # blocked in the child too, until it takes them in its own way: one that comes before must not end it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            place = ":".join(map(str, (number, *passed)))
            self.process = subprocess.Popen([*command, place], pass_fds=passed, stdin=subprocess.DEVNULL)
        except BaseException:
            self.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
            os.close(theirs_too)

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self.process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    # --- what it is told ---

    def send(self, *frames: Down) -> None:
        """Tell it; never blocks. One that is dead does not hear."""
        data = b"".join(map(framed, frames))
        with self._lock:
            if self._closed:
                return
            if not self._backlog:
                data = data[self._written(data) :]
            if data:
                self._backlog += data
                with suppress(BlockingIOError):
                    os.write(self._wake, b"\0")

    def _written(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._down, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def _flush(self) -> None:
        with self._lock:
            if self._backlog and not self._closed:
                del self._backlog[: self._written(self._backlog)]

    def let_go(self) -> None:
        """Close the pipe to it: it is to end now."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._down)
                with suppress(BlockingIOError):
                    os.write(self._wake, b"\0")

    # --- what it says ---

    def heard(self) -> Iterator[list[Up]]:
        """What it says, until it is dead."""
        frames, dead = Frames(UP), False
        while True:
            data = self._read()
            if data:
                yield [*frames.of(data)]
            elif data is not None or dead:
                break
            else:
                dead = self.process.poll() is not None
        try:
            self.process.wait(LINGER)
        except subprocess.TimeoutExpired:  # its end of the pipe is closed: nobody would hear of what it does
            self.process.kill()
            self.process.wait()

    def _read(self) -> bytes | None:
        """What is there next, b"" at the end; None when nothing came for a while."""
        poll = select.poll()
        poll.register(self._up, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        with self._lock:
            if self._backlog and not self._closed:
                poll.register(self._down, select.POLLOUT)
        found = dict(poll.poll(LOOK))
        if self._woken in found:
            os.read(self._woken, READ)
        if self._down in found:
            self._flush()
        return os.read(self._up, READ) if self._up in found else None

    def close(self) -> list[str]:
        """Leave a dead one: what it had noted that it worked on."""
        running = noted(self._notes)
        self.let_go()
        with self._lock:
            for one in (self._up, self._woken, self._wake, self._notes):
                os.close(one)
        return running

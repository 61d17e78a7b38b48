"""Real servers, each in a folder and on ports of its own, for tests and benchmarks.

The law of the place: a server's data outlive its stop, kill and restart, and end with its `close`; nothing that was
started here outlives the process that started it, however that ends.
"""

import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.servers.processes import ServerTrouble, begun, free_port, new_folder, ran, spared, tail

PATIENCE = 120.0
"""Seconds that a server may take to start, and to stop."""


class Server(ABC):
    """One server on loopback. A kind is a subclass; one of a test's own is `with Redis() as server`."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """What Debian calls it."""
    ready: ClassVar[bytes] = b"ready for connections"
    """What its log says once it answers; letters may be large or small."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    user: ClassVar[str | None] = None
    """Whom it runs as; `None` is whoever starts it."""

    def __init__(self, within: Path | None = None, port: int | None = None, *, durable: bool = False) -> None:
        """A server that is not started yet, in a new folder (inside *within*) and on a free port, unless *port* is one.

        What it confirms outlives its own death; with *durable* the machine's too, at the price of syncing to disk.
        """
        self.folder = new_folder(f"{self.name}-", within, self.user)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = port or free_port()
        self.durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    # What a kind says of itself.

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Why none can start on this machine as it is; "" when one can."""

    @classmethod
    def lacks(cls) -> tuple[str, ...]:
        """The packages of Debian that would help."""
        return cls.packages if cls.missing() else ()

    @classmethod
    def fetch(cls) -> None:
        """Brings what is missing and no package of Debian. Raises `ServerTrouble`."""
        raise ServerTrouble(cls.missing())

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def prepare(self) -> None:
        """Makes the empty data, before the first start."""

    @abstractmethod
    def command(self) -> list[str]: ...

    def is_ready(self, said: bytes) -> bool:
        """Whether it answers, given what its log *said* since the start."""
        return self.ready.lower() in said.lower()

    # What all of them do.

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> Self:
        """Returns when the server answers. Raises `ServerTrouble` with the end of its log when it does not."""
        if self._process:
            return self
        if not self.data.exists():
            self.prepare()
        with self.log.open("ab") as log:
            before = log.tell()
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = begun(self.command(), **streams, **self._whereabouts())
        try:
            self._await(before)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Asks it to end, and returns when it has."""
        process = self._running()
        process.send_signal(self.stop_signal)
        self._ended(process)

    def kill(self) -> None:
        """Ends it without a word, as a crash does."""
        process = self._running()
        process.kill()
        self._ended(process)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends it, and removes its data."""
        if self._process:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)  # what a child still writes is removed with this process

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *command: str | Path) -> None:
        """Runs *command* as the server would be, to its end. Raises `ServerTrouble` with what it said."""
        ran(*command, **self._whereabouts())

    def _whereabouts(self) -> dict[str, Any]:
        return {"cwd": self.folder} | ({"user": self.user, "group": self.user, "extra_groups": []} if self.user else {})

    def _running(self) -> subprocess.Popen[bytes]:
        if not self._process:
            raise ServerTrouble(f"{self.name} does not run: start() it first")
        return self._process

    def _await(self, before: int) -> None:
        def ready() -> bool:
            code = self._running().poll()
            if code is not None:
                raise ServerTrouble(f"{self.name} ended with {code}:\n{tail(self._said(before))}")
            return self.is_ready(self._said(before))

        if not soon(ready):
            raise ServerTrouble(f"{self.name} did not answer within {PATIENCE:.0f} s:\n{tail(self._said(before))}")

    def _said(self, before: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(before)
            return log.read()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        spared(process.pid)
        self._process = None


def soon(true: Callable[[], bool]) -> bool:
    """Whether *true* comes about while patience lasts."""
    until = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True

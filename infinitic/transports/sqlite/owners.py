"""An open consumer as other processes see it: a lock that dies with it, a bell, and what runs just now.

All three lie beside the database, in files named after the owner's id: `<id>.lock`, locked exclusively for as
long as its process lives, holds what runs in slots of 8 bytes, which outlive the process in the page cache;
`<id>.wake` is a FIFO that its owner waits at.
"""

from __future__ import annotations

import logging
import mmap
import os
import select
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infinitic.errors import OperatorError
from infinitic.sqlite_file import SqliteFile
from infinitic.sqlite_file.turnstile import try_lock

log = logging.getLogger("infinitic.sqlite")

SLOT = struct.Struct("q")
MAPPED = 512  # slots
PATIENCE = 5.0  # seconds that closing waits for a callback to return


def folder(file: SqliteFile) -> Path:
    """Where the owners' files lie."""
    return file.path.with_name(file.path.name + ".d")


def lock_path(file: SqliteFile, owner: int) -> Path:
    return folder(file) / f"{owner}.lock"


def wake_path(file: SqliteFile, owner: int) -> Path:
    return folder(file) / f"{owner}.wake"


def remove_files(file: SqliteFile, owner: int) -> None:
    """Nobody of this id will come again."""
    for path in (wake_path(file, owner), lock_path(file, owner)):
        path.unlink(missing_ok=True)


def remove_strays(file: SqliteFile, known: set[int]) -> None:
    """Remove what owners left whose process died between two steps. Inside the turnstile only."""
    for path in folder(file).iterdir():
        if path.stem.isdigit() and path.suffix in (".lock", ".wake") and int(path.stem) not in known:
            path.unlink(missing_ok=True)


@contextmanager
def if_dead(file: SqliteFile, owner: int) -> Iterator[set[int] | None]:
    """What ran when the owner died, or None while it lives. Nobody else finds it dead meanwhile."""
    try:
        descriptor = os.open(lock_path(file, owner), os.O_RDWR)
    except FileNotFoundError:
        yield set()
        return
    try:
        yield _running(descriptor) if try_lock(descriptor) else None
    finally:
        os.close(descriptor)


def running(file: SqliteFile, owner: int) -> set[int] | None:
    """What a living owner runs just now, None for one that is dead. Only looks: a dead one stays to be found."""
    try:
        descriptor = os.open(lock_path(file, owner), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if try_lock(descriptor) else _running(descriptor)
    finally:
        os.close(descriptor)


def _running(descriptor: int) -> set[int]:
    data = os.pread(descriptor, os.fstat(descriptor).st_size // SLOT.size * SLOT.size, 0)
    return {number for (number,) in SLOT.iter_unpack(data) if number}


def _mapped(path: Path) -> mmap.mmap:
    """The slots in memory. Its descriptor is one of its own: a forked child that keeps it keeps no lock."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(descriptor, MAPPED * SLOT.size)
    finally:
        os.close(descriptor)


class Presence:
    """This process's side of one owner. To be made in the transaction that makes the owner."""

    def __init__(self, file: SqliteFile, owner: int) -> None:
        self._file, self.owner = file, owner
        folder(file).mkdir(exist_ok=True)
        remove_files(file, owner)  # of one whose transaction was never committed
        self._lock = file.keep_descriptor(os.open(lock_path(file, owner), os.O_RDWR | os.O_CREAT, 0o666))
        try_lock(self._lock)
        # written first: a map of a hole would kill the process when the disk is full
        os.pwrite(self._lock, bytes(MAPPED * SLOT.size), 0)
        self._map = _mapped(lock_path(file, owner))
        os.mkfifo(wake_path(file, owner), 0o666)
        # its own reader and writer: it never sees an end of file, and writers always find a reader
        self.bell = file.keep_descriptor(os.open(wake_path(file, owner), os.O_RDWR | os.O_NONBLOCK))
        self._mutex = threading.Lock()
        self._unused: list[int] = []
        self._running: dict[int, list[int]] = {}
        self._slots = 0

    def began(self, number: int) -> None:
        """*number* runs from now on, should anybody ask when this process is dead."""
        with self._mutex:
            if not self._unused:
                self._unused.append(self._slots)
                self._slots += 1
            slot = self._unused.pop()
            self._running.setdefault(number, []).append(slot)
            self._write(slot, number)

    def ended(self, number: int) -> None:
        """*number* has ended, once."""
        with self._mutex:
            slots = self._running.get(number)
            if not slots:
                return
            slot = slots.pop()
            if not slots:
                del self._running[number]
            self._unused.append(slot)
            self._write(slot, 0)

    def _write(self, slot: int, number: int) -> None:
        # the map costs no system call, which would hand the interpreter's lock to another thread each time
        if slot < MAPPED:
            SLOT.pack_into(self._map, slot * SLOT.size, number)
        elif self._lock in self._file.descriptors:
            with suppress(OSError):
                os.pwrite(self._lock, SLOT.pack(number), slot * SLOT.size)

    def ring(self) -> None:
        """Wake whoever listens to this owner in this process."""
        with suppress(BlockingIOError):
            os.write(self.bell, b"\0")

    def leave(self) -> None:
        """Give up the lock. To be called when the owner is no longer in the table."""
        remove_files(self._file, self.owner)
        with self._mutex:  # a number must never be written to what has the descriptor next
            self._file.close_descriptor(self._lock)
        self._file.close_descriptor(self.bell)


class Listener:
    """A thread that calls *heard* whenever the bell rings, and *looked* after each *patience* without."""

    def __init__(
        self,
        presence: Presence,
        heard: Callable[[], None],
        looked: Callable[[], None],
        patience: float | None,
    ) -> None:
        self._presence, self._heard, self._looked = presence, heard, looked
        self._patience = None if patience is None else int(patience * 1000)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"infinitic-bell-{presence.owner}", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._presence.bell, select.POLLIN)
        while not self._closing.is_set():
            rung = poll.poll(self._patience)
            if self._closing.is_set():
                return
            if rung:
                os.read(self._presence.bell, 65536)
                self._heard()
            else:
                self._look()

    def _look(self) -> None:
        try:
            self._looked()
        except (OperatorError, OSError) as error:  # it will be looked again
            log.warning("looking for messages failed: %s", error)

    def close(self) -> None:
        """No callback begins after this, and none is under way but one that hangs or that called this."""
        self._closing.set()
        self._presence.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join(PATIENCE)


class Bells:
    """The bells of other processes' owners, by descriptors that are kept."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._mutex = threading.Lock()
        self._descriptors: dict[int, int] = {}

    def ring(self, owners: Iterable[int]) -> None:
        """Wake these; the dead are passed over."""
        with self._mutex:
            for owner in owners:
                self._ring(owner)

    def _ring(self, owner: int) -> None:
        try:
            descriptor = self._descriptors.get(owner)
            if descriptor is None:
                descriptor = os.open(wake_path(self._file, owner), os.O_WRONLY | os.O_NONBLOCK)
                self._descriptors[owner] = self._file.keep_descriptor(descriptor)
            os.write(descriptor, b"\0")
        except BlockingIOError:
            pass  # full: it will wake anyway
        except OSError:  # dead; or out of descriptors, say, and then it looks by itself before long
            self._drop(owner)

    def forget(self, living: set[int]) -> None:
        """Close the descriptors of all others."""
        with self._mutex:
            for owner in self._descriptors.keys() - living:
                self._drop(owner)

    def _drop(self, owner: int) -> None:
        descriptor = self._descriptors.pop(owner, None)
        if descriptor is not None:
            self._file.close_descriptor(descriptor)

    def close(self) -> None:
        self.forget(set())

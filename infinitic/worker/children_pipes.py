"""What a supervisor and its children say to each other: frames in two pipes, and notes that outlive a child.

A frame is a struct in JSON (a message's payload is JSON already) after its length. Notes are texts in slots of a file
in memory that both sides map: what a child works on just now, which its supervisor reads when the child is dead.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from infinitic.messages import Message, Outgoing

LENGTH = struct.Struct("!I")

SLOT = 512
"""Bytes of a note: the longest is a workflow id of 255 bytes."""
SLOTS = 4096
"""More than this is not noted, and counts as not begun."""
SIZE = struct.Struct("!H")


# --- to a child ---


class Run(Struct, frozen=True, tag=True):
    """Run a task; *number* is what both sides call it."""

    number: int
    topic: str
    message: Message
    deaths: int = 0
    suspect: bool = False


class Cancel(Struct, frozen=True, tag=True):
    """A task is wanted no more."""

    task_id: str


class Deaths(Struct, frozen=True, tag=True):
    """How often applying these instances has killed a process; 0 for one that could be applied."""

    counts: dict[str, int]


class Drain(Struct, frozen=True, tag=True):
    """Begin nothing more, let end what runs."""


# --- from a child ---


class Ready(Struct, frozen=True, tag=True):
    """It serves from now on."""


class Failed(Struct, frozen=True, tag=True):
    """It cannot serve: *error* is pickled."""

    error: bytes


class Over(Struct, frozen=True, tag=True):
    """A task is over, with this answer. *room* is for how many, unanswered ones included, there is room now."""

    number: int
    answer: Outgoing
    room: int


class Goes(Struct, frozen=True, tag=True):
    """A task goes on, and says this."""

    message: Outgoing


class Back(Struct, frozen=True, tag=True):
    """Tasks that were given ahead, and have to wait for too long after all; if any. *room* is as above."""

    numbers: tuple[int, ...]
    room: int


class Applied(Struct, frozen=True, tag=True):
    """An instance that had killed a process could be applied."""

    workflow_id: str


class Drained(Struct, frozen=True, tag=True):
    """All that ran is over and answered."""


Down: TypeAlias = Run | Cancel | Deaths | Drain
Up: TypeAlias = Ready | Failed | Over | Goes | Back | Applied | Drained

T = TypeVar("T", Down, Up)

_ENCODER = Encoder()
DOWN: Decoder[Down] = Decoder(Down)
UP: Decoder[Up] = Decoder(Up)


def framed(frame: Down | Up) -> bytes:
    """The bytes of one frame."""
    data = _ENCODER.encode(frame)
    return LENGTH.pack(len(data)) + data


class Frames(Generic[T]):
    """Frames out of the bytes of a pipe, however these come."""

    def __init__(self, decoder: Decoder[T]) -> None:
        self._decoder: Decoder[T] = decoder
        self._rest = bytearray()

    def of(self, data: bytes) -> Iterator[T]:
        """Those that are whole with *data*."""
        rest = self._rest
        rest += data
        at = 0
        while len(rest) >= at + LENGTH.size:
            begin = at + LENGTH.size
            end = begin + LENGTH.unpack_from(rest, at)[0]
            if len(rest) < end:
                break
            yield self._decoder.decode(bytes(rest[begin:end]))
            at = end
        del rest[:at]


# --- notes ---


def notes_file() -> int:
    """The descriptor of a new file of notes, all empty."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("infinitic-notes")
        os.ftruncate(descriptor, SLOT * SLOTS)
    else:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(SLOT * SLOTS))  # a map of a hole would kill the process when the disk is full
            file.flush()
            descriptor = os.dup(file.fileno())
    return descriptor


class Notes:
    """A child's side: what it works on. No system call, which would hand the interpreter's lock to another thread."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, SLOT * SLOTS)
        self._free = [*range(SLOTS)][::-1]
        self._slots: dict[str, int] = {}

    def began(self, what: str) -> None:
        """*what* is worked on from now on, should this process die."""
        if self._free and what not in self._slots:
            slot = self._slots[what] = self._free.pop()
            data = what.encode()
            self._map[slot * SLOT + SIZE.size : slot * SLOT + SIZE.size + len(data)] = data
            SIZE.pack_into(self._map, slot * SLOT, len(data))  # last: from here on it is there

    def ended(self, what: str) -> None:
        """*what* is over."""
        slot = self._slots.pop(what, None)
        if slot is not None:
            SIZE.pack_into(self._map, slot * SLOT, 0)
            self._free.append(slot)


def noted(descriptor: int) -> list[str]:
    """What a child that has died was working on."""
    found = []
    with mmap.mmap(descriptor, SLOT * SLOTS, prot=mmap.PROT_READ) as notes:
        for at in range(0, SLOT * SLOTS, SLOT):
            size = SIZE.unpack_from(notes, at)[0]
            if size:
                begin = at + SIZE.size
                found.append(notes[begin : begin + size].decode(errors="replace"))
    return found

"""Exports: the present run of an instance as lines of JSON, to be looked at and replayed elsewhere.

A header, then the turns exactly as they are stored, one a line; instances follow one another. Nothing is executed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec
from msgspec import Struct
from msgspec.json import Decoder, Encoder

from infinitic.errors import OperatorError
from infinitic.events import Started
from infinitic.history import decode_turn
from infinitic.messages import FORMAT
from infinitic.records import BY_HAND, OPEN, SUSPENDED, Append, Mark, StateRecord, Stored, TurnRow, Version

IMPORTED = "it was imported to be looked at, and nothing of it is sent: the original goes on where it is"


class Header(Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="history"):
    """The first line: what instance it is, how many lines with *turns* follow, its state record."""

    format: int
    workflow: str
    workflow_id: str
    run: str
    version: int
    turns: int
    record: StateRecord


class Exported(Struct, frozen=True):
    """One instance out of a file."""

    header: Header
    bodies: tuple[bytes, ...] = ()

    @property
    def stored(self) -> Stored:
        """As a storage gives it that knows all of it to be sent."""
        header = self.header
        rows = tuple(TurnRow(header.run, number, body) for number, body in enumerate(self.bodies))
        return Stored(
            workflow=header.workflow,
            workflow_id=header.workflow_id,
            version=Version(header.run, header.turns),
            mark=Mark(header.run, header.turns),
            token="",
            record=header.record,
            turns=rows,
        )


_ENCODER = Encoder(order="deterministic")
_DECODER = Decoder(Header)


def exported(stored: Stored) -> Iterator[bytes]:
    """The lines of an instance, without what ends a line."""
    run, record = stored.version.run, stored.record
    header = Header(FORMAT, stored.workflow, stored.workflow_id, run, record.version or 1, len(stored.turns), record)
    yield _ENCODER.encode(header)
    for row in stored.turns:
        # whoever sends messages by hand may fold the values in them
        yield msgspec.json.format(row.body, indent=-1) if b"\n" in row.body else row.body


def exports_in(lines: Iterable[bytes], name: str) -> Iterator[Exported]:
    """The instances that the *lines* of the file *name* hold. Raises `OperatorError`, which names the line."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
    for number, line in numbered:
        if line:
            header = _header(line, f"{name}:{number}")
            rows = list(islice(numbered, header.turns))
            _check(header, rows, name, number)
            yield Exported(header, tuple(body for _, body in rows))


def _check(header: Header, rows: Sequence[tuple[int, bytes]], name: str, first: int) -> None:
    """Raises `OperatorError` unless these are the turns that the header announces."""
    for place, body in rows:
        try:
            event = decode_turn(body).event
        except msgspec.DecodeError as error:
            raise _bad(f"{name}:{place}", f"this is no turn of {header.workflow_id} ({error})") from None
        begins = isinstance(event, Started) and event.run == header.run
        if begins != (place == rows[0][0]):
            raise _bad(f"{name}:{place}", f"this is not turn {place - first - 1} of {header.workflow_id}")
    if len(rows) < header.turns:
        raise _bad(f"{name}:{first}", f"{header.workflow_id} has {header.turns} turns, and {len(rows)} follow")


def _header(line: bytes, place: str) -> Header:
    try:
        header = _DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise _bad(place, f"no exported instance begins here ({error})") from None
    if header.format > FORMAT + 1:
        raise _bad(place, f"a newer release has exported this, in format {header.format}")
    return header


def _bad(place: str, problem: str) -> OperatorError:
    return OperatorError(f"{place}: {problem}", "Give a file that `infinitic export` has written.")


def imported(one: Exported, token: str, expires: int) -> Append:
    """What puts an instance into a storage, where it stays as it is: nothing is to be sent, no timer is set.

    One that has not ended is suspended, as if by hand. One that has may be purged from the instant *expires* on.
    """
    stored, record = one.stored, one.header.record
    if record.status in OPEN:
        record = msgspec.structs.replace(record, status=SUSPENDED, reason=IMPORTED, fingerprint=BY_HAND)
    return Append(
        workflow=stored.workflow,
        workflow_id=stored.workflow_id,
        expected=None,
        version=stored.version,
        token=token,
        mark=stored.mark,
        turns=stored.turns,
        record=record,
        expires=expires if record.ended else None,
    )

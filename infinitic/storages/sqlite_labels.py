"""The labels of instances in a SQLite file: one row each, with status and start, as their heads say."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from infinitic.records import StateRecord
from infinitic.sqlite_file import Connection
from infinitic.storages.labels import labels_of

ENCODER, DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(list[str])

ADD = "INSERT OR IGNORE INTO labels (label, status, started, workflow_id) VALUES (?, ?, ?, ?)"
DROP = "DELETE FROM labels WHERE label = ? AND status = ? AND started = ? AND workflow_id = ?"

Row: TypeAlias = tuple[str, str, int]
"""A label, the status, the start."""


def labels_text(record: StateRecord) -> str:
    """The labels of an instance as its head has them: JSON."""
    return ENCODER.encode(labels_of(record)).decode()


def rows_of(status: str, started: int, labels: str) -> set[Row]:
    """The rows of an instance whose head says this."""
    return {(label, status, started) for label in DECODER.decode(labels)}


def rows_for(record: StateRecord) -> set[Row]:
    """The rows that an instance with this record must have."""
    return {(label, record.status, record.started) for label in labels_of(record)}


def write_labels(db: Connection, workflow_id: str, old: set[Row], new: set[Row]) -> None:
    """Put the *new* rows in the place of the *old*."""
    if gone := old - new:
        db.executemany(DROP, [(*row, workflow_id) for row in gone])
    if added := new - old:
        db.executemany(ADD, [(*row, workflow_id) for row in added])

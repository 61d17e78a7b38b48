"""Versions of what a storage keeps its instances in: tables of a database, functions of a Redis.

The law of the place: whoever comes first makes what is absent, if allowed to; what is there is changed by an
operator only, by `infinitic storage upgrade`.
"""

from __future__ import annotations

from typing import Protocol

from infinitic.errors import StorageError


class Schema(Protocol):
    """The schema of one storage, as it is and as this release wants it."""

    @property
    def place(self) -> str:
        """What it lies in, for people: the URL without its password."""

    @property
    def wanted(self) -> int:
        """The version that this release writes, from 1 on."""

    def found(self) -> int:
        """The version that is there, 0 when there is none. Raises `StorageError`."""

    def bring_up(self) -> None:
        """Make what is absent, change what is older, step by step; safe when several do so at once.

        Raises `StorageError`, which says what right is missing.
        """


class SqlSchema(Schema, Protocol):
    """Tables in a database, which is one namespace."""

    @property
    def namespace(self) -> str:
        """The one that the instances belong to."""


def check_namespace(schema: SqlSchema, found: str) -> None:
    """Raise `StorageError` when the database belongs to another namespace than *schema*'s."""
    if found != schema.namespace:
        raise StorageError(
            f"{schema.place} belongs to the namespace {found!r}, not {schema.namespace!r}",
            "Give each namespace a database of its own.",
        )


def check_schema(schema: Schema, *, makes: bool) -> None:
    """See that a storage can be used; make its schema where there is none and *makes* allows it.

    Raises `StorageError` that says what to do.
    """
    found = schema.found()
    if found == schema.wanted:
        return
    if found == 0 and makes:
        schema.bring_up()
    elif found == 0:
        raise StorageError(f"{schema.place} holds no workflows yet", "Start a worker, or run `infinitic storage init`.")
    elif found < schema.wanted:
        raise StorageError(
            f"{schema.place} has schema {found}, and this release needs {schema.wanted}",
            "Run `infinitic storage upgrade`.",
        )
    else:
        raise StorageError(
            f"{schema.place} has schema {found}, which a newer release made; this one knows {schema.wanted}",
            "Run the newer release here too.",
        )

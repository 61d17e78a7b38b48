"""Chance: every choice of a simulation, drawn from a seed, recorded, and played again from the record.

The law of the place: 0 is the simplest choice (no fault, the first action), so that a record which ends early goes on
as simply as can be. That is what lets a failing record shrink.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Choices, from a *seed* or from a *record* of former ones; `record` holds those that were drawn."""

    def __init__(self, seed: int | None = None, record: Sequence[int] = ()) -> None:
        self._random = None if seed is None else Random(seed)
        self._given = record
        self.record: list[int] = []

    def below(self, limit: int) -> int:
        """One of 0 … *limit* - 1."""
        if self._random is not None:
            value = int(self._random.random() * limit)
        else:
            place = len(self.record)
            value = min(self._given[place], limit - 1) if place < len(self._given) else 0
        self.record.append(value)
        return value

    def one_in(self, times: int) -> bool:
        """True once in *times*, never when *times* is 0."""
        return times > 0 and self.below(times) == times - 1

    def choice(self, those: Sequence[T]) -> T:
        """One of these, the first being the simplest."""
        return those[self.below(len(those))]


def token(record: Sequence[int]) -> str:
    """A record as a word that can be given to `--replay`."""
    text = ",".join(map(str, record)).encode()
    return base64.urlsafe_b64encode(zlib.compress(text, 9)).decode()


def record_of(word: str) -> list[int]:
    """The record that a `token` stands for. Raises `ValueError`."""
    try:
        text = zlib.decompress(base64.urlsafe_b64decode(word)).decode()
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{word[:40]!r}… is no token of a simulation: {error}") from None
    return [int(one) for one in text.split(",")] if text else []

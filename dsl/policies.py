"""When a failed task is tried again."""

from __future__ import annotations

import math
import random
from typing import Any

from attrs import field, frozen

from dsl.errors import DoNotRetry, RetryIn

Errors = tuple[type[Exception], ...]


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"Retry({name}={value!r}): expected seconds, zero or more")
    return float(value)


def _classes(value: Any) -> Errors:
    classes = value if isinstance(value, tuple) else (value,) if isinstance(value, type) else tuple(value)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise ValueError(f"Retry takes exception classes in retry_on and never_on, not {one!r}")
    return classes


@frozen
class Retry:
    """Retry a failed attempt up to *max_attempts* in all, after *initial* seconds, then *factor* times as long each.

    No delay is longer than *maximum* seconds; each is lengthened or shortened by up to *jitter* (a part of 1) at
    random. Only errors of *retry_on* are retried, and none of *never_on*. Raises `ValueError` for what cannot be.
    """

    max_attempts: int = 5
    initial: float = field(default=0.5, converter=lambda value: _seconds("initial", value))
    factor: float = 2.0
    maximum: float = field(default=60.0, converter=lambda value: _seconds("maximum", value))
    jitter: float = 0.1
    retry_on: Errors = field(default=(Exception,), converter=_classes)
    never_on: Errors = field(default=(), converter=_classes)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ValueError(f"Retry(max_attempts={self.max_attempts!r}): expected a whole number from 1 on")
        if not 1.0 <= self.factor < math.inf:
            raise ValueError(f"Retry(factor={self.factor!r}): expected 1 or more")
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"Retry(jitter={self.jitter!r}): expected a part of 1, from 0 to 1")

    def delay(self, attempt: int, error: BaseException, chance: random.Random) -> float | None:
        """Seconds until the next attempt after *attempt* (from 1) failed with *error*; None for no further one."""
        if attempt >= self.max_attempts or isinstance(error, DoNotRetry):
            return None
        if isinstance(error, RetryIn):
            return error.delay
        if not isinstance(error, self.retry_on) or isinstance(error, self.never_on):
            return None
        longest = math.log(max(self.maximum, 1e-9) / max(self.initial, 1e-9), self.factor) if self.factor > 1 else 0
        exact = self.maximum if 0 < longest < attempt - 1 else self.initial * self.factor ** (attempt - 1)
        return min(self.maximum, exact) * (1 + self.jitter * chance.uniform(-1, 1))

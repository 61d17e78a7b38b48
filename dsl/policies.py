"""When a failed task is tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import Attribute, field, frozen

from dsl.errors import DoNotRetry, RetryIn
from dsl.timers import Duration, microseconds

if TYPE_CHECKING:
    import random

Errors = tuple[type[Exception], ...]
Decide: TypeAlias = Callable[[int, BaseException], Duration | None]


def _seconds(value: Duration) -> float:
    length = microseconds(value, "Retry()")
    if length < 0:
        raise ValueError(f"Retry() takes delays of zero or more, not {value!r}")
    return length / 1_000_000


def _classes(value: type[Exception] | Iterable[type[Exception]]) -> Errors:
    several = isinstance(value, Iterable) and not isinstance(value, type | str)
    classes: tuple[Any, ...] = tuple(value) if several else (value,)  # type: ignore[arg-type]  # just looked
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise ValueError(f"Retry() takes exception classes in retry_on and never_on, not {one!r}")
    return classes


def _whole(retry: Retry, attribute: Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"Retry(max_attempts={value!r}): expected a whole number from 1 on")


def _between(least: float, most: float) -> Callable[[Retry, Attribute[float], object], None]:
    def check(retry: Retry, attribute: Attribute[float], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            expected = f"a number from {least:g} to {most:g}"
            raise ValueError(f"Retry({attribute.name}={value!r}): expected {expected}")

    return check


def _function(retry: Retry, attribute: Attribute[Decide | None], value: object) -> None:
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        raise TypeError(f"Retry(decide={value!r}): expected a plain function (attempt, error) -> seconds or None")


@frozen
class Retry:
    """Retry a failed attempt up to *max_attempts* in all, after *initial*, then *factor* times as long each.

    *initial* and *maximum* are seconds, or timedeltas; they are kept as seconds. No delay is longer than
    *maximum*; each is lengthened or shortened by up to *jitter* (a part of 1) at random. Only errors of
    *retry_on* are retried, and none of *never_on*. Of those, *decide* is asked, if it is given, in place of the four:
    a function of the attempt that failed (from 1) and its error, which gives the delay in seconds, or None for no
    further attempt. It stays in its process: `options(retry=…)` does not take it.

    Raises `ValueError` or `TypeError` for what cannot be.
    """

    max_attempts: int = field(default=5, validator=_whole)
    initial: float = field(default=0.5, converter=_seconds)
    factor: float = field(default=2.0, validator=_between(1, 1e9))
    maximum: float = field(default=60.0, converter=_seconds)
    jitter: float = field(default=0.1, validator=_between(0, 1))
    retry_on: Errors = field(default=(Exception,), converter=_classes)
    never_on: Errors = field(default=(), converter=_classes)
    decide: Decide | None = field(default=None, validator=_function)

    def __attrs_post_init__(self) -> None:
        if self.initial > self.maximum:
            raise ValueError(
                f"Retry(initial={self.initial:g}, maximum={self.maximum:g}): the first delay is longer than the "
                f"longest; give a larger maximum, such as maximum={self.initial:g}"
            )
        both = [one.__name__ for one in self.retry_on if one in self.never_on]
        if both:
            raise ValueError(f"Retry() has {', '.join(both)} both in retry_on and in never_on: leave one out")

    def delay(self, attempt: int, error: BaseException, chance: random.Random) -> float | None:
        """Seconds to wait after *attempt* (from 1) failed with *error*; None when there is no further one.

        Raises what *decide* raises, and `TypeError` or `ValueError` when that gives what is no delay.
        """
        if attempt >= self.max_attempts or isinstance(error, DoNotRetry):
            return None
        if isinstance(error, RetryIn):
            return error.delay
        if not isinstance(error, self.retry_on) or isinstance(error, self.never_on):
            return None
        if self.decide is not None:
            decided = self.decide(attempt, error)
            return None if decided is None else _seconds(decided)
        return min(self.maximum, self._planned(attempt) * (1 + self.jitter * chance.uniform(-1, 1)))

    def _planned(self, attempt: int) -> float:
        try:
            return min(self.maximum, self.initial * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return self.maximum if self.initial else 0.0

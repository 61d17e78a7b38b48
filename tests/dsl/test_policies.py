"""When a failed task is tried again."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import DoNotRetry, Retry, RetryIn

CALM = Retry(jitter=0)
CHANCE = random.Random(1)


def delays(retry: Retry, attempts: int, error: BaseException) -> list[float | None]:
    return [retry.delay(attempt, error, CHANCE) for attempt in range(1, attempts + 1)]


def test_each_delay_is_longer_up_to_the_longest_and_the_last_attempt_is_final():
    retry = Retry(max_attempts=7, initial=0.5, factor=3, maximum=10, jitter=0)

    assert delays(retry, 7, ValueError()) == [0.5, 1.5, 4.5, 10, 10, 10, None]


def test_one_attempt_is_no_retry():
    assert delays(Retry(max_attempts=1), 2, ValueError()) == [None, None]


def test_only_named_errors_are_retried():
    retry = Retry(retry_on=(OSError, ValueError), never_on=ConnectionError, jitter=0)

    assert [retry.delay(1, error, CHANCE) for error in (OSError(), ValueError(), KeyError(), ConnectionError())] == [
        0.5,
        0.5,
        None,
        None,
    ]


def test_what_is_no_exception_is_never_retried():
    assert CALM.delay(1, KeyboardInterrupt(), CHANCE) is None


def test_a_task_may_decide():
    assert CALM.delay(1, DoNotRetry(), CHANCE) is None
    assert CALM.delay(1, RetryIn(timedelta(hours=2)), CHANCE) == 7200
    assert CALM.delay(5, RetryIn(1), CHANCE) is None
    assert Retry(never_on=RetryIn).delay(1, RetryIn(1), CHANCE) == 1


@given(
    attempt=st.integers(1, 10**9),
    initial=st.floats(0, 1e6),
    factor=st.one_of(st.floats(1, 1e9), st.integers(1, 10**9)),
    maximum=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_delay_is_never_negative_and_never_over_the_longest(attempt, initial, factor, maximum, jitter, seed):
    initial, maximum = sorted((initial, maximum))
    retry = Retry(10**10, initial=initial, factor=factor, maximum=maximum, jitter=jitter)
    delay = retry.delay(attempt, ValueError(), random.Random(seed))

    assert delay is not None
    assert 0 <= delay <= retry.maximum


@given(seed=st.integers(0, 2**32))
def test_jitter_is_a_part_of_the_delay_to_both_sides(seed):
    delay = Retry(jitter=0.1).delay(1, ValueError(), random.Random(seed))

    assert delay is not None
    assert 0.45 <= delay <= 0.55


def test_without_an_initial_delay_there_is_none_ever():
    assert Retry(10**9, initial=0).delay(10**8, ValueError(), CHANCE) == 0


def test_delays_may_be_timedeltas_and_classes_any_collection():
    retry = Retry(initial=timedelta(seconds=2), maximum=timedelta(minutes=2), retry_on=[OSError], never_on=KeyError)

    assert retry == Retry(initial=2.0, maximum=120.0, retry_on=(OSError,), never_on=(KeyError,))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"max_attempts": 0}, ValueError, "Retry(max_attempts=0): expected a whole number from 1 on"),
        ({"max_attempts": 2.5}, ValueError, "Retry(max_attempts=2.5): expected a whole number from 1 on"),
        ({"max_attempts": True}, ValueError, "Retry(max_attempts=True): expected a whole number from 1 on"),
        ({"initial": -1}, ValueError, "Retry() takes delays of zero or more, not -1"),
        ({"initial": "1"}, TypeError, "Retry() takes seconds or a timedelta, not '1'"),
        (
            {"maximum": float("nan")},
            ValueError,
            "Retry() takes a finite duration of at most a century, not nan",
        ),
        (
            {"initial": 90},
            ValueError,
            "Retry(initial=90, maximum=60): the first delay is longer than the longest; give a larger maximum, "
            "such as maximum=90",
        ),
        (
            {"retry_on": OSError, "never_on": [KeyError, OSError]},
            ValueError,
            "Retry() has OSError both in retry_on and in never_on: leave one out",
        ),
        ({"retry_on": 5}, ValueError, "Retry() takes exception classes in retry_on and never_on, not 5"),
        (
            {"never_on": "ValueError"},
            ValueError,
            "Retry() takes exception classes in retry_on and never_on, not 'ValueError'",
        ),
        ({"decide": 5}, TypeError, "Retry(decide=5): expected a plain function (attempt, error) -> seconds or None"),
        ({"factor": 0.5}, ValueError, "Retry(factor=0.5): expected a number from 1 to 1e+09"),
        ({"factor": float("inf")}, ValueError, "Retry(factor=inf): expected a number from 1 to 1e+09"),
        ({"factor": "2"}, ValueError, "Retry(factor='2'): expected a number from 1 to 1e+09"),
        ({"jitter": 1.5}, ValueError, "Retry(jitter=1.5): expected a number from 0 to 1"),
        ({"jitter": float("nan")}, ValueError, "Retry(jitter=nan): expected a number from 0 to 1"),
        ({"retry_on": KeyboardInterrupt}, ValueError, None),
        ({"never_on": [ValueError()]}, ValueError, None),
    ],
)
def test_a_policy_that_cannot_be_is_refused(given, error, message):
    with pytest.raises(error) as caught:
        Retry(**given)

    expected = message or "Retry() takes exception classes in retry_on and never_on, not "
    assert str(caught.value).startswith(expected)


def test_policies_are_values():
    assert Retry() == Retry(5, 0.5, 2.0, 60.0, 0.1, (Exception,), ())
    assert len({Retry(), Retry(5), Retry(6)}) == 2


def test_a_function_of_ones_own_is_asked_for_what_may_be_tried_again():
    asked = []

    def decide(attempt: int, error: BaseException) -> timedelta | None:
        asked.append((attempt, str(error)))
        return timedelta(minutes=attempt) if str(error) != "stop" else None

    retry = Retry(3, never_on=KeyError, decide=decide)
    said = [
        retry.delay(number, error, CHANCE)
        for number, error in ((1, OSError("a")), (2, OSError("stop")), (3, OSError("b")), (1, KeyError("c")))
    ]

    assert said == [60, None, None, None]
    assert asked == [(1, "a"), (2, "stop")]


@pytest.mark.parametrize(("given", "error"), [(-1, ValueError), ("soon", TypeError), (float("nan"), ValueError)])
def test_what_a_function_gives_must_be_a_delay(given, error):
    with pytest.raises(error):
        Retry(decide=lambda attempt, error: given).delay(1, OSError(), CHANCE)


def test_a_function_that_must_be_awaited_is_refused():
    async def decide(attempt: int, error: BaseException) -> float:
        return 1

    with pytest.raises(TypeError, match="expected a plain function"):
        Retry(decide=decide)  # type: ignore[arg-type]  # what the test is about

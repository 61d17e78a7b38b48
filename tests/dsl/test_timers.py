"""Durations, and what sleeps are made of."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dsl import sleep, sleep_until
from dsl.commands import described
from dsl.timers import LONGEST, Timer, microseconds


def test_sleep_is_the_sum_of_what_is_given():
    assert sleep() == Timer(delay=0)
    assert sleep(5) == Timer(delay=5_000_000)
    assert sleep(0.25) == Timer(delay=250_000)
    assert sleep(timedelta(minutes=1)) == Timer(delay=60_000_000)
    assert sleep(1, minutes=1, hours=1, days=1, weeks=1) == Timer(delay=(1 + 60 + 3600 + 86_400 + 604_800) * 10**6)
    assert sleep(timedelta(seconds=1), minutes=0.5) == Timer(delay=31_000_000)
    assert sleep(days=-1, hours=25) == Timer(delay=3_600_000_000)


@pytest.mark.parametrize("delay", [{"seconds": -1}, {"seconds": timedelta(-5)}, {"days": -1}])
def test_a_negative_sleep_is_none(delay):
    assert sleep(**delay) == Timer(delay=0)


@pytest.mark.parametrize("value", ["5", None, True, [], 1j])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(TypeError, match=r"^sleep\(\) takes seconds or a timedelta, not "):
        sleep(value)


@pytest.mark.parametrize("value", ["5", True, timedelta(1)])
def test_the_other_units_take_numbers(value):
    with pytest.raises(TypeError, match=r"^sleep\(minutes=\) takes a number, not "):
        sleep(minutes=value)


TOO_MUCH = [
    float("nan"),
    float("inf"),
    float("-inf"),
    1e300,
    10**400,
    LONGEST + 1,
    -LONGEST - 1,
    timedelta.max,
]


@pytest.mark.parametrize("value", TOO_MUCH)
def test_what_is_not_finite_or_over_a_century_is_refused(value):
    with pytest.raises(ValueError, match="takes a finite duration of at most a century, not "):
        sleep(value)
    with pytest.raises(ValueError, match=r"^x takes a finite duration of at most a century, not "):
        microseconds(value, "x")


def test_the_sum_is_at_most_a_century_too():
    assert sleep(LONGEST) == Timer(delay=LONGEST * 1_000_000)
    with pytest.raises(ValueError, match="at most a century"):
        sleep(LONGEST, minutes=1)
    with pytest.raises(ValueError, match=r"^sleep\(weeks=\) takes a finite duration"):
        sleep(weeks=6000)


def test_a_duration_is_rounded_to_microseconds():
    assert [microseconds(x, "x") for x in (0.1, 1e-7, 0.0000015, timedelta(microseconds=3), -1)] == [
        100_000,
        0,
        2,
        3,
        -1_000_000,
    ]
    assert microseconds(1 / 3, "x", unit=86_400) == 28_800_000_000


def test_sleep_until_is_an_instant_wherever_it_was_written():
    there = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    assert sleep_until(there) == Timer(due=datetime(2030, 1, 1, 10, tzinfo=UTC))


def test_sleep_until_refuses_a_naive_time():
    with pytest.raises(ValueError) as caught:
        sleep_until(datetime(2030, 1, 1))  # noqa: DTZ001  # that is the mistake

    assert str(caught.value) == (
        "sleep_until() takes an aware datetime; datetime.datetime(2030, 1, 1, 0, 0) is naive: say which time zone is "
        "meant, as in when.replace(tzinfo=UTC)"
    )


def test_sleep_until_refuses_what_is_no_datetime():
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"^sleep_until\(\) takes a datetime, not 5$"):
        sleep_until(wrong)


def test_a_timer_has_a_label():
    assert described(sleep(2.5)) == "sleep(2.5 s)"
    assert described(sleep_until(datetime(2030, 1, 1, tzinfo=UTC))) == "sleep_until(2030-01-01T00:00:00+00:00)"

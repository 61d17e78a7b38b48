"""Words: lengths, instants, values and calls as people read them."""

import os
from datetime import UTC, datetime, timedelta

import click
import pytest

from infinitic.cli import values, words
from infinitic.events import ErrorValue, Frame
from infinitic.records import StateRecord, Wait
from tests.cli.given import NINE, SECOND


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (0, "0 ms"),
        (35_400, "35 ms"),
        (1_000_000, "1 s"),
        (1_250_000, "1.2 s"),
        (59_900_000, "59 s"),
        (60_000_000, "1 min"),
        (250_000_000, "4 min 10 s"),
        (3_600_000_000, "1 h"),
        (183_600_000_000, "2 d 3 h"),
        (-5, "0 ms"),
    ],
)
def test_lengths_are_said_in_one_or_two_units(length, said):
    assert words.duration(length) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "just now"), (59, "59 s ago"), (200, "3 min ago"), (90_000, "1 d ago")]
)
def test_the_past_is_said_in_one_unit(seconds, said):
    assert words.ago(NINE, NINE + round(seconds * SECOND)) == said


@pytest.mark.parametrize(("seconds", "said"), [(90, "due in 1 min 30 s"), (0, "due now"), (-5, "overdue by 5 s")])
def test_what_is_due_says_so(seconds, said):
    assert words.due(NINE + seconds * SECOND, NINE) == said


def test_long_values_are_shortened_and_packed_ones_named():
    assert words.value('{"a":1}') == '{"a":1}'
    assert words.value('"' + "x" * 100 + '"', 10) == '"xxxxxxxx…'
    assert words.value('{"$codec":"pickle","data":"gASV"}') == "(pickle)"


def test_a_call_stands_as_it_does_in_code():
    assert words.call("Hotels.book", '{"city":"Oslo","nights":3}') == 'Hotels.book(city="Oslo", nights=3)'
    assert words.call("now", "null") == "now()"
    assert words.call("f", '{"text":"' + "é" * 99 + '"}', 20) == 'f(text="' + "é" * 18 + "…)"


def test_the_frames_of_this_library_are_left_out():
    ours = Frame("/opt/site-packages/infinitic/worker/tasks.py", 1, "call")
    mine, also = Frame("/srv/trips.py", 2, "book"), Frame("/opt/site-packages/httpx/_client.py", 3, "send")

    assert words.own_frames((ours, mine, also)) == (mine, also)


def test_a_reason_is_told_without_the_id_and_with_paths_as_seen_from_here():
    assert words.reason(f"wf-1: but {os.getcwd()}/trips.py:12 asks", "wf-1") == "but trips.py:12 asks"
    assert words.reason("but /srv/trips.py:12 asks", "wf-1") == "but /srv/trips.py:12 asks"


def test_what_an_instance_waits_for_is_one_line():
    error = ErrorValue("builtins:ConnectionError", "no route")
    waits = (
        Wait("m0.0", "task", "charge", attempt=2, next_at=NINE + 12 * SECOND, error=error),
        Wait("m0.1", "receive", "confirmed", which="where=is_yes"),
        Wait("m0.2", "timer", "timer", next_at=NINE),
    )
    record = StateRecord("trip", "trip-1", "run", waits=waits, waiting=3)

    assert words.waits(record, NINE) == (
        "charge, attempt 3 due in 12 s: ConnectionError: no route; confirmed.receive(where=is_yes); and 1 more"
    )


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30", timedelta(seconds=30)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("5 min", timedelta(minutes=5)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_lengths_are_read_with_their_unit(text, length):
    assert values.duration(text) == length


@pytest.mark.parametrize("text", ["", "h", "-5", "5 years", "1e9", "9" * 30 + "w"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(click.BadParameter):
        values.duration(text)


def test_dates_are_utc_unless_they_say_otherwise():
    assert values.since("2026-07-01") == datetime(2026, 7, 1, tzinfo=UTC)
    assert values.since("2026-07-01T12:00+02:00") == datetime(2026, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("true", True), ("Oslo", "Oslo"), ('"3"', "3"), ("", ""), ("[1,", "[1,")]
)
def test_a_value_is_json_when_it_can_be_and_text_otherwise(text, value):
    assert values.parsed(text) == value


def test_arguments_come_from_json_and_pairs_together():
    assert values.arguments('{"city": "Oslo"}', ["nights=3"]) == {"city": "Oslo", "nights": 3}

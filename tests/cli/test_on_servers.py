"""What operators type works alike at every pair of a transport and a storage."""

import pytest

from infinitic import Worker
from tests.cli import trips
from tests.scenarios.given import until
from tests.scenarios.places import PLACES

VARIABLES = {"url": "INFINITIC_STORAGE", "namespace": "INFINITIC_NAMESPACE"}


@pytest.fixture(params=[name for name in PLACES if name != "memory"])
def command(request, tmp_path, bare):
    """Runs a command at a place where a worker serves trips."""
    with PLACES[request.param](tmp_path) as place:
        environ = {VARIABLES.get(name, f"INFINITIC_{name.upper()}"): value for name, value in place.items()}
        with Worker(**place, workflows=[trips.trip], services=[trips.AcmeHotels, trips.charge]):
            yield lambda *args: bare(*args, **environ)


def as_soon_as(command, word, *args):
    """What a command says, as soon as it says *word*."""
    return until(lambda: out if word in (out := command(*args).out) else "", f"no {word!r} came")


def test_an_instance_is_started_looked_at_checked_signalled_and_purged(command):
    started = command("start", "trip", "city=Oslo", "--id", "trip-1")
    why = as_soon_as(command, "in the channel confirmed", "why", "trip-1")
    shown = command("show", "trip-1")
    listed = command("list", "--json")
    checked = command("check", "trips")
    signalled = command("signal", "trip-1", "confirmed", "yes")
    result = command("result", "trip-1", "--timeout", "20")
    counted = command("list", "--status", "completed", "--json", "--workflow", "trip")
    # its last outputs may not be known to be sent just yet
    until(lambda: command("purge", "--older-than", "0s", "--yes").code == 0 and not command("list", "--json").data)

    assert [one.code for one in (started, shown, checked, signalled, result)] == [0] * 5
    assert "trip trip-1 has waited for a signal" in why
    assert 'trip(city="Oslo")' in shown.out
    assert "confirmed.receive()" in shown.out
    assert [(one["id"], one["status"]) for one in listed.data] == [("trip-1", "running")]
    assert result.out.strip() == "receipt for 300"
    assert [one["id"] for one in counted.data] == ["trip-1"]

"""`why` beside real workers, and where there are none: what it reads of the storage and of the queues."""

import re

import pytest

from tests.cli.given import tidy

CARS = """
from infinitic import Flow, Service, task, workflow


class Cars(Service):
    @task
    def book(self, city: str) -> int:
        raise NotImplementedError


@workflow
def rent(city: str) -> Flow[int]:
    return (yield from Cars.book(city))


@workflow
def journey(city: str) -> Flow[int]:
    return (yield from rent(city).options(id="rent-1"))
"""
LOT = """
import pathlib, time
from cars import Cars


class SlowCars(Cars):
    def book(self, city: str) -> int:
        pathlib.Path("running").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        return 1
"""


@pytest.fixture
def cars(folder):
    """A module of workflows, and one that implements their service."""
    (folder / "cars.py").write_text(CARS)
    (folder / "lot.py").write_text(LOT)


def told(infinitic, workflow_id):
    """The paragraph, without times, and the commands."""
    paragraph, *commands = infinitic("why", workflow_id).out.splitlines()
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "…", tidy(paragraph))
    text = re.sub(r"(?:just now|\d+ s ago) \(…\)|\b\d+(?:\.\d)? m?s\b", "…", text)
    return text, [" ".join(line.split()) for line in commands]


def until(condition):
    while not condition():
        pass


def test_a_start_that_nobody_serves_is_told_from_the_queue(infinitic):
    infinitic("start", "trip", "city=Oslo", "--id", "trip-1")
    data = infinitic("why", "trip-1", "--json").data

    assert infinitic("why", "trip-1").code == 0
    assert (data["workflow"], data["workflow_id"], data["status"]) == ("trip", "trip-1", "")
    assert data["traffic"] == {"consumers": 0, "waiting": 1}
    assert "No worker serves the workflow trip just now; 1 message waits for one." in data["text"]
    assert data["helps"] == [
        {"command": "infinitic worker MODULE", "does": "a module that holds the workflow trip"},
    ]


def test_a_task_that_nobody_serves_and_a_child_that_waits_for_it(infinitic, cars, worker):
    serving = worker("cars")
    infinitic("start", "journey", "city=Oslo", "--id", "journey-1")
    until(lambda: "rent-1" in infinitic("list").out)

    assert told(infinitic, "rent-1") == (
        'rent rent-1 has waited for Cars.book(city="Oslo") for … (since …), at cars.py:N in rent: '
        "`return (yield from Cars.book(city))`. No worker serves the service Cars just now; 1 task waits for one.",
        [
            "infinitic worker MODULE # a module that implements Cars",
            "infinitic show rent-1 # shows all its steps",
        ],
    )
    assert told(infinitic, "journey-1") == (
        "journey journey-1 has waited for its child rent rent-1 for … (since …), at cars.py:N in journey: "
        '`return (yield from rent(city).options(id="rent-1"))`. The child waits for Cars.book.',
        ["infinitic why rent-1 # tells more of what holds it up", "infinitic show journey-1 # shows all its steps"],
    )

    serving.stop()
    assert told(infinitic, "journey-1")[0].endswith(
        "The child waits for Cars.book (no worker serves rent just now). "
        "No worker serves the workflow journey just now: what comes for it waits in the queue."
    )


def test_a_task_that_runs_says_where(infinitic, cars, worker, folder):
    worker("cars")
    serving = worker("lot")
    infinitic("start", "rent", "city=Oslo", "--id", "rent-1")
    until((folder / "running").exists)

    assert told(infinitic, "rent-1")[0].endswith(f"It runs in process {serving.process.pid}.")
    (folder / "go").touch()
    assert infinitic("result", "rent-1", "--timeout", "60").out == "1\n"
    assert told(infinitic, "rent-1")[0] == "rent rent-1 completed …, after …, and returned 1."


def test_a_failed_and_a_suspended_instance(infinitic, worker, folder):
    serving = worker("trips")
    infinitic("start", "payment", "card=stolen", "--id", "pay-1", "--wait")
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    infinitic("call", "ada", "redeem", "points=2")
    serving.stop()
    changed = (folder / "trips.py").read_text().replace("self.bonus.receive()", "sleep(1)")
    (folder / "trips.py").write_text(changed)
    worker("trips")
    infinitic("signal", "ada", "bonus", "5")

    assert 'It comes from attempt 3 of charge(card="stolen", cents=500) on ' in told(infinitic, "pay-1")[0]
    assert told(infinitic, "pay-1")[1][0] == "infinitic retry pay-1 # goes on where it failed"
    suspended = told(infinitic, "ada")[0]
    assert suspended.startswith("Loyalty ada has been suspended for … (since …): history says bonus.receive() at ")
    assert "it goes on with what waits in its inbox (1 signal)" in suspended


def test_an_unknown_id_suggests_those_that_look_like_it(infinitic, worker):
    worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "pay-17", "--wait")
    unknown = infinitic("why", "pay-71")

    assert (unknown.code, unknown.out) == (5, "")
    assert unknown.line == "there is no workflow instance with the id 'pay-71'. Did you mean pay-17?"


def test_the_commands_name_the_backend_where_it_was_named(bare, url):
    bare("start", "trip", "city=Oslo", "--id", "trip-1", "--url", url)

    assert f"  infinitic worker MODULE --url {url}  # " in bare("why", "trip-1", "--url", url).out


def test_without_a_storage_it_cannot_be_told(bare):
    refused = bare("why", "x", "--transport", "pulsar://host")

    assert refused.code == 3
    assert refused.line == (
        "infinitic why reads the storage, and none is configured. Give --storage URL, or INFINITIC_STORAGE."
    )

"""The booking that `infinitic demo` runs: contracts, their implementations, the workflow, and a process that serves them.

The law of the place: what a task does in the world it also says on a pipe, so that the demo can tell it as it happens.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from attrs import frozen

from dsl import Flow, Service, current_task, gather, task, workflow
from infinitic.worker import Worker

PIPE = "BOOKING_DEMO_PIPE"
FOLDER = "BOOKING_DEMO_FOLDER"
A_MOMENT = 0.25
ON_THE_PHONE = 30.0
"""How long the hotel takes to confirm, in seconds: long enough for anybody to pull the plug meanwhile."""

# --- contracts ---


@frozen
class Reservation:
    """What was reserved, under which number, for how many euros."""

    what: str
    number: str
    euros: int


class Cars(Service):
    @task
    def book(self, city: str) -> Reservation:
        raise NotImplementedError


class Flights(Service):
    @task
    def book(self, city: str) -> Reservation:
        raise NotImplementedError


class Hotels(Service):
    @task
    def book(self, city: str, nights: int) -> Reservation:
        raise NotImplementedError


class Bank(Service):
    @task
    def charge(self, euros: int) -> str:
        raise NotImplementedError


# --- the workflow ---


@workflow
def booking(city: str, nights: int) -> Flow[str]:
    car, flight = yield from gather(Cars.book(city), Flights.book(city))
    hotel = yield from Hotels.book(city, nights)
    return (yield from Bank.charge(car.euros + flight.euros + hotel.euros))


# --- implementations ---


class Said(msgspec.Struct, frozen=True):
    """One line on the pipe: *what* is "ready", "begins" or "ends"; the rest is about the task."""

    what: str
    pid: int
    task: str = ""
    key: str = ""
    attempt: int = 0


def say(what: str) -> None:
    """Write one line, of the task that runs if one does, for the demo to read."""
    said = Said(what, os.getpid())
    if what != "ready":
        current = current_task()
        said = Said(what, os.getpid(), current.name, current.id, current.attempt)
    os.write(int(os.environ[PIPE]), msgspec.json.encode(said) + b"\n")


@contextmanager
def told() -> Iterator[None]:
    """Say when the task begins and ends; it takes a moment at least."""
    say("begins")
    time.sleep(A_MOMENT)
    yield
    say("ends")


class RedCars(Cars):
    def book(self, city: str) -> Reservation:
        with told():
            return Reservation("car", "C-7", 180)


class NorthFlights(Flights):
    def book(self, city: str) -> Reservation:
        with told():
            return Reservation("flight", "F-12", 420)


class GrandHotels(Hotels):
    def book(self, city: str, nights: int) -> Reservation:
        with told():
            if rooms_reserved(key=current_task().id) == "now":
                time.sleep(ON_THE_PHONE)
            return Reservation("room", "R-301", 140 * nights)


class TrueBank(Bank):
    def charge(self, euros: int) -> str:
        with told():
            return f"paid {euros} €"


def rooms_reserved(key: str) -> str:
    """The hotel's own book: it reserves one room for each key, "now" or "before"."""
    try:
        (Path(os.environ[FOLDER]) / key).touch(exist_ok=False)
    except FileExistsError:
        return "before"
    return "now"


# --- a process ---


def serve(url: str) -> None:
    """Serve until the standard input ends: then the demo is over, however it ended."""
    with Worker(url, workflows=[booking], services=[RedCars, NorthFlights, GrandHotels, TrueBank]):
        say("ready")
        sys.stdin.read()

"""The booking of `infinitic demo`: contracts, implementations, workflow, and a process that serves them.

The law of the place: a task says on a pipe what it does, so that the demo can tell it as it happens.
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
READY, BEGINS, ENDS = "ready", "begins", "ends"
RESERVED = "has reserved a room, and waits for the confirmation"
KNOWN = "hears that this request came before: the same room"

A_MOMENT = 0.4
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
    """One line on the pipe: what the process *pid* does, and by which attempt of which task."""

    what: str
    pid: int
    task: str = ""
    key: str = ""
    attempt: int = 0


def write(said: Said) -> None:
    os.write(int(os.environ[PIPE]), msgspec.json.encode(said) + b"\n")


def say(what: str) -> None:
    """Say what the task that runs does."""
    current = current_task()
    write(Said(what, os.getpid(), current.name, current.id, current.attempt))


@contextmanager
def told() -> Iterator[None]:
    """Say when the task begins and ends; it takes a moment at least."""
    say(BEGINS)
    time.sleep(A_MOMENT)
    yield
    say(ENDS)


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
            if is_reserved(key=current_task().id):
                say(KNOWN)
            else:
                say(RESERVED)
                time.sleep(ON_THE_PHONE)
            return Reservation("room", "R-301", 140 * nights)


class TrueBank(Bank):
    def charge(self, euros: int) -> str:
        with told():
            return f"paid {euros} €"


def is_reserved(key: str) -> bool:
    """The hotel's own book, with a room for each key: whether it had one already for this one."""
    try:
        (Path(os.environ[FOLDER]) / key).touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


# --- a process ---


def serve(url: str) -> None:
    """Serve until the standard input ends: then the demo is over, however it ended."""
    with Worker(url, workflows=[booking], services=[RedCars, NorthFlights, GrandHotels, TrueBank]):
        write(Said(READY, os.getpid()))
        sys.stdin.read()

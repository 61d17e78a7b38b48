"""The booking: paid for, refused, cancelled, with a real worker; and what takes time on a stage whose clock jumps."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from infinitic import Client, TaskFailed, Worker, WorkflowCancelled, WorkflowFailed
from infinitic.testing import Stage
from samples.booking.contract import Cars, Flights, FullyBooked, Reservation
from samples.booking.services import GrandHotels, NorthFlights, RedCars
from samples.booking.workflow import Trip, booking, paid

Place = dict[str, Any]


class SlowHotels(GrandHotels):
    """Hotels that book when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_go_on = Event(), Event()

    def book(self, reference: str, city: str, nights: int) -> Reservation:
        self.asked.set()
        assert self.may_go_on.wait(10)
        return super().book(reference, city, nights)


class Agency:
    """The three companies at work, and a client."""

    def __init__(self, place: Place, hotels: GrandHotels) -> None:
        self.companies = (RedCars(), NorthFlights(), hotels)
        self.worker = Worker(**place, workflows=[booking], services=self.companies)
        self.client = Client(**place)

    @property
    def reserved(self) -> set[str]:
        return {one.what for company in self.companies for one in company.ledger.reserved.values()}


Open = Callable[[GrandHotels], Agency]


@pytest.fixture
def agency(place: Place) -> Iterator[Open]:
    """Makes an agency that works until the test is over."""
    made: list[Agency] = []

    def make(hotels: GrandHotels) -> Agency:
        made.append(Agency(place, hotels))
        made[-1].worker.start()
        return made[-1]

    yield make
    for one in made:
        one.worker.close()
        one.client.close()


def test_a_trip_that_is_paid_for_is_booked(agency: Open) -> None:
    us = agency(GrandHotels())
    handle = us.client.start(booking("Oslo", nights=2), id="oslo")
    us.client.run(paid.by_id("oslo").send("card 4242"))

    assert handle.result(timeout=10) == Trip(
        car=Reservation("oslo", "car in Oslo", 180_00),
        flight=Reservation("oslo", "flight to Oslo", 420_00),
        hotel=Reservation("oslo", "2 nights in Oslo", 280_00),
        receipt="card 4242",
    )
    assert us.reserved == {"car in Oslo", "flight to Oslo", "2 nights in Oslo"}


def test_when_the_hotel_is_full_car_and_flight_are_given_back(agency: Open) -> None:
    us = agency(GrandHotels())

    with pytest.raises(WorkflowFailed) as failed:
        us.client.run(booking("Atlantis"), timeout=10)

    assert isinstance(failed.value.error, TaskFailed)
    assert isinstance(failed.value.error.error, FullyBooked)
    assert us.reserved == set()


def test_a_trip_that_nobody_pays_for_is_given_back() -> None:
    companies = RedCars(), NorthFlights(), GrandHotels()
    with Stage(workflows=[booking], services=companies) as stage:
        began = stage.now
        with pytest.raises(WorkflowFailed, match="TimeoutError"):
            stage.client.run(booking("Oslo"))

        assert stage.now - began == timedelta(minutes=15)
    assert [one.ledger.reserved for one in companies] == [{}, {}, {}]


def test_a_company_that_is_down_is_asked_again_before_all_is_given_back() -> None:
    companies = RedCars(), NorthFlights(), GrandHotels()
    with Stage(workflows=[booking], services=companies) as stage:
        stage.script(Flights.book, ConnectionError("the airline is down"))
        with pytest.raises(WorkflowFailed, match="the airline is down"):
            stage.client.run(booking("Oslo"))

        assert len(stage.attempts(Flights.book)) == 5
        assert len(stage.attempts(Cars.cancel)) == 1
    assert [one.ledger.reserved for one in companies] == [{}, {}, {}]


def test_a_trip_that_is_cancelled_is_given_back_even_when_the_hotel_answers_late(agency: Open) -> None:
    hotels = SlowHotels()
    us = agency(hotels)
    handle = us.client.start(booking("Rome"))
    assert hotels.asked.wait(10)

    handle.cancel(timeout=10)
    with pytest.raises(WorkflowCancelled):
        handle.result(timeout=10)
    hotels.may_go_on.set()
    us.worker.close()

    assert us.reserved == set()

"""Car, flight and hotel, booked side by side and held until they are paid for; all of them, or none."""

from attrs import frozen

from infinitic import Channel, Flow, compensations, settle, timeout, workflow, workflow_id
from samples.booking.contract import Cars, Flights, Hotels, Reservation

paid = Channel(str, name="paid")


@frozen
class Trip:
    car: Reservation
    flight: Reservation
    hotel: Reservation
    receipt: str


@workflow
def booking(city: str, nights: int = 3, pay_within: float = 900) -> Flow[Trip]:
    reference = workflow_id()
    with compensations() as undo:
        undo(Cars.cancel(reference))
        undo(Flights.cancel(reference))
        undo(Hotels.cancel(reference))
        car, flight, hotel = yield from settle(
            Cars.book(reference, city),
            Flights.book(reference, city),
            Hotels.book(reference, city, nights),
        )
        reserved = car.value, flight.value, hotel.value  # raises where one has failed
        receipt = yield from timeout(paid.receive(), pay_within)
    return Trip(*reserved, receipt)

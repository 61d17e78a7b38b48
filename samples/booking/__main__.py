"""Three bookings: one that succeeds, one that fails, one that is cancelled. `python -m samples.booking`."""

from infinitic import Client, Worker, WorkflowCancelled, WorkflowFailed
from samples.booking.services import GrandHotels, NorthFlights, RedCars
from samples.booking.workflow import booking, paid

COMPANIES = cars, flights, hotels = RedCars(), NorthFlights(), GrandHotels()


def reserved(reference: str) -> list[str]:
    """What the companies hold under a reference."""
    return [one.ledger.reserved[reference].what for one in COMPANIES if reference in one.ledger.reserved]


with Worker("memory://", workflows=[booking], services=COMPANIES), Client("memory://") as client:
    oslo = client.start(booking("Oslo"), id="oslo")
    client.run(paid.by_id("oslo").send("card 4242"))
    trip = oslo.result(timeout=10)
    print(f"oslo: paid with {trip.receipt}; reserved: {reserved('oslo')}")

    try:
        client.start(booking("Atlantis"), id="atlantis").result(timeout=10)
    except WorkflowFailed as failure:
        print(f"atlantis: {failure.error}; reserved: {reserved('atlantis')}")

    rome = client.start(booking("Rome"), id="rome")
    rome.cancel()
    try:
        rome.result(timeout=10)
    except WorkflowCancelled:
        print(f"rome: cancelled; reserved: {reserved('rome')}")

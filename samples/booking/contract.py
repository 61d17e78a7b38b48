"""What can be booked: the services as their callers see them, and the data that travels.

Every booking is made under a reference that the caller chooses. Booking again under the same one gives the
same reservation; cancelling gives back whatever was booked under it, and keeps late bookings out.
"""

from attrs import frozen

from infinitic import Retry, Service, task


@frozen
class Reservation:
    reference: str
    what: str
    cents: int


class FullyBooked(Exception):
    """There is nothing left to book."""


ONCE_IS_ENOUGH = Retry(never_on=FullyBooked)


class Cars(Service):
    @task(retry=ONCE_IS_ENOUGH)
    def book(self, reference: str, city: str) -> Reservation:
        raise NotImplementedError

    @task
    def cancel(self, reference: str) -> None:
        raise NotImplementedError


class Flights(Service):
    @task(retry=ONCE_IS_ENOUGH)
    def book(self, reference: str, city: str) -> Reservation:
        raise NotImplementedError

    @task
    def cancel(self, reference: str) -> None:
        raise NotImplementedError


class Hotels(Service):
    @task(retry=ONCE_IS_ENOUGH)
    def book(self, reference: str, city: str, nights: int) -> Reservation:
        raise NotImplementedError

    @task
    def cancel(self, reference: str) -> None:
        raise NotImplementedError

"""Who books: three companies, each with a ledger. In earnest these classes would call the companies' APIs."""

from threading import Lock

from infinitic import DoNotRetry
from samples.booking.contract import Cars, Flights, FullyBooked, Hotels, Reservation


class Ledger:
    """One company's reservations by reference."""

    def __init__(self) -> None:
        self.reserved: dict[str, Reservation] = {}
        self._cancelled: set[str] = set()
        self._lock = Lock()  # tasks run on several threads

    def reserve(self, reference: str, what: str, cents: int) -> Reservation:
        with self._lock:
            if reference in self._cancelled:
                raise DoNotRetry(f"{reference} was cancelled")
            return self.reserved.setdefault(reference, Reservation(reference, what, cents))

    def cancel(self, reference: str) -> None:
        with self._lock:
            self._cancelled.add(reference)
            self.reserved.pop(reference, None)


class RedCars(Cars):
    def __init__(self) -> None:
        self.ledger = Ledger()

    def book(self, reference: str, city: str) -> Reservation:
        return self.ledger.reserve(reference, f"car in {city}", 180_00)

    def cancel(self, reference: str) -> None:
        self.ledger.cancel(reference)


class NorthFlights(Flights):
    def __init__(self) -> None:
        self.ledger = Ledger()

    def book(self, reference: str, city: str) -> Reservation:
        return self.ledger.reserve(reference, f"flight to {city}", 420_00)

    def cancel(self, reference: str) -> None:
        self.ledger.cancel(reference)


class GrandHotels(Hotels):
    def __init__(self) -> None:
        self.ledger = Ledger()

    def book(self, reference: str, city: str, nights: int) -> Reservation:
        if city == "Atlantis":
            raise FullyBooked(f"no room in {city}")
        return self.ledger.reserve(reference, f"{nights} nights in {city}", nights * 140_00)

    def cancel(self, reference: str) -> None:
        self.ledger.cancel(reference)

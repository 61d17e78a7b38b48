"""The workflows of the samples as they were when the golden histories of this folder were written: never changed."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from attrs import frozen

from dsl import (
    BranchCancelled,
    Call,
    Channel,
    Deferred,
    Flow,
    Retry,
    Service,
    TaskFailed,
    Workflow,
    compensations,
    continue_as_new,
    dispatch,
    method,
    now,
    query,
    settle,
    sleep,
    sleep_until,
    spawn,
    task,
    timeout,
    uuid4,
    workflow,
    workflow_id,
)

# --- hello ---


class Greetings(Service):
    @task
    def greet(self, name: str) -> str:
        raise NotImplementedError

    @task
    def cheer(self, text: str, marks: int = 1) -> str:
        raise NotImplementedError


@workflow
def hello(name: str) -> Flow[str]:
    greeting = yield from Greetings.greet(name)
    return (yield from Greetings.cheer(greeting, marks=3))


# --- booking ---


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


# --- invoicing ---


@frozen
class Invoice:
    customer: str
    number: int
    units: int
    cents: int
    due: datetime


class Declined(Exception):
    """The bank does not pay, today."""


class Payments(Service):
    @task(retry=Retry(max_attempts=3, initial=86_400, factor=1, maximum=86_400, jitter=0))  # once a day
    def collect(self, invoice: Invoice) -> str:
        raise NotImplementedError


class Customers(Service):
    @task
    def suspend(self, customer: str, reason: str) -> None:
        raise NotImplementedError

    @task
    def resume(self, customer: str) -> None:
        raise NotImplementedError


usage = Channel(int, name="usage")  # units, as they are used
settled = Channel(int, name="settled")  # the number of an invoice that was paid by other means

A_RUN = 12
"""How many invoices one run makes: then the next run begins, with an empty history."""


@workflow
def invoicing(
    customer: str,
    cents_per_unit: int,
    period: timedelta = timedelta(days=30),
    number: int = 1,
    since: datetime | None = None,
) -> Flow[None]:
    """Never returns. *number* is the next invoice's, *since* is when its period began."""
    due = since or now()
    for each in range(number, number + A_RUN):
        due += period
        yield from sleep_until(due)
        units = sum(usage.drain())  # what comes from here on is for the next invoice
        if units:
            yield from collect(Invoice(customer, each, units, units * cents_per_unit, due))
    yield from continue_as_new(invoicing(customer, cents_per_unit, period, number + A_RUN, due))


def collect(invoice: Invoice) -> Flow[None]:
    """Have an invoice paid; while it is not, the customer is suspended."""
    try:
        yield from Payments.collect(invoice)
    except TaskFailed as failure:
        yield from Customers.suspend(invoice.customer, f"invoice {invoice.number}: {failure.error}")
        while (yield from settled.receive()) != invoice.number:
            pass  # it was of an earlier one
        yield from Customers.resume(invoice.customer)


# --- loyalty ---


@frozen
class Account:
    points: int
    tier: str


@frozen
class NotEnoughPoints(Exception):
    """Also for fewer than one point."""

    wanted: int
    held: int

    def __str__(self) -> str:
        return f"{self.wanted} points are wanted, and {self.held} are there"


class OutOfStock(Exception):
    """There is no voucher for so many points."""


class Mail(Service):
    @task
    def send(self, reference: str, member: str, text: str) -> None:
        raise NotImplementedError


class Vouchers(Service):
    @task(retry=Retry(never_on=OutOfStock))
    def issue(self, reference: str, points: int) -> str:
        raise NotImplementedError


T = TypeVar("T")

A_WEEK = 10
TIERS = {"gold": 1_000, "silver": 200, "bronze": 0}  # points that were earned in all


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.member, self.tier = "", "bronze"
        self.points = self.earned = 0
        self.earning: list[Deferred[None]] = []
        self.spending: list[Deferred[Any]] = []

    @method
    def run(self, member: str) -> Flow[int]:
        """Collect points until the account is closed; gives those that are left."""
        self.member = member
        self.earning = [spawn(self.earn_weekly()), spawn(self.earn_bonuses())]
        for one in self.earning:
            with suppress(BranchCancelled):  # by close()
                yield from one
        yield from settle(*self.spending)  # what cannot be spent comes back
        return self.points

    def earn_weekly(self) -> Flow[None]:
        while True:
            yield from sleep(days=7)
            self.add(A_WEEK)

    def earn_bonuses(self) -> Flow[None]:
        while True:
            self.add((yield from self.bonus.receive()))

    def add(self, points: int) -> None:
        self.points += points
        self.earned += points
        tier = next(name for name, least in TIERS.items() if self.earned >= least)
        if tier != self.tier:
            self.tier = tier
            dispatch(self.letter(f"you are {tier} now"))  # nobody waits: what fails is this letter alone

    def letter(self, text: str) -> Call[None]:
        return Mail.send(str(uuid4()), self.member, text)

    @method
    def redeem(self, points: int) -> Flow[str]:
        """Buy a voucher. Raises `NotEnoughPoints`; the points come back when the shop has none."""
        return (yield from self.spend(points, Vouchers.issue(str(uuid4()), points)))

    @method
    def give(self, to: str, points: int) -> Flow[None]:
        """Hand points over to another member. Raises `NotEnoughPoints`; they come back when there is no such member."""
        yield from self.spend(points, Loyalty.by_id(to).credit(points))

    @method
    def credit(self, points: int) -> None:
        """Take points that another member gives."""
        self.add(points)

    def spend(self, points: int, on: Call[T]) -> Flow[T]:
        if not 0 < points <= self.points:
            raise NotEnoughPoints(points, self.points)
        self.points -= points  # before the yield: others may spend meanwhile
        spending = spawn(self.spent(points, on))
        self.spending.append(spending)
        return (yield from spending)

    def spent(self, points: int, on: Call[T]) -> Flow[T]:
        """Runs on when whoever asked for it does not wait any more."""
        try:
            return (yield from on)
        except Exception:
            self.points += points
            raise

    @method
    def close(self) -> Flow[None]:
        """End the membership: no more points. What is under way is finished."""
        for one in self.earning:
            one.cancel()
        yield from settle(*self.spending)
        yield from self.letter(f"goodbye, with {self.points} points")

    @query
    def account(self) -> Account:
        return Account(self.points, self.tier)

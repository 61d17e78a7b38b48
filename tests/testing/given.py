"""What these tests put on a stage: a trip that is booked, confirmed and paid for."""

from typing import Any

from attrs import frozen

from dsl import Channel, Flow, Retry, Service, Workflow, gather, method, query, sleep, task, workflow


@frozen
class Booking:
    number: str
    euros: int


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> Booking:
        raise NotImplementedError


class GrandHotels(Hotels):
    def book(self, city: str, nights: int = 1) -> Booking:
        return Booking(f"H-{city}", 140 * nights)


class Cars(Service):
    @task
    async def book(self, city: str) -> Booking:
        return Booking(f"C-{city}", 180)


@task(retry=Retry(max_attempts=3, initial=10, factor=2, jitter=0), timeout=30)
def charge(card: str, euros: int) -> str:
    return f"{card} paid {euros}"


confirmed = Channel(str, name="confirmed")


@workflow
def trip(city: str, card: str = "visa") -> Flow[str]:
    hotel, car = yield from gather(Hotels.book(city, nights=3), Cars.book(city))
    answer = yield from (confirmed.receive() | sleep(hours=24))
    if answer != "yes":
        return f"no trip to {city}"
    return (yield from charge(card, hotel.euros + car.euros))


@workflow
def waits() -> Flow[str]:
    return (yield from confirmed.receive())


class Counter(Workflow):
    steps = Channel(int)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self, until: int) -> Flow[int]:
        while self.total < until:
            step = yield from self.steps.receive()
            self.total += step
        return self.total

    @method
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @query
    def so_far(self) -> int:
        return self.total


def text(error: Any) -> str:
    """What a raised error says, without the paths of this machine."""
    return str(error.value).replace(__file__, "given.py")

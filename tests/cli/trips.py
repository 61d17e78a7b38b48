"""What the tests serve and show: services, workflow functions, a workflow class."""

from infinitic import (
    Channel,
    Flow,
    Retry,
    Service,
    TaskTimedOut,
    Workflow,
    continue_as_new,
    current_task,
    dispatch,
    gather,
    inline,
    method,
    query,
    race,
    sleep,
    spawn,
    task,
    workflow,
)

confirmed = Channel(str, name="confirmed")


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> int:
        raise NotImplementedError


class AcmeHotels(Hotels):
    def book(self, city: str, nights: int = 1) -> int:
        return 100 * nights


class Cars(Service):
    @task
    def book(self, city: str) -> int:
        raise NotImplementedError


@task(retry=Retry(max_attempts=3, initial=0.001, jitter=0))
def charge(card: str, cents: int) -> str:
    if card == "stolen" or (card == "slow" and current_task().attempt < 3):
        raise ConnectionError("no route to the bank")
    return f"receipt for {cents}"


@workflow
def trip(city: str, card: str = "visa") -> Flow[str]:
    price, _ = yield from gather(Hotels.book(city, nights=3), charge(card, 100))
    answer = yield from (confirmed.receive() | sleep(days=2))
    if answer is None:
        return "nobody confirmed"
    return (yield from charge(card, price))


@task(total_timeout=600, queue_timeout=60, heartbeat=30)
def copy(files: int) -> int:
    return files


@workflow
def backup() -> Flow[int]:
    return (yield from copy(3))


@workflow
def patient_backup() -> Flow[str]:
    try:
        yield from copy(3)
    except TaskTimedOut:
        yield from sleep(hours=1)
    return "later"


@workflow
def payment(card: str) -> Flow[str]:
    return (yield from pay(card))


def pay(card: str) -> Flow[str]:
    return (yield from charge(card, 500))


def dice() -> int:
    return 4


@workflow
def parent(card: str) -> Flow[str]:
    chance = yield from inline(dice)
    yield from confirmed.by_id("trip-1").send("yes")
    paid = yield from payment(card).options(id="pay-1")
    return f"{chance} {paid}"


@workflow
def branches() -> Flow[int]:
    first, second = spawn(booked("Oslo")), spawn(booked("Rome"))
    return (yield from first) + (yield from second)


def booked(city: str) -> Flow[int]:
    price = yield from Hotels.book(city)
    yield from charge("visa", price)
    return price


@workflow
def hasty() -> Flow[str]:
    name, _ = yield from race(paid=charge("visa", 1), late=sleep(5))
    return name


@workflow
def careless() -> str:
    dispatch(charge("visa", 1))
    return "done"


@workflow
def many() -> Flow[None]:
    yield from gather(*(sleep(days=1) for _ in range(30)))


@workflow
def monthly(month: int) -> Flow[int]:
    yield from sleep(days=30)
    yield from continue_as_new(monthly(month + 1))
    return 0


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.points = 0

    @method
    def run(self, weeks: int) -> Flow[int]:
        for _ in range(weeks):
            extra = yield from self.bonus.receive()
            self.points += extra
        return self.points

    @method
    def redeem(self, points: int) -> bool:
        self.points -= points
        return True

    @redeem.validator
    def check_redeem(self, points: int) -> None:
        if points > 1_000:
            raise ValueError(f"{points} are too many")

    @query
    def balance(self) -> int:
        return self.points

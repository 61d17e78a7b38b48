"""What the workflows of these tests ask for: tasks, children, channels."""

from typing import Any

import attrs

from dsl import Channel, Flow, Service, Workflow, method, query, task, workflow


@attrs.frozen
class Card:
    number: str
    cvc: int = 0


@attrs.frozen
class Shut(Exception):
    """The hotel is shut."""

    city: str


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> str:
        raise NotImplementedError

    @task
    def cancel(self, booking: str) -> None:
        raise NotImplementedError


@task
def step(name: str) -> Any:
    """Anything at all."""


@task
def count(number: int) -> int:
    raise NotImplementedError


@task
def charge(card: Card, cents: int = 100) -> str:
    raise NotImplementedError


@task
def tagged(tags: set[str], extra: dict[str, int] | None = None) -> None:
    raise NotImplementedError


@workflow
def child(name: str) -> Flow[int]:
    return (yield from count(1))


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.points = 0
        self.log: list[str] = []

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

    @method
    def slowly(self, name: str) -> Flow[str]:
        self.log.append(name)
        self.points += 100
        answer = yield from step(name)
        return f"{name}: {answer}, {self.points}"

    @query
    def balance(self) -> int:
        return self.points


confirmed = Channel(str, name="confirmed")
amounts = Channel(int, name="amounts")

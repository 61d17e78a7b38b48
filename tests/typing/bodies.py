"""What the checkers know of delegated tasks and of batches. Lines with two ignores are mistakes that both flag."""

from collections.abc import Sequence
from typing import NamedTuple, assert_type

from dsl import Batch, Call, Flow, Retry, Service, gather, task
from infinitic import AsyncClient, Client, Worker


@task
def charge(card: str, cents: int = 100) -> bytes:
    raise NotImplementedError


def same_card(card: str, cents: int) -> str:
    return card


@task(batch=Batch(charge, size=100, wait=0.05, key=same_card), retry=Retry(), timeout=5)
def charge_all(calls: list[tuple[str, int]]) -> list[bytes | Exception]:
    return [b"" if cents else ValueError(card) for card, cents in calls]


@task(batch=Batch(charge))
async def charge_all_async(calls: Sequence[tuple[str, int]]) -> list[bytes]:
    return [b"" for _ in calls]


class Refund(NamedTuple):
    card: str
    cents: int


class Billing(Service):
    @task
    def refund(self, card: str, cents: int) -> bool:
        raise NotImplementedError

    @task
    def send(self, to: str) -> int:
        return len(to)

    @task(batch=Batch(send))
    def send_all(self, calls: list[tuple[str]]) -> list[int]:
        return [len(to) for (to,) in calls]


class AcmeBilling(Billing):
    @task(batch=Batch(Billing.refund, key=same_card))
    async def refund_all(self, calls: list[Refund]) -> list[bool | Exception]:
        return [one.cents > 0 for one in calls]


@task(delegated=True)
def approve(order: str) -> bool | None:
    return None


@task(delegated=True, timeout=5, name="sign")
async def approve_async(order: str) -> bool | None:
    return None


@task(delegated=True)
def payment(order: str) -> None: ...


class Office(Service):
    @task(delegated=True)
    def stamp(self, paper: str) -> str:
        raise NotImplementedError

    @task(delegated=True)
    async def file(self, paper: str) -> None:
        raise NotImplementedError


class AcmeOffice(Office):
    """Gives the answer to nobody: somebody else will."""

    def stamp(self, paper: str) -> None: ...

    async def file(self, paper: str) -> None: ...


assert_type(charge("4242", cents=5), Call[bytes])
assert_type(Billing.refund("4242", 5), Call[bool])
assert_type(AcmeBilling.refund("4242", cents=5), Call[bool])
assert_type(Billing.send("ann"), Call[int])
assert_type(approve("o-1"), Call[bool])
assert_type(approve_async("o-1"), Call[bool])
assert_type(payment("o-1"), Call[None])
assert_type(Office.stamp("p"), Call[str])
assert_type(Office.file("p"), Call[None])
worker = Worker(services=[charge_all, charge_all_async, AcmeBilling, AcmeOffice, approve, payment])


def generator() -> Flow[None]:
    assert_type((yield from charge("4242", 5)), bytes)
    assert_type((yield from approve("o-1")), bool)
    assert_type((yield from gather(charge("a"), Office.stamp("p"))), tuple[bytes, str])


async def completing(client: Client, aclient: AsyncClient) -> None:
    assert_type(client.complete("id", {"a": 1}), bool)
    assert_type(client.fail("id", ValueError("no"), timeout=5), bool)
    assert_type(await aclient.complete("id"), bool)
    assert_type(await aclient.fail("id", ValueError("no")), bool)


def other_answers(calls: list[tuple[str, int]]) -> list[str]:
    return []


task(batch=Batch(charge))(other_answers)  # type: ignore[arg-type, type-var]  # pyright: ignore[reportCallIssue, reportArgumentType]
task(batch=Batch(charge), name="x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
charge("4242", "5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
approve(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

"""What a loyalty programme needs of others, and the data that travels.

Every letter and every voucher comes with a reference: asked for again under the same one, it is the same letter and
the same voucher.
"""

from attrs import frozen

from infinitic import Retry, Service, task


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

"""What invoicing needs of others, and the data that travels. Money is in whole cents.

A payment is made under the invoice's number: asked for again, it is the same payment.
"""

from datetime import datetime

from attrs import frozen

from infinitic import Retry, Service, task


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

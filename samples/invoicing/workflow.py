"""A customer's invoices, for ever: what was used comes as signals, and every period ends with an invoice."""

from datetime import datetime, timedelta

from infinitic import Channel, Flow, TaskFailed, continue_as_new, now, sleep_until, workflow
from samples.invoicing.contract import Customers, Invoice, Payments

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

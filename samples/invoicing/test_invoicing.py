"""Years of invoices in milliseconds; and some short periods with a real worker, over a SQLite file."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest

from infinitic import Client, Worker, WorkflowCancelled, continue_as_new
from infinitic.testing import Stage, TimerFired, rehearse
from samples.invoicing.contract import Declined, Invoice, Payments
from samples.invoicing.services import Bank, CustomerList
from samples.invoicing.workflow import A_RUN, invoicing, settled, usage

MONTH = timedelta(days=30)
used = usage.by_id("acme")


@pytest.fixture
def bank() -> Bank:
    return Bank(acme=1_000_000)


@pytest.fixture
def customers() -> CustomerList:
    return CustomerList()


@pytest.fixture
def stage(bank: Bank, customers: CustomerList) -> Iterator[Stage]:
    """Acme is invoiced, from now on: 5 cents a unit."""
    with Stage(workflows=[invoicing], services=[bank, customers]) as stage:
        stage.client.start(invoicing("acme", cents_per_unit=5), id="acme")
        stage.settle()
        yield stage


def units(bank: Bank) -> list[int]:
    """What was paid, by invoice."""
    return [invoice.units for invoice in bank.paid.values()]


def test_a_period_ends_with_an_invoice(stage: Stage, bank: Bank) -> None:
    for number in (3, 4):
        stage.client.run(used.send(number))
    stage.advance(MONTH)

    assert bank.paid == {("acme", 1): Invoice("acme", 1, 7, 35, stage.now)}


def test_a_period_without_usage_ends_without_an_invoice(stage: Stage, bank: Bank) -> None:
    stage.advance(MONTH)
    stage.client.run(used.send(2))
    stage.advance(MONTH)

    assert [*bank.paid] == [("acme", 2)]


def test_what_is_used_while_an_invoice_is_paid_is_for_the_next_one(stage: Stage, bank: Bank) -> None:
    stage.takes(Payments.collect, hours=12)
    stage.client.run(used.send(10))
    stage.advance(MONTH + timedelta(hours=6))
    stage.client.run(used.send(1))
    stage.advance(MONTH)

    assert units(bank) == [10, 1]


def test_a_slow_payment_does_not_put_off_the_next_period(stage: Stage, bank: Bank) -> None:
    began = stage.now
    stage.takes(Payments.collect, days=2)
    for _ in range(3):
        stage.client.run(used.send(1))
        stage.advance(MONTH)

    assert [invoice.due - began for invoice in bank.paid.values()] == [MONTH, 2 * MONTH, 3 * MONTH]


def test_a_payment_that_is_declined_is_tried_again_the_next_day(stage: Stage, bank: Bank) -> None:
    stage.script(Payments.collect, Declined("no money"), bank.collect)
    stage.client.run(used.send(10))
    stage.advance(MONTH)
    assert units(bank) == []

    stage.advance(days=1)
    assert units(bank) == [10]


def test_who_does_not_pay_is_suspended_until_the_invoice_is_settled(
    stage: Stage, bank: Bank, customers: CustomerList
) -> None:
    bank.accounts["acme"] = 0
    stage.client.run(used.send(10))
    stage.advance(days=32)
    assert customers.suspended == {"acme": "invoice 1: 50 cents are wanted, and 0 are there"}
    assert len(stage.attempts(Payments.collect)) == 3

    stage.client.run(settled.by_id("acme").send(1))
    stage.settle()
    assert customers.suspended == {}


def test_an_invoice_that_is_settled_twice_settles_no_other(stage: Stage, bank: Bank, customers: CustomerList) -> None:
    bank.accounts["acme"] = 0
    for _ in range(2):
        stage.client.run(used.send(10))
        stage.advance(days=33)
        stage.client.run(settled.by_id("acme").send(1))
        stage.client.run(settled.by_id("acme").send(1))
        stage.settle()

    assert customers.suspended == {"acme": "invoice 2: 50 cents are wanted, and 0 are there"}


def test_of_1000_signals_over_several_runs_none_is_lost(stage: Stage, bank: Bank) -> None:
    months = 2 * A_RUN + 5
    for number in range(1_000):
        stage.client.start(used.send(1))
        if number % 30 == 29:
            stage.advance(days=27, hours=number % 7)
    stage.advance(months * MONTH)

    assert sum(units(bank)) == 1_000
    assert stage.client.get("acme").status() == "running"
    assert len(stage.client.get("acme").history()) < 100  # of the present run


def test_the_next_run_goes_on_where_the_last_one_ended() -> None:
    """The workflow alone: what it asks for is answered by the test."""
    began, answers = datetime(2030, 1, 1, tzinfo=UTC), list[TimerFired]()
    for _ in range(A_RUN):
        [due] = rehearse(invoicing("acme", 5), answers, at=began).waiting
        answers.append(TimerFired(due.position))

    *_, last = rehearse(invoicing("acme", 5), answers, at=began).commands
    assert last == continue_as_new(invoicing("acme", 5, MONTH, number=13, since=began + 12 * MONTH))


def test_over_every_pair_of_servers_and_in_one_file(place: dict[str, Any]) -> None:
    enough = Event()

    class BusyBank(Bank):
        def collect(self, invoice: Invoice) -> str:
            receipt = super().collect(invoice)
            if sum(units(self)) == 50:
                enough.set()
            return receipt

    bank = BusyBank(acme=1_000)
    with Worker(**place, workflows=[invoicing], services=[bank, CustomerList()]), Client(**place) as client:
        handle = client.start(invoicing("acme", 5, period=timedelta(milliseconds=20)), id="acme")
        for _ in range(50):
            client.run(used.send(1), timeout=10)
        assert enough.wait(10)
        handle.cancel(timeout=10)
        with pytest.raises(WorkflowCancelled):
            handle.result(timeout=10)

    assert sum(units(bank)) == 50

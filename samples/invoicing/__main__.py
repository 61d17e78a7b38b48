"""A year of invoices, on a stage whose clock jumps: `python -m samples.invoicing`."""

from infinitic.testing import Stage
from samples.invoicing.services import Bank, CustomerList
from samples.invoicing.workflow import invoicing, settled, usage

bank, customers = Bank(acme=2_000), CustomerList()

with Stage(workflows=[invoicing], services=[bank, customers]) as stage:
    acme = stage.client.start(invoicing("acme", cents_per_unit=5), id="acme")
    for month in range(1, 13):
        stage.client.run(usage.by_id("acme").send(100))
        stage.advance(days=30)
        if month in {1, 2, 12}:
            print(f"{stage.now:%d %b %Y}: {len(bank.paid)} invoices are paid")
        if customers.suspended:
            print(f"{stage.now:%d %b %Y}: suspended for {customers.suspended['acme']}")
            bank.accounts["acme"] += 10_000
            stage.client.run(settled.by_id("acme").send(5))  # by transfer
    print(f"{stage.now:%d %b %Y}: acme is {acme.status()}")

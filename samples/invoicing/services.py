"""A bank and a list of customers. In earnest these classes would call a payment provider and a database."""

from threading import Lock

from samples.invoicing.contract import Customers, Declined, Invoice, Payments


class Bank(Payments):
    """Pays what the customers' accounts allow, in cents."""

    def __init__(self, **accounts: int) -> None:
        self.accounts = accounts
        self.paid: dict[tuple[str, int], Invoice] = {}
        self._lock = Lock()  # tasks run on several threads

    def collect(self, invoice: Invoice) -> str:
        with self._lock:
            key = invoice.customer, invoice.number
            if key not in self.paid:
                held = self.accounts.get(invoice.customer, 0)
                if held < invoice.cents:
                    raise Declined(f"{invoice.cents} cents are wanted, and {held} are there")
                self.accounts[invoice.customer] = held - invoice.cents
                self.paid[key] = invoice
            return f"{invoice.customer}-{invoice.number}"


class CustomerList(Customers):
    def __init__(self) -> None:
        self.suspended: dict[str, str] = {}

    def suspend(self, customer: str, reason: str) -> None:
        self.suspended[customer] = reason

    def resume(self, customer: str) -> None:
        self.suspended.pop(customer, None)

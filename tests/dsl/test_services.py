"""Contracts, implementations, and function tasks."""

from typing import Any

import pytest

from dsl import Batch, Retry, Service, Task, task
from dsl.calls import TaskCall


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> str:
        raise NotImplementedError

    @task(name="drop", timeout=30, retry=Retry(max_attempts=2))
    def cancel(self, booking: str) -> bool:
        raise NotImplementedError


class AcmeHotels(Hotels):
    def book(self, city: str, nights: int = 1) -> str:
        return f"{city} for {nights}"

    @task(timeout=5)
    def cancel(self, booking: str) -> bool:
        return True


class CheapHotels(AcmeHotels):
    async def book(self, city: str, nights: int = 1) -> str:  # type: ignore[override]  # a worker awaits either
        return "cheap"


# The checkers take an overriding `def` for what it is, a function: so these are read untyped.
CONTRACT: Any = Hotels
ACME: Any = AcmeHotels
CHEAP: Any = CheapHotels


def names(service: type[Service]) -> dict[str, tuple[str, str]]:
    return {attribute: (one.owner, one.name) for attribute, one in service.tasks().items()}


def of_the_author(caught) -> BaseException:
    """The error itself: before Python 3.12 what `__set_name__` raises comes wrapped."""
    error = caught.value
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def test_the_class_describes_and_an_instance_runs():
    call = Hotels.book("Oslo", nights=2)

    assert type(call) is TaskCall
    assert repr(call) == "Hotels.book(city='Oslo', nights=2)"
    assert AcmeHotels().book("Oslo", nights=2) == "Oslo for 2"
    assert AcmeHotels().cancel("b1") is True


def test_an_implementation_describes_as_its_contract_does():
    assert ACME.book("Oslo") == CHEAP.book("Oslo") == Hotels.book("Oslo")
    assert ACME.book is CHEAP.book is Hotels.book


def test_an_implementation_has_the_names_of_its_contract_through_two_levels():
    contract = {"book": ("Hotels", "book"), "cancel": ("Hotels", "drop")}

    assert names(Hotels) == contract
    assert names(AcmeHotels) == contract
    assert names(CheapHotels) == contract


def test_an_implementation_has_code_and_options_of_its_own():
    own = {name: (one.fn, one.timeout, one.retry, one.contract) for name, one in CheapHotels.tasks().items()}

    assert own == {
        "book": (vars(CHEAP)["book"].fn, None, None, CONTRACT.book),
        "cancel": (vars(ACME)["cancel"].fn, 5_000_000, None, CONTRACT.cancel),
    }
    assert (CONTRACT.cancel.timeout, CONTRACT.cancel.retry) == (30_000_000, Retry(max_attempts=2))
    assert CONTRACT.cancel.contract is CONTRACT.cancel


def test_a_coroutine_may_implement_what_is_no_coroutine():
    running = CheapHotels().book("Oslo")

    with pytest.raises(StopIteration, match="cheap"):
        running.send(None)


def test_a_service_is_named_after_the_contract_or_as_told():
    class Cars(Service, name="cars.v2"):
        @task
        def rent(self) -> None: ...

    class AcmeCars(Cars, name="acme"):
        def rent(self) -> None: ...

        @task
        def wash(self) -> None: ...

    assert (Hotels.service_name, Cars.service_name) == ("Hotels", "cars.v2")
    assert Cars.tasks()["rent"].label == "cars.v2.rent"
    assert names(AcmeCars) == {"rent": ("cars.v2", "rent"), "wash": ("acme", "wash")}


@pytest.mark.parametrize("name", ["", "2cars", "infinitic.cars"])
def test_a_service_name_that_cannot_be_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a service"):

        class Cars(Service, name=name): ...


def test_a_mix_in_may_implement():
    class Booking:
        def book(self, city: str, nights: int = 1) -> str:
            return "mixed in"

    class MixedHotels(Booking, Hotels): ...

    mixed: Any = MixedHotels
    assert mixed.book("Oslo") == Hotels.book("Oslo")
    assert MixedHotels().book("Oslo") == "mixed in"
    assert names(MixedHotels) == names(Hotels)


def test_two_implementations_join_by_pythons_order():
    class Bookers(Hotels):
        def book(self, city: str, nights: int = 1) -> str:
            return "booked"

    class Cancellers(Hotels):
        def cancel(self, booking: str) -> bool:
            return False

    class Both(Bookers, Cancellers): ...

    assert (Both().book("Oslo"), Both().cancel("b1")) == ("booked", False)
    assert names(Both) == names(Hotels)


def test_one_method_cannot_be_the_task_of_two_contracts():
    class Flats(Service):
        @task
        def book(self, city: str, nights: int = 1) -> str:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"^Both.book would be both Hotels.book and Flats.book: make a class for each$"):

        class Both(Hotels, Flats):
            def book(self, city: str, nights: int = 1) -> str:
                return "which?"


@pytest.mark.parametrize("thing", [None, 5, staticmethod(len), property(len)])
def test_a_task_is_implemented_by_a_function(thing):
    with pytest.raises(TypeError, match=r"^@task goes on a function or on a method of a Service, not on "):
        type("Broken", (Hotels,), {"book": thing})


def test_an_implementation_gives_no_names():
    with pytest.raises(TypeError, match=r"^Hotels.book has its name from the contract: leave name= and service= out$"):

        class Renamed(Hotels):
            @task(name="other")
            def book(self, city: str, nights: int = 1) -> str:
                return ""


def test_a_class_with_tasks_must_be_a_service():
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Cars:
            @task
            def rent(self) -> None: ...

    assert repr(of_the_author(caught)) == "TypeError('@task Cars.rent: a class with tasks must be a Service')"


def test_what_is_no_task_stays_what_it_is():
    class Mailer(Service):
        limit = 5

        @task
        def send(self, to: str) -> str:
            return self.address(to)

        def address(self, to: str) -> str:
            return f"<{to}>"

    assert names(Mailer) == {"send": ("Mailer", "send")}
    assert (Mailer().send("ann"), Mailer.limit) == ("<ann>", 5)


def test_a_function_is_a_service_of_its_own_unless_it_is_grouped():
    @task
    def charge(card: str) -> None: ...

    @task(service="billing", name="pay")
    def charge_again(card: str) -> None: ...

    assert (charge.owner, charge.name, charge.label) == ("charge", "charge", "charge")
    assert (charge_again.owner, charge_again.name, charge_again.label) == ("billing", "pay", "billing.pay")
    assert isinstance(charge, Task)
    assert charge.fn("4242") is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retry": 3}, TypeError, "task(retry=) takes a Retry, as in Retry(max_attempts=3), not 3"),
        ({"timeout": "5"}, TypeError, "task(timeout=) takes seconds or a timedelta, not '5'"),
        ({"timeout": 0}, ValueError, "task(timeout=) must be more than zero seconds, not 0"),
        ({"total_timeout": 0}, ValueError, "task(total_timeout=) must be more than zero seconds, not 0"),
        ({"queue_timeout": -1}, ValueError, "task(queue_timeout=) must be more than zero seconds, not -1"),
        ({"heartbeat": "5"}, TypeError, "task(heartbeat=) takes seconds or a timedelta, not '5'"),
        ({"service": "a b"}, ValueError, "'a b' cannot name a service: expected letters"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, error, message):
    with pytest.raises(error) as caught:
        task(**options)(lambda: None) if "name" in options else task(name="x", **options)(lambda: None)

    assert str(caught.value).startswith(message)


def test_the_services_name_costs_nothing_to_read():
    assert vars(Hotels.book)["owner"] == "Hotels"


# --- batches and delegated tasks ---


@task
def charge(card: str, cents: int = 5) -> bool:
    raise NotImplementedError


@task(batch=Batch(charge))
def charge_all(calls: list[tuple[str, int]]) -> list[bool]:
    return [True for _ in calls]


def test_a_batch_has_the_names_of_the_task_whose_calls_it_runs():
    assert (charge_all.owner, charge_all.name, charge_all.contract) == ("charge", "charge", charge)
    assert charge_all.fn([("visa", 5)]) == [True]
    assert charge_all.batch is not None
    assert (charge_all.batch.size, charge_all.batch.wait, charge_all.batch.key) == (100, 50_000, None)


def test_a_batch_is_not_called_by_its_own_name():
    with pytest.raises(
        TypeError, match=r"^charge_all runs charge in batches: describe one call, charge\(card, cents\)$"
    ):
        charge_all([("visa", 5)])


class Billing(Service, name="billing"):
    @task(name="pay")
    def charge(self, card: str) -> bool:
        raise NotImplementedError

    @task(batch=Batch(charge))
    def charge_all(self, calls: list[tuple[str]]) -> list[bool]:
        return [True for _ in calls]


class Slow(Billing):
    @task(timeout=9)
    async def charge_all(self, calls: list[tuple[str]]) -> list[bool]:  # type: ignore[override]  # a worker awaits either
        return [False for _ in calls]


class Quick(Slow):
    def charge_all(self, calls: list[tuple[str]]) -> list[bool]:  # type: ignore[override]  # a worker awaits either
        return []


@pytest.mark.parametrize("service", [Billing, Slow, Quick])
def test_a_batch_in_a_service_and_what_overrides_it_has_the_task_s_names(service):
    assert names(service) == {"charge": ("billing", "pay"), "charge_all": ("billing", "pay")}
    assert {name: one.batch is not None for name, one in service.tasks().items()} == {
        "charge": False,
        "charge_all": True,
    }
    assert service.charge_all is Billing.charge


WRONG: list[Any] = [
    (lambda: Batch(size=100), TypeError, r"the task whose calls it runs, as in Batch\(charge\), not None"),
    (lambda: Batch(len), TypeError, "takes first the task whose calls it runs"),
    (lambda: Batch(charge_all), TypeError, "takes first the task whose calls it runs"),
    (lambda: Batch(charge, size=0), ValueError, r"Batch\(size=0\): expected a whole number from 1 on"),
    (lambda: Batch(charge, size=True), ValueError, r"Batch\(size=True\)"),
    (lambda: Batch(charge, size=2.0), ValueError, r"Batch\(size=2.0\)"),
    (lambda: Batch(charge, wait=-1), ValueError, r"Batch\(wait=\) must be zero seconds or more"),
    (lambda: Batch(charge, key="card"), TypeError, r"Batch\(key='card'\): expected a function"),
    (lambda: task(batch=Batch(charge), name="x")(len), TypeError, "leave name= and service= out"),
    (lambda: task(batch=Batch(charge), delegated=True)(len), TypeError, "it cannot be delegated besides"),
    (lambda: task(batch=Batch(task(delegated=True)(charge.fn)))(len), TypeError, "it cannot be delegated besides"),
]


@pytest.mark.parametrize(("make", "error", "said"), WRONG)
def test_what_cannot_be_a_batch_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()

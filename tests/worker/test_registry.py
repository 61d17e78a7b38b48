"""The registry: what cannot be served is refused by name, before a single message is taken."""

from collections.abc import Sequence
from typing import Any

import pytest

from dsl import Batch, Flow, Retry, Service, Workflow, method, query, sleep, task, workflow
from infinitic.engine.alone import ALONE
from infinitic.errors import RegistrationError
from infinitic.serialization import Serializer
from infinitic.worker import Worker
from infinitic.worker.registry import Registry


def refused(*, workflows=(), services=()):
    with pytest.raises(RegistrationError) as raised:
        Registry(workflows, services, codec=Serializer())
    return str(raised.value)


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> str:
        raise NotImplementedError

    @task
    async def cancel(self, city: str) -> None:
        raise NotImplementedError


@task
def charge(cents: int) -> int:
    return cents


@workflow
def trip(city: str) -> Flow[str]:
    return (yield from Hotels.book(city))


def test_workflows_and_tasks_are_kept_by_name():
    class Acme(Hotels):
        def book(self, city: str, nights: int = 1) -> str:
            return city

        async def cancel(self, city: str) -> None:
            return None

    registry = Registry([trip], [Acme, charge], codec=Serializer())

    assert set(registry.programs) == {"trip", "infinitic.task"}
    assert set(registry.handlers) == {("Hotels", "book"), ("Hotels", "cancel"), ("charge", "charge")}
    assert registry.services == ("Hotels", "charge")
    assert [one.is_async for one in registry.handlers.values()] == [False, True, False]


def test_two_workflows_of_one_name_are_refused():
    @workflow(name="trip")
    def other() -> Flow[None]:
        yield from sleep(1)

    assert "two workflows are named 'trip'" in refused(workflows=[trip, other])


def test_two_services_that_give_the_same_task_are_refused():
    @task(name="charge")
    def other(cents: int) -> int:
        return cents

    assert "two services give the task charge" in refused(services=[charge, other])


def test_two_of_one_name_say_in_which_modules_they_are():
    other = workflow(name="trip")(lambda: None)
    other.fn.__module__ = "acme.trips"

    assert f"two workflows are named 'trip', in {__name__} and in acme.trips." in refused(workflows=[trip, other])


def test_a_contract_that_is_not_implemented_is_refused():
    assert "Hotels does not implement the task Hotels.book" in refused(services=[Hotels])


def test_an_implementation_that_leaves_a_task_out_is_refused():
    class Half(Hotels):
        def book(self, city: str, nights: int = 1) -> str:
            return city

    assert "Half does not implement the task Hotels.cancel" in refused(services=[Half])


@pytest.mark.parametrize(
    "body",
    ["...", "pass", '"""What it does."""', "raise NotImplementedError", "raise NotImplementedError('x')"],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_every_kind_of_empty_body_is_told(body, kind):
    names: dict[str, object] = {"Service": Service, "task": task}
    exec(f"class Empty(Service):\n    @task\n    {kind} work(self, a: int) -> None:\n        {body}\n", names)

    assert "Empty does not implement the task Empty.work" in refused(services=[names["Empty"]])


@pytest.mark.parametrize(
    "body",
    [
        "return 5",
        "if not a: raise NotImplementedError",
        "return True",
        "return a",
        "print(a)",
        "raise KeyError",
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_short_body_is_no_empty_one(body, kind):
    names: dict[str, object] = {"Service": Service, "task": task}
    exec(f"class Full(Service):\n    @task\n    {kind} work(self, a: int) -> object:\n        {body}\n", names)
    registry = Registry([], [names["Full"]], codec=Serializer())

    assert set(registry.handlers) == {("Full", "work")}


def fitting(source):
    names: dict[str, object] = {"Hotels": Hotels}
    exec(
        f"class Acme(Hotels):\n    async def cancel(self, city: str) -> None: return city\n    {source}\n",
        names,
    )
    return names["Acme"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def book(self, nights: int = 1) -> str: return ''", "lacks city"),
        ("def book(self, city: str, nights: int, stars: int) -> str: return ''", "also requires stars"),
        ("def book(self, city: str, nights: int) -> str: return ''", "has no default for nights"),
    ],
)
def test_an_implementation_that_does_not_fit_its_contract_is_refused(source, problem):
    text = refused(services=[fitting(source)])

    assert "Acme.book" in text
    assert problem in text
    assert "The contract is Hotels.book(city: str, nights: int = 1)" in text


def test_an_implementation_may_take_more_that_has_a_default():
    acme = fitting("def book(self, city: str, nights: int = 1, stars: int = 3) -> str: return ''")

    assert ("Hotels", "book") in Registry([], [acme], codec=Serializer()).handlers


def test_a_service_that_needs_arguments_is_to_be_given_as_an_instance():
    class Wired(Service):
        def __init__(self, db: str) -> None:
            self.db = db

        @task
        def ask(self) -> str:
            return self.db

    assert "Wired cannot be made without arguments" in refused(services=[Wired])
    handler = Registry([], [Wired("x")], codec=Serializer()).handlers["Wired", "ask"]
    assert handler.fn() == "x"


def test_a_service_without_tasks_is_refused():
    class Bare(Service):
        def work(self) -> None: ...

    assert "the service Bare has no @task" in refused(services=[Bare])


def test_a_workflow_class_without_a_method_is_refused():
    class Bare(Workflow):
        @query
        def state(self) -> int:
            return 1

    assert "the workflow Bare has no @method" in refused(workflows=[Bare])


def bare() -> int:
    return 1


@pytest.mark.parametrize(
    ("workflows", "services", "hint"),
    [
        ([charge], [], "It is a task: give it as services=[…]"),
        ([bare], [], "Give functions decorated with @workflow"),
        ([trip.fn], [], "Decorate it with @workflow"),
        ([Workflow], [], "subclasses of Workflow"),
        ([5], [], "Give functions decorated with @workflow"),
        ([], [trip], "It is a workflow: give it as workflows=[…]"),
        ([], [bare], "Decorate it with @task"),
        ([], ["x"], "Give functions decorated with @task"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_with_advice(workflows, services, hint):
    assert hint in refused(workflows=workflows, services=services)


def test_async_generators_and_generators_where_they_cannot_be_are_refused():
    @workflow
    async def wrong():
        yield sleep(1)

    class Asking(Workflow):
        @method
        def run(self) -> None: ...

        @query
        async def state(self) -> int:
            return 1

    @task
    def generating():
        yield 1

    assert "wrong is an async generator" in refused(workflows=[wrong])
    assert "the query Asking.state is no plain function" in refused(workflows=[Asking])
    assert "the task generating is a generator" in refused(services=[generating])


def test_types_that_no_codec_holds_are_refused():
    @task
    def strange(value: object, other: type[int]) -> None: ...

    assert "strange" in refused(services=[strange])


def test_arguments_that_cannot_travel_by_name_are_refused():
    @task
    def many(*values: int) -> None:
        assert values

    assert "many" in refused(services=[many])


def test_a_worker_without_anything_to_serve_is_refused():
    with pytest.raises(RegistrationError, match="serves nothing"):
        Worker("memory://nothing")


def test_retry_and_timeout_are_those_of_the_worker_then_the_implementation_then_the_contract():
    class Rooms(Service):
        @task(retry=Retry(max_attempts=4), timeout=4)
        def one(self) -> int:
            raise NotImplementedError

        @task(retry=Retry(max_attempts=4), timeout=4)
        def two(self) -> int:
            raise NotImplementedError

    class Mine(Rooms):
        def one(self) -> int:
            return 1

        @task(retry=Retry(max_attempts=3))
        def two(self) -> int:
            return 2

    plain = Registry([], [Mine], codec=Serializer()).handlers
    strict = Registry([], [Mine], codec=Serializer(), retry=Retry(max_attempts=2), timeout=9).handlers
    told = {key[1]: (one.retry.max_attempts, one.timeout) for key, one in plain.items() if one.retry is not None}
    worker = {key[1]: (one.retry.max_attempts, one.timeout) for key, one in strict.items() if one.retry is not None}

    assert told == {"one": (4, 4_000_000), "two": (3, 4_000_000)}
    assert worker == {"one": (2, 9), "two": (2, 9)}


def test_heartbeat_and_interrupt_are_those_of_the_implementation_then_the_contract():
    class Rooms(Service):
        @task(heartbeat=4)
        def one(self) -> int:
            raise NotImplementedError

        @task(heartbeat=4, interrupt=False)
        def two(self) -> int:
            raise NotImplementedError

    class Mine(Rooms):
        def one(self) -> int:
            return 1

        @task(heartbeat=3)
        def two(self) -> int:
            return 2

    handlers = Registry([], [Mine], codec=Serializer()).handlers
    told = {key[1]: (one.heartbeat, one.interrupt) for key, one in handlers.items()}

    assert told == {"one": (4_000_000, True), "two": (3_000_000, False)}


# ------------------------------------------------------------------------------------------ fingerprints

SOURCE = "from dsl import *\n\n@workflow\ndef trip() -> Flow[None]:\n    yield from sleep(1)\n"


def fingerprints(*sources, tmp_path):
    import importlib.util
    import sys

    found = []
    for number, source in enumerate(sources):
        path = tmp_path / f"printed{number}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(Registry([module.trip], codec=Serializer()).fingerprints["trip"])
        del sys.modules[path.stem]
    return found


def test_the_fingerprint_changes_with_the_source_of_the_module(tmp_path):
    same, again, other, helper = fingerprints(
        SOURCE,
        SOURCE,
        SOURCE.replace("sleep(1)", "sleep(2)"),
        SOURCE + "\ndef helper() -> int:\n    return 1\n",
        tmp_path=tmp_path,
    )

    assert same == again
    assert len({same, other, helper}) == 3


def test_code_without_source_has_a_fingerprint_too():
    def made(body):
        names: dict[str, object] = {}
        exec(f"from dsl import *\n@workflow\ndef trip() -> Flow[None]:\n    yield from {body}\n", names)
        return Registry([names["trip"]], codec=Serializer()).fingerprints["trip"]

    assert made("sleep(1)") == made("sleep(1)")
    assert made("sleep(1)") != made("gather()")


# ------------------------------------------------------------------------------------------ delegated, batched


@task
def pay(card: str, *, cents: int = 100) -> bool:
    raise NotImplementedError


class Payment:
    def __init__(self, cents: int, card: str) -> None:
        self.card, self.cents = card, cents


def batching(fn, **options):
    made = task(batch=Batch(pay, **options))(fn)
    found = Registry([], [made], codec=Serializer()).handlers["pay", "pay"].batching
    assert found is not None
    return found


PAY = "pay(card: str, *, cents: int = 100)"
ONE = pay("visa", cents=5).arguments


def test_a_batch_is_served_under_the_name_of_the_task_whose_calls_it_runs():
    @task(batch=Batch(pay, size=7, wait=2), retry=Retry(max_attempts=2), timeout=3)
    def pay_all(calls: list[tuple[str, int]]) -> list[bool]:
        return []

    registry = Registry([], [pay, pay_all], codec=Serializer())

    [((service, name), handler)] = registry.handlers.items()
    assert (service, name, handler.label, handler.fn) == ("pay", "pay", "pay", pay_all.fn)
    assert (handler.retry, handler.timeout) == (Retry(max_attempts=2), 3_000_000)
    assert handler.batching is not None
    assert (handler.batching.size, handler.batching.wait) == (7, 2_000_000)
    assert handler.batching.name.endswith("pay_all")


def untold(calls): ...
def of_tuples(calls: list[tuple[str, int]]) -> None: ...
def of_any(calls: Sequence[Any]) -> None: ...
def of_some_tuple(calls: list[tuple]) -> None: ...
def of_many(calls: list[tuple[Any, ...]]) -> None: ...
def of_payments(calls: list[Payment]) -> None: ...


@pytest.mark.parametrize("fn", [untold, of_tuples, of_any, of_some_tuple, of_many])
def test_an_item_of_a_batch_is_a_tuple_of_the_arguments_in_their_order(fn):
    assert batching(fn).item(ONE) == ("visa", 5)


def test_an_item_of_a_batch_may_be_of_a_class_that_takes_the_arguments_by_name():
    item = batching(of_payments).item(ONE)

    assert (type(item), item.card, item.cents) == (Payment, "visa", 5)


def test_the_key_of_a_batch_takes_the_arguments_as_the_task_does():
    assert batching(of_tuples, key=lambda card, *, cents: (card, cents)).key(ONE) == ("visa", 5)
    assert batching(of_tuples, key=dict).key is not None  # nothing is known of its parameters
    assert batching(of_tuples).key(ONE) is None


def wrong_types(calls: list[tuple[str, str]]) -> None: ...
def too_few(calls: list[tuple[str]]) -> None: ...
def no_list(calls: dict[str, int]) -> None: ...
def two(card: str, cents: int) -> None: ...
def of_numbers(calls: list[int]) -> None: ...
def of_strangers(calls: list["Stranger"]) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # that is the point


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (wrong_types, f"wrong_types takes a list of tuple[str, str], and a call of {PAY} is a tuple[str, int]"),
        (too_few, f"too_few takes a list of tuple[str], and a call of {PAY} is a tuple[str, int]"),
        (no_list, "no_list takes dict[str, int], and not a list of calls"),
        (two, "two(card: str, cents: int) takes 2 arguments, and not one list of calls"),
        (of_numbers, f"of_numbers takes a list of int, which the arguments of {PAY} do not make. Declare"),
        (of_strangers, "of_strangers: a type hint cannot be read: name 'Stranger' is not defined"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_take_the_calls_is_refused(fn, said):
    assert said in refused(services=[task(batch=Batch(pay))(fn)])


def test_a_key_that_cannot_be_called_is_refused():
    made = task(batch=Batch(pay, key=lambda card: card))(of_tuples)

    assert "the key of of_tuples cannot be called with the arguments of pay(card, cents)" in refused(services=[made])


def test_who_says_that_a_task_is_delegated():
    class Office(Service):
        @task(delegated=True)
        def sign(self) -> None:
            raise NotImplementedError

        @task
        def stamp(self) -> None:
            raise NotImplementedError

    class Acme(Office):
        def sign(self) -> None:
            return None

        @task(delegated=True)
        def stamp(self) -> None:
            return None

    handlers = Registry([], [Acme, charge], codec=Serializer()).handlers
    assert {name: one.delegated for (_, name), one in handlers.items()} == {
        "sign": True,
        "stamp": True,
        "charge": False,
    }


# --- versions ---


def numbered(version):
    return workflow(name="trip", version=version)(trip.fn)


def test_versions_of_one_name_are_kept_side_by_side_and_the_highest_is_the_names():
    two, three = numbered(2), numbered(3)
    registry = Registry([trip, three, two], codec=Serializer())
    program = registry.programs["trip"]

    assert (program.definition, program.version) == (three, 3)
    assert {number: one.definition for number, one in program.versions.items()} == {1: trip, 2: two, 3: three}
    assert [one.versions for one in registry.every_program if one.name == "trip"] == [program.versions] * 3


def test_two_of_one_name_and_version_are_refused():
    assert "two workflows are named 'trip', of version 2." in refused(workflows=[numbered(2), trip, numbered(2)])


def test_the_fingerprint_of_a_name_is_that_of_all_its_versions():
    def printed(*workflows, **options):
        return Registry(workflows, codec=Serializer(), **options).fingerprints["trip"]

    two, three = numbered(2), numbered(3)
    assert printed(trip, two) == printed(two, trip)
    assert len({printed(trip), printed(two), printed(trip, two), printed(trip, three), printed(trip, two, three)}) == 5


def test_what_the_workflow_says_of_comparing_goes_before_what_the_worker_says():
    mine = workflow(name="mine", check="off")(trip.fn)
    registry = Registry([trip, mine], codec=Serializer(), check="names")

    checks = {name: one.check for name, one in registry.programs.items() if name != ALONE}
    assert checks == {"trip": "names", "mine": "off"}
    assert Registry([trip], codec=Serializer()).programs["trip"].check == "strict"


def test_code_that_is_compared_in_another_way_has_another_fingerprint():
    prints = {
        Registry([trip], codec=Serializer(), check=one).fingerprints["trip"] for one in ("strict", "names", "off")
    }

    assert len(prints) == 3


def test_a_way_to_compare_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"Worker\(check=\) takes one of 'strict', 'names', 'off', not 'loose'"):
        Worker("memory://", workflows=[trip], check="loose")

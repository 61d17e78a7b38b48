"""Binding, equality, options and names of calls."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from dsl import InvalidId, Retry, Service, Workflow, method, query, task, workflow
from dsl.calls import Options, StartCall, TaskCall, as_meta, as_tags, as_timeout, check_id, check_name


@task
def book(city: str, nights: int = 1, *, view: str = "sea", card: str) -> None: ...


@task
def greet(name: str, /, loud: bool = False) -> None: ...


@task
def tag(names: list[str] = ["a"], counts: dict[str, int] = {}) -> None:  # noqa: B006  # what users write
    ...


@workflow
def trip(city: str): ...


class Loyalty(Workflow):
    @method
    def redeem(self, points: int) -> bool:
        return True

    @query
    def balance(self) -> int:
        return 0


def arguments(call: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(call.arguments)


def refused(define, *args, **kwargs) -> str:
    with pytest.raises(TypeError) as caught:
        define(*args, **kwargs)
    return str(caught.value)


def test_arguments_are_bound_by_position_by_name_and_by_default():
    assert arguments(book("Oslo", 3, card="4242")) == {
        "city": "Oslo",
        "nights": 3,
        "view": "sea",
        "card": "4242",
    }
    assert arguments(book(card="4242", city="Oslo")) == {
        "city": "Oslo",
        "nights": 1,
        "view": "sea",
        "card": "4242",
    }
    assert arguments(greet("Ann", loud=True)) == {"name": "Ann", "loud": True}


SIGNATURE = "book(city: str, nights: int = 1, *, view: str = 'sea', card: str)"


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {"card": "1"}, "missing a required argument: 'city'"),
        (("Oslo",), {}, "missing a required argument: 'card'"),
        (("Oslo", 1, "sea"), {"card": "1"}, "too many positional arguments"),
        (("Oslo",), {"card": "1", "rooms": 2}, "got an unexpected keyword argument 'rooms'"),
        (("Oslo",), {"card": "1", "city": "Rome"}, "multiple values for argument 'city'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(args, kwargs, problem):
    message = refused(book, *args, **kwargs).replace("required keyword-only", "required")  # so from 3.12 on

    assert message == f"{SIGNATURE}: {problem}"


def test_a_positional_only_parameter_cannot_be_named():
    message = refused(greet, name="Ann")

    assert message.startswith("greet(name: str, /, loud: bool = False): ")


def test_a_mutable_default_is_a_fresh_copy_for_each_call():
    first, second = tag(), tag()
    first.arguments.names.append("b")
    first.arguments.counts["b"] = 1

    assert arguments(second) == {"names": ["a"], "counts": {}}
    assert arguments(tag()) == {"names": ["a"], "counts": {}}


def test_any_other_default_is_the_very_object():
    missing = object()

    @task
    def find(key: str, default: object = missing) -> None: ...

    assert find("x").arguments.default is missing


@pytest.mark.parametrize(("fn", "what"), [(lambda *names: None, "*names"), (lambda **options: None, "**options")])
def test_arguments_without_a_name_are_refused(fn, what):
    many = task(name="many")(fn)

    assert refused(many) == f"many takes {what}: arguments travel by name, so name each of them"


def test_arguments_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        trip("Oslo").arguments.city = "Rome"


def test_calls_are_equal_when_they_ask_for_the_same():
    assert trip("Oslo") == trip(city="Oslo")
    assert trip("Oslo") != trip("Rome")
    assert trip("Oslo") != greet("Oslo")
    assert trip("Oslo") != trip("Oslo").options(id="a")
    assert trip("Oslo").options(id="a", tags=["x", "y"]) == trip("Oslo").options(tags=["y", "x"]).options(id="a")


def test_a_call_is_a_description_of_its_kind():
    assert type(trip("Oslo")) is StartCall
    assert type(greet("Ann")) is TaskCall
    assert greet("Ann") == TaskCall(greet, greet.arguments_type("Ann"))


def test_a_call_shows_itself_shortened():
    assert repr(trip("Oslo")) == "trip(city='Oslo')"
    assert repr(trip("x" * 99)) == f"trip(city='{'x' * 38}…)"


def test_options_give_a_copy_and_keep_what_is_not_given():
    call = greet("Ann")
    one = call.options(timeout=timedelta(minutes=1), meta={"a": 1})
    two = one.options(tags=["vip", "vip"], meta={"b": 2}, retry=Retry(max_attempts=3))

    assert call.given == Options()
    assert one.given == Options(meta={"a": 1}, timeout=60_000_000)
    assert two.given == Options(tags=("vip",), meta={"a": 1, "b": 2}, retry=Retry(max_attempts=3), timeout=60_000_000)


NO_OPTION = "takes no option"
REDEEM = Loyalty.by_id("a").redeem(1)


@pytest.mark.parametrize(
    ("call", "option", "message"),
    [
        (
            greet("Ann"),
            {"id": "a"},
            f"greet(name='Ann', loud=False) {NO_OPTION} 'id' "
            "(it takes: heartbeat, meta, queue_timeout, retry, tags, timeout, total_timeout)",
        ),
        (
            trip("Oslo"),
            {"retry": Retry()},
            f"trip(city='Oslo') {NO_OPTION} 'retry' "
            "(it takes: cleanup_timeout, delay, id, meta, parent_close, retention, start_at, tags, timeout)",
        ),
        (REDEEM, {"timeout": 0}, f"Loyalty.redeem(points=1) {NO_OPTION} 'timeout' (it takes: id)"),
        (REDEEM, {"timeout": timedelta(0)}, f"Loyalty.redeem(points=1) {NO_OPTION} 'timeout' (it takes: id)"),
        (trip("Oslo"), {"tags": "vip"}, "options(tags=) takes a collection of strings; write ['vip']"),
        (trip("Oslo"), {"meta": {1: 2}}, "options(meta=) takes a dict with text keys, not {1: 2}"),
        (trip("Oslo"), {"meta": "x"}, "options(meta=) takes a dict with text keys, not 'x'"),
        (greet("Ann"), {"retry": 3}, "options(retry=) takes a Retry, as in Retry(max_attempts=3), not 3"),
        (
            greet("Ann"),
            {"retry": Retry(decide=lambda attempt, error: None)},
            "options(retry=) takes no Retry(decide=…): a call may be sent anywhere, and its function stays here. Give "
            "that policy to @task(retry=…), or to Worker(retry=…).",
        ),
        (greet("Ann"), {"timeout": "5"}, "options(timeout=) takes seconds or a timedelta, not '5'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(call, option, message):
    assert refused(call.options, **option) == message


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_must_be_more_than_zero(timeout):
    with pytest.raises(ValueError, match=r"^options\(timeout=\) must be more than zero seconds, not "):
        greet("Ann").options(timeout=timeout)


@pytest.mark.parametrize("id", ["", " ", "a\0b", "\ud800", "x" * 256, "é" * 128, 5])
def test_an_id_that_cannot_be_is_refused(id):
    with pytest.raises(InvalidId):
        trip("Oslo").options(id=id)
    with pytest.raises(InvalidId):
        check_id(id)


def test_an_id_is_up_to_255_bytes_of_utf8():
    assert trip("Oslo").options(id="x" * 255).given.id == "x" * 255
    assert check_id("é" * 127) == "é" * 127


def test_options_of_a_method_call_are_its_call_id_and_of_a_start_its_workflow_id():
    assert Loyalty.by_id("ada").redeem(1).options(id="c1").given == Options(id="c1")
    assert Loyalty.redeem(1).options(id="ada").given == Options(id="ada")


def test_helpers_of_options_say_what_nothing_is():
    assert (as_timeout(None, "x"), as_tags(()), as_meta(None)) == (None, (), {})


@pytest.mark.parametrize("name", ["trip", "_trip", "Trip-2", "a.b", "T"])
def test_a_name_is_letters_digits_and_three_signs(name):
    assert workflow(name=name)(lambda: None).name == name


@pytest.mark.parametrize("name", ["", "2trip", "a b", "é", "a\n", "-a", "a/b", 5])
def test_another_name_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a workflow: expected letters, digits"):
        workflow(name=name)(lambda: None)


def test_the_prefix_of_the_library_is_reserved():
    with pytest.raises(ValueError, match=r"names that begin with 'infinitic\.' are reserved$"):
        check_name("infinitic.cleanup", "a task")

    assert check_name("infinitic", "a task") == "infinitic"


def test_a_function_without_a_name_needs_one():
    with pytest.raises(ValueError, match="'<lambda>' cannot name a task"):
        task(lambda: None)


def test_duplicate_names_are_left_to_the_registry():
    assert task(name="greet")(lambda: None).name == greet.name


def test_hints_are_not_resolved_where_a_call_is_described():
    def function(value: "Unknown") -> "Unknown": ...  # type: ignore[name-defined]  # noqa: F821  # not there yet

    later: Any = task(name="later")(function)

    assert arguments(later(5)) == {"value": 5}
    assert later.signature == "later(value: Unknown)"


def test_a_definition_shows_what_it_is_and_keeps_the_functions_papers():
    class Hotels(Service):
        @task
        def book(self, city: str) -> str:
            """Book a room."""
            raise NotImplementedError

    book: Any = Hotels.book
    assert [repr(one) for one in (greet, trip, Hotels.tasks()["book"])] == [
        "<task greet>",
        "<workflow trip>",
        "<task Hotels.book>",
    ]
    assert (book.__doc__, book.__name__) == ("Book a room.", "book")
    assert book.signature == "Hotels.book(city: str)"


@pytest.mark.parametrize("thing", [5, int, staticmethod(len), classmethod(repr), "x"])
def test_only_functions_are_decorated(thing):
    assert refused(task, thing) == f"@task goes on a function or on a method of a Service, not on {thing!r}"
    assert refused(method, thing) == f"@method goes on a function of a Workflow class, not on {thing!r}"
    assert refused(query(name="x"), thing) == f"@query goes on a function of a Workflow class, not on {thing!r}"
    assert refused(workflow, thing) == (
        f"@workflow goes on a function; a class of methods inherits from Workflow, not on {thing!r}"
    )


@pytest.mark.parametrize("tag", [5, " ", "x" * 256, "a\0b", "\ud800"])
def test_a_tag_is_bounded_as_an_id_is(tag):
    with pytest.raises(InvalidId, match="cannot be a tag: expected"):
        trip("Oslo").options(tags=["vip", tag])

"""Issuing: positions and records of commands, what cannot be sent, time, and inline functions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dsl import Retry, dispatch, gather, inline, logger, random, sleep, sleep_until, spawn, uuid4
from infinitic.engine.instance import Surroundings
from infinitic.engine.issuing import result_type
from infinitic.errors import EncodeError
from infinitic.history import ChildIssued, InlineIssued, SignalIssued, TaskIssued, TimerIssued
from infinitic.ids import derived_id, derived_run
from infinitic.serialization import Serializer
from tests.engine.driver import RUN, SECOND, Driver, drive
from tests.engine.given import Card, Hotels, Loyalty, amounts, charge, child, confirmed, count, step, tagged


def one(make):
    """A workflow that asks for one thing, and gives its answer or its error."""

    def flow():
        try:
            return (yield from make())
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return flow


# --- records ---


def test_a_task_is_recorded_with_what_its_call_said():
    retry = Retry(max_attempts=3, retry_on=OSError)
    call = Hotels.book("Oslo").options(retry=retry, timeout=30, tags=["b", "a"], meta={"k": 1})

    (issued,) = drive(one(lambda: call)).issued

    assert (issued.position, issued.service, issued.name) == ("m0.0", "Hotels", "book")
    assert bytes(issued.arguments) == b'{"city":"Oslo","nights":1}'
    assert issued.options == {
        "tags": ["a", "b"],
        "meta": {"k": 1},
        "timeout": 30 * SECOND,
        "retry": {
            "max_attempts": 3,
            "initial": 0.5,
            "factor": 2.0,
            "maximum": 60.0,
            "jitter": 0.1,
            "retry_on": ["builtins:OSError"],
            "never_on": [],
        },
    }


def test_a_child_gets_ids_from_its_position_or_the_one_it_was_given():
    run = drive(one(lambda: gather(child("a"), child("b").options(id="mine", timeout=5, tags=["t"]))))

    first, second = run.issued

    assert isinstance(first, ChildIssued)
    assert (first.workflow, first.method) == ("child", "")
    assert (first.workflow_id, first.run) == (derived_id(RUN, "m0.0"), derived_run(RUN, "m0.0"))
    assert (second.workflow_id, second.run) == ("mine", derived_run(RUN, "m0.1"))
    assert second.options == {"tags": ["t"], "timeout": 5 * SECOND}


def test_methods_start_children_or_are_called_on_instances():
    run = drive(one(lambda: gather(Loyalty.run(2), Loyalty.by_id("ada").redeem(3))))

    start, call = run.issued

    assert (start.workflow, start.method, bytes(start.arguments)) == ("Loyalty", "run", b'{"weeks":2}')
    assert (call.workflow, call.workflow_id, call.method) == ("Loyalty", "ada", "redeem")
    assert [slot.label for slot in run.instance.open.values()] == ["Loyalty.run", "Loyalty.redeem"]


def test_a_signal_is_sent_at_once_and_answers_none():
    run = drive(one(lambda: gather(confirmed.by_id("x").send("yes"), Loyalty.by_id("ada").bonus.send(5))))

    first, second = run.issued

    assert isinstance(first, SignalIssued)
    assert (first.workflow, first.workflow_id, first.channel, bytes(first.value)) == (
        "",
        "x",
        "confirmed",
        b'"yes"',
    )
    assert (second.workflow, second.workflow_id, second.channel) == ("Loyalty", "ada", "bonus")
    assert run.result == [None, None]


def test_a_signal_may_be_given_an_id():
    run = drive(lambda: (yield from confirmed.by_id("x").send("yes").options(id="once")))

    assert run.issued[0].signal_id == "once"
    assert [one.message.id for one in run.outputs] == ["once"]


# --- what cannot be sent ---


WRONG: Any = "five"
NO_CARD: Any = {"cvc": 1}
NO_TEXT: Any = 5
NAN: Any = float("nan")
NOT_SENT = [
    (lambda: step(object()), "EncodeError: a value of type object cannot be sent"),
    (lambda: step(step("a")), "EncodeError: step(name='a'): a command/deferred cannot be sent"),
    (lambda: count(WRONG), "DecodeError: count(number: int): Expected `int`, got `str` - at `$.number`"),
    (lambda: charge(NO_CARD), "DecodeError: charge(card: Card, cents: int = 100): "),
    (lambda: child(NO_TEXT), "DecodeError: child(name: str)"),
    (lambda: Loyalty.by_id("ada").redeem(WRONG), "DecodeError: Loyalty.redeem(points: int)"),
    (lambda: amounts.by_id("x").send(WRONG), "DecodeError: Expected `int`, got `str`"),
    (lambda: amounts.by_id("x").send(NAN), "EncodeError: nan is no JSON number"),
    (lambda: step("a").options(meta={"x": object()}), "EncodeError: a value of type object cannot be sent"),
]


@pytest.mark.parametrize(("make", "says"), NOT_SENT)
def test_what_cannot_be_sent_fails_where_it_was_asked_for_and_the_record_says_so(make, says):
    run = drive(one(make))

    assert run.result.startswith(says)
    assert run.issued[0].failure.name == says.partition(":")[0]
    assert run.outputs == []
    assert run.open == []


@pytest.mark.parametrize(
    "sent",
    [
        step,
        lambda one: step({"deep": [1, one]}),
        lambda one: charge(Card(one)),
        child,
        lambda one: Loyalty.by_id("ada").redeem(one),
        lambda one: confirmed.by_id("x").send(one),
        lambda one: step("a").options(meta={"x": one}),
    ],
)
def test_a_deferred_that_is_sent_is_named_with_what_it_is_for(sent):
    def flow():
        begun = dispatch(Hotels.book("Oslo"))
        try:
            yield from sent(begun)
        except EncodeError as error:
            return error.message

    assert drive(flow).result == "deferred m0.0 (Hotels.book): a command/deferred cannot be sent: `yield from` it first"


def test_a_deferred_in_an_answer_fails_the_run_and_is_named():
    def flow():
        begun = dispatch(step("a"))
        yield from sleep(0)
        return {"deep": [begun]}

    assert drive(flow).error == (
        "EncodeError: deferred m0.0 (step): a command/deferred cannot be sent: `yield from` it first - at `$.deep[0]`"
    )


def test_what_cannot_be_sent_fails_its_deferred():
    def flow():
        asked = dispatch(count(WRONG))
        other = spawn(one(lambda: gather(asked, step("b")))())
        return asked.status(), (yield from other)[:11]

    run = drive(flow)

    assert run.result == ["failed", "DecodeError"]


def test_what_is_too_large_is_the_command_s_failure_and_only_when_it_is_new():
    surroundings = Surroundings(Serializer(), limit=30)
    run = drive(one(lambda: step("a" * 30)), surroundings=surroundings)

    assert run.result == "EncodeError: 41 bytes are more than one message may carry (30)"

    small = drive(one(lambda: gather(step("a" * 10), child("a" * 10))), surroundings=surroundings)
    small.surroundings.limit = 5
    small.complete("m0.0", "a")
    small.answer("m0.1", 1)

    assert small.result == ["a", 1]


# --- time ---


def test_a_sleep_is_a_timer_of_so_much_time():
    run = drive(one(lambda: sleep(minutes=1)))

    assert run.issued == (TimerIssued("m0.0", 61 * SECOND, 60 * SECOND),)
    assert run.instance.draft.timers_set == {"m0.0": (61 * SECOND, 0)}
    run.fire("m0.0")
    assert run.result is None


def test_sleep_until_is_a_timer_at_an_instant():
    when = datetime(2030, 1, 1, tzinfo=UTC)
    run = drive(one(lambda: sleep_until(when)))

    (issued,) = run.issued
    assert issued == TimerIssued("m0.0", int(when.timestamp()) * SECOND)
    assert list(run.instance.draft.timers_set) == ["m0.0"]


@pytest.mark.parametrize(
    "over", [sleep(0), sleep(-5), sleep(timedelta(0)), sleep_until(datetime(1960, 1, 1, tzinfo=UTC))]
)
def test_what_is_over_completes_at_once(over):
    run = drive(one(lambda: over))

    assert run.result is None
    assert run.open == []
    assert run.instance.draft.timers_set == {}


# --- inline ---


def test_an_inline_function_runs_once_and_its_result_is_on_record():
    ran = []

    def read(path: str, *, again: bool = False) -> dict[str, int]:
        ran.append(path)
        return {"n": len(ran)}

    def flow():
        a = yield from inline(read, "a", again=True)
        yield from sleep(1)
        return a, (yield from inline(read, "b"))

    run = drive(flow)
    assert [(type(one), one.position) for one in run.issued] == [
        (InlineIssued, "m0.0"),
        (TimerIssued, "m0.1"),
    ]
    run.fire("m0.1")
    run.evict()

    assert ran == ["a", "b"]  # the driver replays after each turn
    assert run.result == [{"n": 1}, {"n": 2}]


def test_a_failing_inline_function_raises_its_error_and_is_not_run_again():
    ran = []

    def fails():
        ran.append(1)
        raise OSError(2, "no such file")

    def flow():
        try:
            yield from inline(fails)
        except OSError as error:
            yield from sleep(1)
            return error.errno

    run = drive(flow)
    run.fire("m0.1")

    assert run.result == 2
    assert ran == [1]


def test_an_inline_result_that_cannot_be_kept_is_its_failure():
    def lies() -> int:
        return WRONG  # type: ignore[no-any-return]  # the point

    assert drive(one(lambda: inline(lies))).result == "DecodeError: Expected `int`, got `str`"
    assert drive(one(lambda: inline(object))).result.startswith("EncodeError: a value of type object")


def test_an_inline_coroutine_is_refused_in_silence():
    async def coroutine():
        return 1

    assert drive(one(lambda: inline(coroutine))).result.startswith("EncodeError: ")


@pytest.mark.parametrize("helper", [lambda: dispatch(step("a")), uuid4, random, lambda: spawn(one(step)())])
def test_helpers_of_workflow_code_are_not_for_inline_functions(helper):
    assert drive(one(lambda: inline(helper))).result.startswith("OutsideWorkflow: ")


def test_an_inline_function_may_log():
    run = drive(one(lambda: inline(logger.info, "read")))

    assert run.result is None
    assert [line.message for line in run.instance.draft.logs] == ["read"]


def test_an_inline_value_comes_back_as_its_declared_type():
    def card() -> Card:
        return Card("42")

    def flow():
        found = yield from inline(card)
        return type(found).__name__, found.number

    assert drive(flow).result == ["Card", "42"]


def test_a_return_type_that_is_not_known_is_anything():
    def unknown() -> "NotThere":  # type: ignore[name-defined]  # noqa: F821  # the point
        return 1

    assert [result_type(one) for one in (unknown, len, lambda: 1, Driver)] == [Any] * 4


def test_sets_are_sent_in_order():
    run = drive(one(lambda: tagged({"b", "a", "c"})))

    assert isinstance(run.issued[0], TaskIssued)
    assert bytes(run.issued[0].arguments) == b'{"tags":["a","b","c"],"extra":null}'

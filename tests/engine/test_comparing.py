"""Comparing: what is a divergence, what is none, and what the error says."""

from datetime import UTC, datetime
from typing import Any, get_args

import attrs
import msgspec
import pytest

from dsl import Flow, Workflow, dispatch, gather, inline, method, sleep, sleep_until, task, workflow
from infinitic.engine import turns
from infinitic.engine.comparing import KINDS, same_payload
from infinitic.engine.instance import Diverged, Surroundings
from infinitic.errors import NonDeterminismError
from infinitic.history import AnyIssued, decode_turn, encode_turn
from infinitic.serialization import Serializer
from tests.engine.driver import Driver, drive
from tests.engine.given import Card, Hotels, Loyalty, amounts, charge, child, confirmed, count, step, tagged


def asking(*makes, name="flow"):
    """A workflow that asks for some things, one after another."""

    @workflow(name=name)
    def flow():
        for make in makes:
            yield from make()

    return flow


def recorded(*makes):
    return Driver(asking(*makes)())


def test_every_kind_of_command_is_compared():
    assert set(KINDS) == set(get_args(AnyIssued))


WAITING = [
    lambda: step("a"),
    lambda: Hotels.book("Oslo"),
    lambda: sleep(5),
    lambda: sleep(6),
    lambda: sleep_until(datetime(2030, 1, 1, tzinfo=UTC)),
    lambda: sleep_until(datetime(2030, 1, 2, tzinfo=UTC)),
    lambda: child("a"),
    lambda: child("b"),
    lambda: child("a").options(id="mine"),
    lambda: Loyalty.run(1),
    lambda: Loyalty.slowly("a"),
    lambda: Loyalty.by_id("ada").redeem(1),
    lambda: Loyalty.by_id("bob").redeem(1),
    lambda: Loyalty.by_id("ada").slowly("a"),
    lambda: gather(confirmed.by_id("x").send("yes"), sleep(9)),
    lambda: gather(confirmed.by_id("y").send("yes"), sleep(9)),
    lambda: gather(confirmed.by_id("x").send("no"), sleep(9)),
    lambda: gather(amounts.by_id("x").send(1), sleep(9)),
    confirmed.receive,
    amounts.receive,
    lambda: confirmed.receive(where=str.isupper),
    lambda: gather(inline(int), sleep(9)),
    lambda: gather(inline(float), sleep(9)),
    lambda: Hotels.book("Oslo", 2),
    lambda: Hotels.cancel("Oslo"),
    lambda: step("b"),
]


@pytest.mark.parametrize("then", range(len(WAITING)))
def test_each_command_replays_itself_and_no_other(then):
    run = recorded(WAITING[then])

    for today, make in enumerate(WAITING):
        if today == then:
            run.replayed(asking(make))
        elif (then, today) != (8, 6):  # an id that is left out now stays what it was
            assert isinstance(run.diverges(asking(make)), NonDeterminismError)


def test_the_error_names_both_sides_and_the_line_that_asks_now():
    run = recorded(lambda: Hotels.book("Oslo"), lambda: step("b"))

    def today():
        yield from sleep(5)

    error = run.diverges(workflow(name="flow")(today))

    line = today.__code__.co_firstlineno + 1
    assert error.args == (
        "wf",
        "m0.0",
        'Hotels.book({"city":"Oslo","nights":1})',
        "sleep(5 s)",
        __file__,
        line,
    )
    assert str(error) == (
        'wf: history says Hotels.book({"city":"Oslo","nights":1}) at position m0.0, '
        f"but {__file__}:{line} now asks for sleep(5 s). "
        "Guard the change with patched(...), register the new code as a version of its own, or restore the old code."
    )


def test_a_command_that_is_missing_now_is_named():
    @workflow(name="flow")
    def then():
        yield from gather(step("a"), step("b"))

    @workflow(name="flow")
    def today():
        yield from step("a")

    error = Driver(then()).diverges(today)

    assert (error.position, error.recorded, error.replayed) == ("m0.1", 'step({"name":"b"})', "nothing more")
    assert error.line == today.fn.__code__.co_firstlineno + 2


def test_a_command_that_is_missing_after_an_answer_is_named():
    def flow(*names):
        def inner():
            yield from step("first")
            for name in names:
                dispatch(step(name))
            yield from step("last")

        return workflow(name="flow")(inner)

    run = Driver(flow("a")())
    run.complete("m0.0")
    error = run.diverges(flow())
    assert (error.position, error.recorded, error.replayed) == ("m0.1", 'step({"name":"a"})', "step(name='last')")

    @workflow(name="flow")
    def today():
        yield from step("first")
        yield from step("a")

    error = run.diverges(today)
    assert (error.position, error.recorded, error.replayed) == ("m0.2", 'step({"name":"last"})', "nothing more")


def test_a_command_that_is_new_is_named():
    error = recorded(lambda: step("a")).diverges(asking(lambda: gather(step("a"), step("b"))))

    assert (error.position, error.recorded, error.replayed) == ("m0.1", "nothing more", "step(name='b')")


def test_commands_in_another_order_diverge():
    run = recorded(lambda: gather(step("a"), step("b")))

    assert run.diverges(asking(lambda: gather(step("b"), step("a")))).position == "m0.0"


def test_the_same_command_of_another_branch_diverges():
    def branch():
        yield from step("a")

    run = recorded(lambda: gather(branch(), sleep(1)))
    error = run.diverges(asking(lambda: gather(step("a"), sleep(1))))

    assert (error.position, error.recorded) == ("m0.0", 'step({"name":"a"}) at m0.b0.0')


# --- ends ---


def ending(how):
    @workflow(name="flow")
    def flow():
        yield from step("a")
        if how == "waits":
            yield from sleep(0)
            yield from confirmed.receive()
        elif how == "fails":
            raise ValueError("no")
        return how

    return flow


@pytest.mark.parametrize(
    ("then", "today", "says"),
    [
        ("completes", "fails", ("that the run was completed with turn 1", "a run that is failed")),
        ("fails", "completes", ("that the run was failed with turn 1", "a run that is completed")),
    ],
)
def test_another_end_diverges(then, today, says):
    run = Driver(ending(then)())
    run.complete("m0.0")
    error = run.diverges(ending(today))

    assert (error.recorded, error.replayed) == says


def test_an_end_that_does_not_come_diverges_with_the_line_that_waits_now():
    def flow(waits):
        asked = dispatch(step("b"))
        yield from step("a")
        if waits:
            yield from asked

    @workflow(name="flow")
    def then():
        yield from flow(waits=False)

    @workflow(name="flow")
    def today():
        yield from flow(waits=True)

    run = Driver(then())
    run.complete("m0.1")
    error = run.diverges(today)

    assert (error.recorded, error.replayed) == (
        "that the run was completed with turn 1",
        "a run that goes on",
    )
    assert (error.file, error.line) == (__file__, flow.__code__.co_firstlineno + 4)


def test_an_answer_that_nobody_waits_for_now_diverges():
    run = drive(lambda: (yield from gather(step("a"), step("b"))))
    run.complete("m0.0")

    with pytest.raises(Diverged, match=r"that the run went on with turn 2 at position m0.0.*does not wait for this"):
        turns.replay(run.replayed(), [run.bodies[1]])


def test_a_signal_that_another_receive_takes_now_diverges():
    @workflow(name="flow")
    def then():
        def second():
            yield from sleep(5)

        yield from gather(confirmed.receive(), second())

    run = Driver(then())
    run.signal("s", "confirmed", "x")
    run.bodies[1] = encode_turn(msgspec.structs.replace(decode_turn(run.bodies[1]), settled=("m0.9",)))

    assert isinstance(run.diverges(then), NonDeterminismError)


# --- what is no divergence ---


def test_a_parameter_or_field_that_was_added_with_a_default_is_none():
    @task(name="charge")
    def charge_then(card: "CardThen") -> str:
        raise NotImplementedError

    run = drive(lambda: (yield from charge_then(CardThen("42"))))

    @workflow(name="flow")
    def today():
        yield from charge(Card("42"))

    assert bytes(run.issued[0].arguments) == b'{"card":{"number":"42"}}'
    run.replayed(today)

    @workflow(name="flow")
    def otherwise():
        yield from charge(Card("42", cvc=1))

    assert isinstance(run.diverges(otherwise), NonDeterminismError)


@attrs.frozen
class CardThen:
    number: str


def test_sets_and_dicts_in_any_order_are_none():
    run = recorded(lambda: tagged({"a", "b"}, {"x": 1, "y": 2}))

    run.replayed(asking(lambda: tagged({"b", "a"}, {"y": 2, "x": 1})))
    assert same_payload(
        b'{"tags":["b","a"],"extra":null}',
        b'{"tags":["a","b"]}',
        Serializer().signature(tagged).arguments_type,
    )


def test_pickled_arguments_are_not_compared_but_what_they_are_for_is():
    from infinitic.serialization import PickleCodec

    codec = Serializer([PickleCodec({"k": b"x" * 32}, "k")])
    surroundings = Surroundings(codec)
    run = drive(lambda: (yield from step(OPAQUE)), surroundings=surroundings)
    run.complete("m0.0", 5)

    assert run.result == 5
    assert bytes(run.turns[0].commands[0].arguments).startswith(b'{"$codec":"pickle"')
    run.replayed(workflow(name="flow")(lambda: (yield from step(OPAQUE))))
    assert isinstance(run.diverges(asking(lambda: Hotels.cancel(OPAQUE))), NonDeterminismError)


class Opaque:
    """What JSON cannot hold, and what is written otherwise each time."""

    def __reduce__(self) -> Any:
        return Opaque, ()


OPAQUE: Any = Opaque()


def test_options_are_never_compared():
    run = recorded(lambda: step("a").options(timeout=5, tags=["x"], meta={"k": 1}))

    run.replayed(asking(lambda: step("a")))
    run.replayed(asking(lambda: step("a").options(meta={"k": object()})))


def test_a_recorded_failure_is_what_replay_goes_by():
    def flow(value):
        def inner():
            try:
                yield from count(value)
            except Exception as error:
                yield from step(type(error).__name__)

        return inner

    run = drive(flow("five"))
    assert run.positions == ["m0.0", "m0.1"]
    run.replayed(workflow(name="inner")(flow(5)))


def test_a_failure_that_is_new_diverges():
    run = recorded(lambda: step("a"))

    assert isinstance(run.diverges(asking(lambda: step(object()))), NonDeterminismError)


def test_arguments_that_neither_side_can_read_are_told_apart():
    assert not same_payload(b'{"x":1}', b'{"x":2}', int)
    assert not same_payload(b'{"x":1}', b'{"x":2}', Any)
    assert same_payload(b'{"$codec":"pickle","x":1}', b'{"$codec":"pickle","x":2}', int)


# --- Diverged is not to be caught ---


def test_a_divergence_goes_through_code_that_catches_everything():
    seen = []

    @workflow(name="flow")
    def today():
        try:
            dispatch(step("b"))
        except BaseException as error:
            seen.append(type(error).__name__)
        try:
            yield from sleep(1)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    error = recorded(lambda: step("a")).diverges(today)

    assert (error.position, error.replayed) == ("m0.0", "step(name='b')")
    assert seen == ["Diverged", "GeneratorExit"]


def test_a_divergence_that_code_swallows_before_it_goes_on_as_history_says_is_one():
    def flow(name):
        def inner():
            yield from step("first")
            try:
                dispatch(step(name))
            except BaseException:
                yield from step("a")
            yield from step("a")

        return workflow(name="flow")(inner)

    @workflow(name="flow")
    def then():
        yield from step("first")
        yield from step("a")

    run = Driver(then())
    run.complete("m0.0")

    assert run.diverges(flow("b")).position == "m0.1"


@pytest.mark.parametrize("then", ["returns", "raises"])
def test_a_divergence_goes_through_code_that_returns_or_raises_instead(then):
    @workflow(name="flow")
    def today():
        try:
            dispatch(step("b"))
        except BaseException as error:
            if then == "raises":
                raise ValueError("mine") from error

    assert recorded(lambda: step("a")).diverges(today).position == "m0.0"


def test_a_divergence_in_a_plain_method_is_one():
    class Plain(Workflow, name="Pair"):
        @method
        def run(self) -> Flow[None]:
            yield from sleep(5)

        @method
        def tells(self) -> None:
            dispatch(step("a"))

    class Other(Plain, name="Pair"):
        @method
        def tells(self) -> None:
            dispatch(step("b"))

    run = Driver(Plain.run())
    run.call("c", "tells")

    assert run.diverges(Other.run()).replayed == "step(name='b')"


def test_a_divergence_outside_any_line_names_the_definition():
    @workflow(name="flow")
    def today():
        return 5

    error = recorded(lambda: step("a")).diverges(today)

    assert (error.file, error.line) == (__file__, today.fn.__code__.co_firstlineno)


# --- comparing less ---


def less(check, *makes):
    """As `asking`, compared in another way."""
    flow = asking(*makes)
    return workflow(name="flow", check=check)(flow.fn)


OTHER_ARGUMENTS = [
    (lambda: Hotels.book("Oslo"), lambda: Hotels.book("Rome", 2)),
    (lambda: sleep(5), lambda: sleep(6)),
    (lambda: sleep(5), lambda: sleep_until(datetime(2030, 1, 1, tzinfo=UTC))),
    (lambda: child("a"), lambda: child("b").options(id="mine")),
    (lambda: Loyalty.by_id("ada").slowly("a"), lambda: Loyalty.by_id("bob").slowly("b")),
    (
        lambda: gather(confirmed.by_id("x").send("yes"), sleep(9)),
        lambda: gather(confirmed.by_id("y").send("no"), sleep(9)),
    ),
]
OTHER_NAMES = [
    (lambda: Hotels.book("Oslo"), lambda: Hotels.cancel("Oslo")),
    (lambda: Hotels.book("Oslo"), lambda: step("a")),
    (lambda: child("a"), lambda: Loyalty.run(1)),
    (lambda: Loyalty.by_id("ada").slowly("a"), lambda: Loyalty.by_id("ada").redeem(1)),
    (confirmed.receive, amounts.receive),
    (lambda: gather(inline(int), sleep(9)), lambda: gather(inline(float), sleep(9))),
]
OTHER_KINDS = [
    (lambda: step("a"), lambda: sleep(5)),
    (lambda: step("a"), lambda: child("a")),
    (confirmed.receive, lambda: sleep(5)),
]


@pytest.mark.parametrize(("then", "today"), OTHER_ARGUMENTS)
def test_names_compares_no_arguments(then, today):
    run = recorded(then)

    run.diverges(less("strict", today))
    turns.close(run.replayed(less("names", today)))
    turns.close(run.replayed(less("off", today)))


@pytest.mark.parametrize(("then", "today"), OTHER_NAMES)
def test_names_compares_names_and_off_does_not(then, today):
    run = recorded(then)

    run.diverges(less("strict", today))
    run.diverges(less("names", today))
    turns.close(run.replayed(less("off", today)))


@pytest.mark.parametrize(("then", "today"), OTHER_KINDS)
@pytest.mark.parametrize("check", ["names", "off"])
def test_a_command_of_another_kind_or_at_another_position_diverges_however_it_is_compared(then, today, check):
    run = recorded(then)

    run.diverges(less(check, today))
    run.diverges(less(check))
    recorded(lambda: gather(then(), then())).diverges(less(check, then))


def test_what_was_recorded_stands_where_less_is_compared():
    run = recorded(lambda: Hotels.book("Oslo", 2), lambda: sleep(5))
    run.program = Driver(less("off", lambda: Hotels.cancel("Rome"), lambda: sleep(60))()).program
    run.evict()
    run.fail("m0.0", LookupError("no"), 1, 0)
    [again] = run.outputs
    run.complete("m0.0", None, 2)

    assert msgspec.json.decode(again.message.payload)["name"] == "book"
    assert run.issued[0].delay == 60_000_000

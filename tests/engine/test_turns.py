"""Turns: what apply gives, queries, and giving up an instance."""

import pytest

from dsl import Channel, Flow, ReadOnly, Workflow, dispatch, logger, method, now, query, random, sleep, spawn
from infinitic.engine import turns
from infinitic.errors import DecodeError, EncodeError
from infinitic.events import TimerFired
from tests.engine.driver import SECOND, Driver, drive
from tests.engine.given import Loyalty, step


def test_time_never_goes_back():
    run = drive(lambda: (yield from step("a")))

    turns.apply(run.instance, TimerFired("", "m0.0", 3), 50 * SECOND)
    assert run.instance.at == SECOND
    run.at = -5 * SECOND
    run.complete("m0.0")

    assert run.turns[-1].at == SECOND


def test_a_turn_says_what_happened():
    def flow():
        yield from step("a")
        return 5

    run = drive(flow, reply_to="client")
    made = run.complete("m0.0", "x", attempt=2)

    assert made == run.turns[-1]
    assert (made.event.position, made.event.attempt, bytes(made.event.value)) == ("m0.0", 2, b'"x"')
    assert (made.at, made.commands, made.late) == (2 * SECOND, (), False)
    assert run.bodies[-1].startswith(b'{"event":{"kind":"completed","id":"","position":"m0.0","value":"x","attempt":2}')


# --- queries ---


class Asked(Workflow):
    """Queries that do what they may, and what they may not."""

    notes = Channel(str)

    def __init__(self) -> None:
        self.items = [1, 2]
        self.lock = object()

    @method
    def run(self) -> Flow[None]:
        yield from sleep(99)

    @query
    def seen(self, at: int = 0) -> int:
        logger.info("silent")
        return self.items[at]

    @query
    def when(self) -> str:
        return str(now())

    @query
    def asks(self) -> None:
        dispatch(step("a"))

    @query
    def spawns(self) -> None:
        async def never() -> None:
            await step("a")

        spawn(never())

    @query
    def draws(self) -> float:
        return random()

    @query
    def drains(self) -> list[str]:
        return self.notes.drain()

    @query
    def rebinds(self) -> None:
        self.items = [3]

    @query
    def appends(self) -> None:
        self.items.append(3)

    @query
    def replaces(self) -> None:
        self.lock = object()
        raise ValueError("on the way")

    @query
    def waits(self) -> Flow[None]:
        yield from sleep(1)

    @query
    async def awaits(self) -> None:
        await sleep(1)

    @query
    def object(self) -> object:
        return object()


def ask(run, name, arguments=b"{}"):
    return turns.query(run.instance, name, arguments)


def test_a_query_answers_from_the_state_and_records_nothing():
    run = Driver(Asked.run())

    assert ask(run, "seen", b'{"at":1}') == b"2"
    assert ask(run, "when") == b'"1970-01-01 00:00:01+00:00"'
    assert len(run.turns) == 1
    assert run.instance.draft.logs == ()


def test_a_finished_instance_can_be_asked():
    run = Driver(Loyalty.run(1))
    run.signal("s", "bonus", 7)

    assert run.status == "completed"
    assert ask(run, "balance") == b"7"
    run.evict()
    assert ask(run, "balance") == b"7"


def test_a_query_s_own_error_is_raised():
    with pytest.raises(IndexError):
        ask(Driver(Asked.run()), "seen", b'{"at":7}')


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("asks", "a command"),
        ("spawns", "a branch"),
        ("draws", "random numbers"),
        ("drains", "a channel's signals"),
        ("rebinds", "a change of the instance's attributes"),
        ("appends", "a change of the instance's attributes"),
        ("replaces", "a change of the instance's attributes"),
        ("waits", "something to wait for"),
        ("awaits", "something to wait for"),
    ],
)
def test_a_query_may_only_read(name, what):
    with pytest.raises(ReadOnly) as caught:
        ask(Driver(Asked.run()), name)

    assert caught.value.what == what


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("nothing", b"{}", "Asked has no query 'nothing' (it has: appends, asks, awaits, "),
        ("run", b"{}", "Asked has no query 'run'"),
        ("seen", b'{"at":"x"}', "Asked.seen(at: int = 0): Expected `int`, got `str` - at `$.at`"),
    ],
)
def test_a_query_that_cannot_be_is_refused(name, arguments, says):
    with pytest.raises(DecodeError) as caught:
        ask(Driver(Asked.run()), name, arguments)

    assert str(caught.value).startswith(says)


def test_an_answer_that_cannot_be_sent_is_an_error():
    with pytest.raises(EncodeError):
        ask(Driver(Asked.run()), "object")


def test_a_function_has_no_queries():
    with pytest.raises(DecodeError, match=r"flow has no query 'x' \(it has: none\)"):
        ask(drive(lambda: (yield from sleep(1))), "x")


# --- giving up ---


def test_an_instance_can_be_closed_twice_and_at_any_time():
    run = Driver(Asked.run())
    turns.close(run.instance)
    turns.close(run.instance)
    run.instance = run.replayed()
    run.cancel()
    turns.close(run.instance)

    assert run.status == "cancelled"


def test_after_an_event_that_cannot_be_applied_the_instance_is_closed():
    from infinitic.engine.instance import Diverged

    closed = []

    def flow():
        try:
            yield from step("a")
        finally:
            closed.append(1)

    run = drive(flow)
    closed.clear()
    with pytest.raises(Diverged):
        run.complete("m9.9")

    assert closed == [1]

"""Watching: what workflow code must not do is told with its line, or suspends; what it may do is never blamed."""

import datetime
import logging
import sys
from typing import Any

import pytest
from msgspec import Raw

from dsl import inline
from infinitic.client import Client
from infinitic.engine.instance import Diverged, Instance, Surroundings
from infinitic.errors import ConfigurationError
from infinitic.events import Started, TaskCompleted
from infinitic.history import Turn, encode_turn
from infinitic.serialization import Serializer
from infinitic.worker import Worker
from infinitic.worker.source import source_line
from infinitic.worker.watching import HERE, Watch, unwatched
from tests.engine.driver import RUN, program_of
from tests.scenarios.given import until
from tests.worker import watched

SECOND = 1_000_000


class Hand:
    """One instance whose turns are made under a watch."""

    def __init__(self, mode: str, call: Any, given: Any = None) -> None:
        self.codec = Serializer()
        surroundings = Surroundings(self.codec, source_line, unwatched(lambda one: one.fn(*one.args, **one.kwargs)))
        if given is not None:
            surroundings.signatures = Given(self.codec, given)
        self.bodies: list[bytes] = []
        self.watch = Watch(mode, surroundings, lambda *of: self.bodies)
        self.instance = Instance(program_of(call), "wf", surroundings)
        self.at = 1_800_000_000 * SECOND
        self.start = Started("start", self.instance.program.name, RUN, "", Raw(self.codec.encode(call.arguments)))

    def apply(self, event: Any) -> Any:
        self.at += SECOND
        made = self.watch.apply(self.instance, event, self.at)
        if isinstance(made, Turn):
            self.bodies.append(encode_turn(made))
        return made

    def complete(self, position: str) -> None:
        self.apply(TaskCompleted("", position, Raw(b"null")))


class Given(dict[Any, Any]):
    """Signatures that hand a function, which no codec carries, over as it is."""

    def __init__(self, codec: Serializer, given: Any) -> None:
        self.codec, self.given = codec, given

    def __missing__(self, definition: Any) -> Any:
        found = self.codec.signature(definition)
        if definition is watched.doing:
            found.call = lambda fn, arguments: fn(self.given)
        return found


def doing(mode: str, deed: Any) -> Hand:
    return Hand(mode, watched.doing(None), deed)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """The lines that were warned of."""
    caplog.set_level(logging.WARNING, logger="infinitic.worker")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "infinitic.worker"]


def line_of(deed: Any) -> str:
    """Where it is done: in the innermost function of the user's."""
    number = deed.__code__.co_firstlineno
    if "connected" in deed.__code__.co_names:
        number = watched.connected.__code__.co_firstlineno + 2
    return f"{watched.__file__}:{number}: "


@pytest.mark.parametrize(("did", "deed"), [*watched.DEEDS, *watched.TOLD])
def test_each_deed_is_told_with_its_line_and_what_to_write_instead(said, did, deed):
    hand = doing("warn", deed)
    made = hand.apply(hand.start)

    [line] = said()
    assert line.startswith(line_of(deed))
    assert f" {did} in workflow code: " in line
    assert isinstance(made, Turn)


@pytest.mark.parametrize(("did", "deed"), watched.DEEDS)
def test_each_deed_is_prevented_and_suspends_when_it_is_an_error(said, did, deed):
    hand = doing("error", deed)

    with pytest.raises(Diverged) as raised:
        hand.apply(hand.start)
    assert str(raised.value.error).startswith(f"wf: {line_of(deed)}")
    assert did in str(raised.value.error)
    assert hand.instance.branches == {}
    assert said() == []


@pytest.mark.parametrize(("did", "deed"), watched.TOLD)
def test_what_makes_no_history_wrong_is_told_and_never_suspends(said, did, deed):
    hand = doing("error", deed)

    assert isinstance(hand.apply(hand.start), Turn)
    assert [did in one for one in said()] == [True]


def test_a_deed_that_would_last_is_not_done_when_it_is_an_error():
    done: list[int] = []

    def deed() -> None:
        open("/dev/null").close()  # the shortest
        done.append(1)

    hand = doing("error", deed)
    with pytest.raises(Diverged):
        hand.apply(hand.start)

    assert done == []


def test_an_import_of_what_is_not_imported_yet_is_told(said):
    hand = doing("warn", watched.imports)
    hand.apply(hand.start)

    [line] = said()
    assert "imports this_is_nowhere in workflow code: import it at the top of the module" in line


def test_each_line_is_told_once(said):
    for _ in range(3):
        hand = doing("warn", watched.DEEDS[0][1])
        hand.apply(hand.start)
        hand.watch.apply(Instance(hand.instance.program, "x", hand.instance.surroundings), hand.start, hand.at)

    assert len(said()) == 3  # a watch each


# --- packages ---


@pytest.mark.parametrize(("name", "did"), [("writes", "opens '/dev/null'"), ("connects", "connects to '/nowhere'")])
def test_what_acts_upon_the_world_is_the_users_through_packages_too(said, name, did):
    def deed() -> None:
        watched.package[name]()

    hand = doing("warn", deed)
    hand.apply(hand.start)

    [line] = said()
    assert line.startswith(f"{__file__}:{deed.__code__.co_firstlineno + 1}: `watched.package[name]()` {did}")


def test_what_a_package_reads_for_itself_is_nobodys_fault(said):
    def deed() -> None:
        watched.package["reads"]()

    hand = doing("warn", deed)
    hand.apply(hand.start)

    assert said() == []


# --- what is nobody's fault ---


def blameless() -> Any:
    model = watched.Model(number=1, at=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))
    return watched.blameless(watched.Data(1), model, watched.Colour.RED)


@pytest.mark.parametrize("mode", ["warn", "error"])
def test_data_and_the_language_itself_are_beyond_reproach(said, mode):
    hand = Hand(mode, blameless())
    hand.apply(hand.start)
    while hand.instance.open and not hand.instance.ended:
        hand.complete(next(slot.position for slot in hand.instance.open.values() if slot.kind == "task"))

    assert said() == []
    assert hand.instance.status == "completed"


def test_nobody_looks_outside_of_turns_and_at_inline_functions():
    seen: list[Any] = []

    def look() -> None:
        seen.append((HERE.look, sys.getprofile()))

    def deed() -> None:
        from dsl import dispatch

        dispatch(inline(look))

    before = sys.getprofile()
    hand = doing("warn", deed)
    hand.apply(hand.start)

    assert seen == [(None, None)]
    assert (HERE.look, sys.getprofile()) == (None, before)


# --- the same twice ---


def test_what_is_not_the_same_twice_is_told_though_nobody_knows_why(said):
    hand = Hand("warn", watched.counting())
    hand.apply(hand.start)
    hand.complete("m0.0")

    [line] = said()
    number = watched.counting.fn.__code__.co_firstlineno + 3
    assert line.startswith(f'{watched.__file__}:{number}: `yield from step(next(counted))` asked for step({{"name":')
    assert "when replayed at once: what it goes by must be recorded" in line


def test_what_is_not_the_same_twice_suspends_when_it_is_an_error():
    hand = Hand("error", watched.counting())
    hand.apply(hand.start)

    with pytest.raises(Diverged, match="when replayed at once"):
        hand.complete("m0.0")


def test_an_instance_that_was_loaded_is_replayed_from_what_is_stored(said):
    hand = Hand("warn", watched.counting())
    hand.apply(hand.start)
    again = Hand("warn", watched.counting())
    again.bodies, again.at = hand.bodies, hand.at
    again.instance = hand.instance
    again.complete("m0.0")

    assert len(said()) == 1


# --- commands ---


def test_a_command_that_nobody_yields_is_told_where_it_was_made(said):
    hand = Hand("warn", watched.forgetful())
    hand.apply(hand.start)
    assert said() == []  # somebody might yet
    hand.complete("m0.0")

    [line] = said()
    number = watched.forgetful.fn.__code__.co_firstlineno + 2
    assert line == (
        f"{watched.__file__}:{number}: `answer = step(\"a\")` made step(name='a'), which nobody yielded: "
        "write `yield from` before it, or dispatch(…) it"
    )


@pytest.mark.parametrize("late", [True, False])
def test_a_command_that_is_kept_for_later_is_not_told(said, late):
    hand = Hand("warn", watched.thrifty(late))
    hand.apply(hand.start)
    hand.complete("m0.0")
    hand.complete("m0.1")

    assert (hand.instance.status, said()) == ("completed", [])


# --- workers ---


def test_a_worker_that_does_not_watch_makes_turns_as_ever():
    from infinitic.engine import turns

    with Worker("memory://unwatched", workflows=[watched.plain]) as worker:
        applier = worker._conductor.applier
        assert (applier.apply, applier.retry) == (turns.apply, turns.retry)


def test_a_worker_refuses_another_watch():
    with pytest.raises(ConfigurationError, match=r"watch = 'loud' is not known. It is \"off\", \"warn\" or \"error\"."):
        Worker("memory://loud", workflows=[watched.plain], watch="loud")  # type: ignore[arg-type]  # as said


def test_a_worker_that_watches_serves(said):
    served: dict[str, Any] = {"workflows": [watched.plain, watched.blameless], "services": [watched.step]}
    with Worker("memory://watched", **served, watch="error"), Client("memory://watched") as client:
        assert client.run(watched.plain("a"), timeout=20) is None
        assert "'word': 'cbt'" in client.run(blameless(), timeout=20)

    assert said() == []


def test_what_an_error_suspends_goes_on_with_a_worker_that_does_not_watch(tmp_path):
    url = f"sqlite:///{tmp_path}/w.db"
    served: dict[str, Any] = {"workflows": [watched.counting], "services": [watched.step]}
    with Worker(url, **served, watch="error"), Client(url) as client:
        client.start(watched.counting(), id="c")
        [record] = until(lambda: list(client.find(status="suspended")))
        assert "when replayed at once" in record.reason
        assert record.turns == 1  # what was wrong is not recorded
    with Worker(url, **served), Client(url) as client:
        assert client.get("c").result(timeout=20) is None

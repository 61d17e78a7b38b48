"""Exceptions become data and come back as what they were, where their class is known."""

import sys
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import partial
from types import ModuleType

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl import errors
from dsl.errors import Attempt, RemoteError, TaskFailed, WorkflowFailed
from infinitic.errors import EncodeError
from infinitic.events import ErrorValue, Frame
from infinitic.serialization import error_value, rebuild


def through_json(error, **options):
    data = msgspec.json.encode(error_value(error, **options))
    return msgspec.json.decode(data, type=ErrorValue)


def returned(error):
    return rebuild(through_json(error))


def facts(error):
    """What makes two exceptions the same."""
    if not isinstance(error, BaseException):
        return error
    slots = [name for base in type(error).__mro__ for name in vars(base).get("__slots__", ()) if name[:2] != "__"]
    held = vars(error) | {name: getattr(error, name) for name in slots}
    fields = {name: facts(value) for name, value in held.items()}
    return type(error), [facts(one) for one in error.args], fields, str(error), facts(error.__cause__)


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


class Refused(Exception):
    """With fields of its own, and an `__init__` that takes other arguments."""

    def __init__(self, *, code, reason):
        super().__init__(f"{reason} ({code})")
        self.code, self.reason = code, reason


@attrs.define(kw_only=True)
class Overdrawn(Exception):
    balance: int
    since: date = date(2024, 1, 1)


@attrs.frozen
class Frozen(Exception):
    codes: tuple[int, ...]


class Slotted(Exception):
    __slots__ = ()


class Group(ExceptionGroup):
    def derive(self, excs):
        return Group(self.message, excs)


class Computed(Exception):
    @property
    def code(self):
        return 3


class Choosy(Exception):
    def __new__(cls, first, second):
        return super().__new__(cls, first, second)

    def __init__(self, first, second):
        super().__init__("other")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Coded(Exception):
    """What its fields are is said by its `__init__` alone."""

    def __init__(self, color: Color, text: str) -> None:
        super().__init__(f"{color.name}: {text}")
        self.color, self.text = color, text


@dataclass
class Plain(Exception):
    code: int
    when: date


@dataclass(frozen=True, slots=True)
class Solid(Exception):
    color: Color
    parts: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.color.name} {self.parts}"


class Outer:
    class Inner(ValueError):
        def __init__(self, text: str, *, code: Color) -> None:
            super().__init__(text)
            self.code = code


class Reduced(Exception):
    def __init__(self, *, why: str, when: date) -> None:
        super().__init__(why)
        self.why, self.when = why, when

    def __reduce__(self):
        return partial(Reduced, why=self.why, when=self.when), ()


@attrs.define
class AttrsSlots(Exception):
    _color: Color

    def __str__(self) -> str:
        return self._color.name


class TwoSlots(Exception):
    __slots__ = ("first",)

    def __init__(self, first: int, second: str) -> None:
        super().__init__(second)
        self.first, self.second = first, second


CAUSE = ValueError("why")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        KeyError("k"),
        Exception(),
        Refused(code=3, reason="no"),
        Overdrawn(balance=-3, since=date(2024, 2, 3)),
        Frozen((1, 2)),
        Slotted("x"),
        FileNotFoundError(2, "No such file", "a.txt"),
        UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"),
        SystemExit(3),
        EncodeError("too long", "$.x"),
        errors.InvalidId("a name", "'x'", "letters"),
        errors.RetryIn(5, "later"),
        errors.WorkflowExists("trip", "t-1", "running"),
        errors.Cancelled(),
        raised(ValueError("outer"), CAUSE),
        TaskFailed("Hotels.book", Refused(code=3, reason="no")),
        WorkflowFailed("trip", "t-1", TaskFailed("Hotels.book", ValueError("no"))),
        errors.TaskTimedOut("Hotels.book", TimeoutError("after 3 s")),
        errors.TaskCancelled("Hotels.book"),
        errors.WorkflowTerminated("trip", "t-1", "by ann"),
        Coded(Color.RED, "no"),
        Plain(3, date(2024, 2, 3)),
        Solid(Color.RED, (1, 2)),
        Outer.Inner("x", code=Color.RED),
        Reduced(why="x", when=date(2024, 1, 2)),
        AttrsSlots(Color.RED),
        TwoSlots(3, "b"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_comes_back_as_what_it_was(error):
    assert facts(returned(error)) == facts(error)


def test_an_error_within_an_error_is_the_cause_itself():
    failed = returned(WorkflowFailed("trip", "t-1", TaskFailed("Hotels.book", ValueError("no"))))

    assert failed.error is failed.__cause__ is failed.args[2]
    assert failed.error.error is failed.error.__cause__ is failed.error.args[1]


def test_attempts_come_along_and_the_last_one_s_error_is_the_cause_itself():
    last = Refused(code=3, reason="no")
    attempts = (Attempt(1, raised(ValueError("no"), CAUSE), "w1", 1, 2), Attempt(2, last, "w2", 3, 4))
    failed = returned(WorkflowFailed("trip", "t-1", TaskFailed("book", last, attempts))).error

    assert failed.attempts == attempts
    assert failed.attempts[1].error is failed.error is failed.__cause__
    assert failed.attempts[0].error.__cause__ is None  # of the others it is told what they were and said
    assert str(failed) == "book failed after 2 attempts: Refused: no (3)"


def test_of_many_attempts_the_last_ones_come_along():
    attempts = tuple(Attempt(number, ValueError("x" * 100)) for number in range(1, 1_001))
    failed = returned(TaskFailed("book", attempts[-1].error, attempts))

    assert failed.attempts == attempts[-len(failed.attempts) :]
    assert 50 < len(failed.attempts) < 200
    assert str(failed).startswith("book failed after 1000 attempts: ")


def test_every_rebuilt_error_is_a_fresh_one():
    value = error_value(raised(ValueError("x"), CAUSE))

    first, second = rebuild(value), rebuild(value)

    assert first is not second
    assert first.__cause__ is not second.__cause__


def test_the_context_is_a_cause_unless_it_was_suppressed():
    error = KeyError("k")
    error.__context__ = CAUSE

    assert error_value(error).cause == error_value(CAUSE)
    error.__suppress_context__ = True
    assert error_value(error).cause is None


def test_notes_come_along():
    error = ValueError("x")
    error.add_note("first")
    error.add_note("second \ud800")

    assert returned(error).__notes__ == ["first", "second \\ud800"]
    assert not hasattr(returned(ValueError()), "__notes__")


def test_groups_keep_their_errors():
    group = returned(Group("two", [ValueError("a"), ExceptionGroup("in", [Refused(code=1, reason="b")])]))
    inner = group.exceptions[1]

    assert (type(group), group.message) == (Group, "two")
    assert facts(group.exceptions[0]) == facts(ValueError("a"))
    assert (type(inner), inner.message, facts(inner.exceptions[0])) == (
        ExceptionGroup,
        "in",
        facts(Refused(code=1, reason="b")),
    )


def test_what_json_cannot_hold_comes_as_its_repr():
    error = ValueError(print)
    error.where = [date(2024, 1, 2), {"f": len}]  # type: ignore[attr-defined]  # anybody may
    value = through_json(error)

    assert (value.args, value.fields) == (
        None,
        {"where": "[datetime.date(2024, 1, 2), {'f': <built-in function len>}]"},
    )
    assert facts(rebuild(value))[:3] == (ValueError, [str(error)], value.fields)


def test_an_error_that_cannot_even_be_shown_is_still_sent():
    error = Mute("x")
    error.me = Mute  # type: ignore[attr-defined]  # anybody may
    error.it = {1: Mute()}  # type: ignore[attr-defined]  # anybody may
    value = through_json(raised(error))

    assert value.message == "<str() of it raised RuntimeError>"
    assert value.fields["it"] == "<repr() of it raised RuntimeError>"
    assert "Mute" in value.traceback


# ------------------------------------------------------------------------------------------ bounds


def test_causes_are_kept_to_a_depth_of_ten():
    error: Exception = ValueError(0)
    for number in range(1, 30):
        error = raised(ValueError(number), error)
    value, depth = through_json(error), 0
    while value.cause is not None:
        value, depth = value.cause, depth + 1

    assert depth == 10


def test_ten_causes_last_beneath_what_failed_by_them():
    error: BaseException = ValueError(0)
    for number in range(1, 11):
        error = raised(ValueError(number), error)
    error = TaskFailed("charge", error)
    for number in range(100):
        error = returned(WorkflowFailed("trip", f"t-{number}", error))
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)

    assert [type(one) for one in chain] == [WorkflowFailed] * 100 + [TaskFailed] + [ValueError] * 11
    assert [one.args for one in chain[101:]] == [(number,) for number in range(10, -1, -1)]


def test_causes_that_are_equal_are_not_one():
    chain = raised(Plain(1, date(2024, 1, 2)), raised(Plain(1, date(2024, 1, 2)), CAUSE))

    assert facts(returned(chain)) == facts(chain)


@pytest.mark.parametrize("kind", [ValueError, lambda number: WorkflowFailed("w", str(number), Exception())])
def test_causes_in_a_circle_end(kind):
    first, second = kind(1), kind(2)
    first.__cause__, second.__cause__ = second, first
    first.other = second  # type: ignore[attr-defined]  # anybody may

    assert len(msgspec.json.encode(error_value(first))) < 60_000


def test_errors_within_errors_do_not_double():
    error: Exception = ValueError("x")
    for number in range(9):
        error = raised(WorkflowFailed("w", str(number), error))

    assert len(msgspec.json.encode(error_value(error))) < 20_000


def test_groups_deeper_than_the_bound_end_in_a_text():
    group: Exception = ValueError("x")
    for _ in range(30):
        group = ExceptionGroup("g", [group])

    assert facts(returned(group)) is not None
    assert len(msgspec.json.encode(error_value(group))) < 20_000


def recursing(depth):
    if depth == 0:
        raise ValueError("bottom")
    if depth % 2:  # alternating lines, or the traceback folds them into one
        recursing(depth - 1)
    recursing(depth - 1)


def test_the_traceback_is_bounded_and_keeps_its_end():
    with pytest.raises(ValueError) as caught:
        recursing(200)
    value = through_json(caught.value)

    assert len(value.traceback) <= 8_192
    assert value.traceback.endswith("ValueError: bottom\n")
    assert len(value.stack) == 30
    assert value.stack[-1] == Frame(__file__, value.stack[-1].line, "recursing", 'raise ValueError("bottom")')


def test_a_given_stack_takes_the_place_of_the_tracebacks():
    stack = (Frame("trips.py", 3, "trip", "yield from book()"),)

    assert through_json(raised(ValueError("x")), stack=stack).stack == stack


def test_an_error_that_was_never_raised_has_no_traceback():
    assert error_value(Refused(code=3, reason="no")) == ErrorValue(
        type=f"{__name__}:Refused",
        message="no (3)",
        fields={"code": 3, "reason": "no"},
        args=("no (3)",),
    )


# ------------------------------------------------------------------------------------------ unknown classes


def test_a_class_that_is_not_known_here_comes_as_a_stand_in():
    value = ErrorValue("shop.bank:Bank.Refused", "no", {"code": 3}, cause=error_value(CAUSE))
    error = rebuild(value)

    assert facts(error)[:3] == facts(RemoteError("shop.bank:Bank.Refused", "no", {"code": 3}))[:3]
    assert facts(error.__cause__) == facts(CAUSE)


def test_a_stand_in_is_passed_on_as_what_it_stands_for():
    value = ErrorValue("shop.bank:Bank.Refused", "no", {"code": 3})

    assert error_value(rebuild(value)) == value


@pytest.mark.parametrize(
    "type",
    [
        "os:system",  # no class
        "builtins:dict",  # no exception
        "builtins:print",
        "json.tool:Missing",
        "turtle:TurtleGraphicsError",  # not imported
        "__main__:Refused",
        f"{__name__}:Refused.__init__",
        f"{__name__}:CAUSE",
        "",
        "nonsense",
    ],
)
def test_what_is_no_exception_class_known_here_comes_as_a_stand_in(type):
    assert facts(rebuild(ErrorValue(type, "x"))) == facts(RemoteError(type, "x"))
    assert "turtle" not in sys.modules


def test_no_module_is_imported_lazily_by_a_name_out_of_a_message(monkeypatch):
    lazy = ModuleType("lazy")
    lazy.__getattr__ = lambda name: pytest.fail(f"asked for {name}")  # type: ignore[method-assign]  # as PEP 562 has it
    monkeypatch.setitem(sys.modules, "lazy", lazy)

    assert isinstance(rebuild(ErrorValue("lazy:Thing", "x")), RemoteError)


def test_the_script_that_runs_is_known_by_its_name(monkeypatch):
    script = ModuleType("__main__")
    script.__file__ = "/srv/trips.py"
    script.Refused = type("Refused", (Exception,), {"__module__": "__main__"})  # type: ignore[attr-defined]  # as a script does
    monkeypatch.setitem(sys.modules, "__main__", script)
    value = through_json(script.Refused("x"))

    assert value.type == "trips:Refused"
    assert type(rebuild(value)) is script.Refused
    script.__file__ = "/srv/hotels.py"
    assert facts(rebuild(value)) == facts(RemoteError("trips:Refused", "x"))


def test_a_class_that_will_not_be_made_comes_as_a_stand_in():
    value = ErrorValue(f"{__name__}:Choosy", "x", args=("one",))

    assert facts(rebuild(value)) == facts(RemoteError(f"{__name__}:Choosy", "x"))


def test_a_field_that_became_a_property_is_left_out():
    assert facts(rebuild(ErrorValue(f"{__name__}:Computed", "x", {"code": 9}))) == facts(Computed("x"))


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "$error"), inner),
    max_leaves=10,
).filter(lambda one: not (isinstance(one, dict) and "$codec" in one))


@settings(max_examples=40)
@given(
    st.text(),
    st.dictionaries(  # "args" is every exception's own
        st.text(min_size=1).filter(lambda name: name != "args" and not name.startswith("__")), json_data
    ),
)
def test_any_fields_of_plain_data_come_back(message, fields):
    error = ValueError(message)
    vars(error).update(fields)

    assert facts(returned(error)) == facts(error)


@settings(max_examples=40)
@given(
    st.builds(
        ErrorValue,
        st.sampled_from(
            [
                f"{__name__}:Refused",
                f"{__name__}:Overdrawn",
                "builtins:OSError",
                "a:B",
                "builtins:ExceptionGroup",
            ]
        ),
        st.text(),
        st.dictionaries(st.sampled_from(["code", "balance", "exceptions", "x", "since"]), json_data),
        st.none() | st.lists(json_data).map(tuple),
    )
)
def test_whatever_a_message_says_an_exception_is_made(value):
    assert isinstance(rebuild(value), Exception)


def test_an_error_is_no_larger_than_a_message_may_be():
    """Whatever it says and holds: what cannot be sent would leave its workflow waiting for ever."""
    error = ValueError("z" * 6_000_000)
    error.__cause__ = LookupError({"all": ["x" * 1_000] * 6_000})
    error.add_note("n" * 6_000_000)
    value = error_value(error)

    assert len(msgspec.json.encode(value)) < 1_000_000
    assert value.message == "z" * 65_536 + "… (6,000,000 characters in all)"
    assert str(rebuild(value)) == value.message


# ------------------------------------------------------------------------------------------ more bounds


def test_a_large_group_keeps_what_there_is_room_for_and_says_how_many_are_left_out():
    group = returned(ExceptionGroup("many", [raised(ValueError(number)) for number in range(5_000)]))
    kept = len(group.exceptions)

    assert [one.args for one in group.exceptions] == [(number,) for number in range(kept)]
    assert 100 < kept < 5_000
    assert group.__notes__ == [f"{5_000 - kept:,} more exceptions of the group are left out"]
    assert len(msgspec.json.encode(error_value(group))) < 300_000


def test_an_error_with_too_much_in_it_is_told_by_what_it_is_and_its_causes():
    def stuffed(number, cause):
        error = raised(ValueError(str(number)), cause)
        vars(error).update({f"field{index}": "x" * 50_000 for index in range(20)})
        error.add_note("a note")
        return error

    error = stuffed(2, stuffed(1, stuffed(0, None)))
    value = error_value(error)

    assert len(msgspec.json.encode(value)) < 524_288
    back = rebuild(value)
    assert [(str(one), vars(one)) for one in (back, back.__cause__, back.__cause__.__cause__)] == [
        (str(number), {"__notes__": ["a note"]}) for number in (2, 1, 0)
    ]


# ------------------------------------------------------------------------------------------ any error

any_text = st.text(max_size=20)
any_color = st.sampled_from(Color)
any_date = st.dates()
any_own = st.one_of(
    st.builds(Refused, code=st.integers(-(2**53), 2**53), reason=any_text),
    st.builds(Overdrawn, balance=st.integers(-(2**53), 2**53), since=any_date),
    st.builds(Frozen, st.lists(st.integers(0, 9)).map(tuple)),
    st.builds(Coded, any_color, any_text),
    st.builds(Plain, st.integers(0, 9), any_date),
    st.builds(Solid, any_color, st.lists(st.integers(0, 9)).map(tuple)),
    st.builds(Outer.Inner, any_text, code=any_color),
    st.builds(Reduced, why=any_text, when=any_date),
    st.builds(AttrsSlots, any_color),
    st.builds(TwoSlots, st.integers(0, 9), any_text),
    st.builds(ValueError, any_text, st.integers(0, 9)),
    st.builds(KeyError, any_text),
    st.builds(OSError, st.integers(1, 40), any_text, any_text),
    st.builds(RemoteError, st.just("shop:Refused"), any_text, st.dictionaries(any_text, st.integers(0, 9))),
    st.builds(errors.WorkflowExists, any_text, any_text, any_text),
)
any_error = st.recursive(
    any_own,
    lambda inner: st.one_of(
        st.builds(ExceptionGroup, any_text, st.lists(inner, min_size=1, max_size=3)),
        st.builds(TaskFailed, any_text, inner),
        st.builds(WorkflowFailed, any_text, any_text, inner),
    ),
    max_leaves=4,
)


def everything(error):
    """The facts of an error, of those within it and of its causes, and their notes."""
    if isinstance(error, BaseExceptionGroup):
        return type(error), error.message, [everything(one) for one in error.exceptions], notes(error)
    cause = everything(error.__cause__) if error.__cause__ is not None else None
    within = [everything(one) for one in vars(error).values() if isinstance(one, BaseException)]
    return type(error), str(error), within, notes(error), cause


def notes(error):
    return getattr(error, "__notes__", [])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(any_error, st.lists(any_text, max_size=2)), min_size=1, max_size=10))
def test_any_chain_of_any_errors_with_notes_comes_back(links):
    chain = None
    for error, its in links:
        if chain is not None and not isinstance(error, TaskFailed | WorkflowFailed | ExceptionGroup):
            BaseException.__setattr__(error, "__cause__", chain)  # as `raise from` does, for frozen ones too
        if its:
            BaseException.__setattr__(error, "__notes__", its)
        chain = error

    assert everything(returned(chain)) == everything(chain)


@settings(max_examples=100, deadline=None)
@given(any_own)
def test_an_error_of_any_class_comes_back_as_what_it_was(error):
    assert facts(returned(error)) == facts(error)

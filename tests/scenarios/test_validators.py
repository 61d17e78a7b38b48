"""Validators: what a method has against a call is told to the caller, and leaves no trace."""

import pytest

from dsl import Channel, Flow, Workflow, dispatch, inline, method, now, query, settle, sleep, task, uuid4, workflow
from infinitic.errors import (
    DecodeError,
    ProtocolError,
    ReadOnly,
    RemoteError,
    UnknownWorkflow,
    WorkflowFailed,
    WorkflowFinished,
)
from tests.scenarios.given import events


class TooFew(Exception):
    def __init__(self, *, asked: int, left: int) -> None:
        super().__init__(f"{asked} of {left}")
        self.asked, self.left = asked, left


@task
def double(number: int) -> int:
    return number * 2


class Loyalty(Workflow):
    over = Channel(bool)

    def __init__(self) -> None:
        self.points = 10
        self.held: dict[str, list[int]] = {"ada": []}

    @method
    def run(self, points: int) -> Flow[int]:
        self.points = points
        yield from self.over.receive()
        return self.points

    @run.validator
    def check_run(self, points: int) -> None:
        raise LookupError("a start is not validated")

    @method
    def redeem(self, points: int, *, why: str = "") -> Flow[int]:
        doubled = yield from double(points)
        self.points -= doubled
        return self.points

    @redeem.validator
    def check_redeem(self, points: int, *, why: str) -> None:
        if points > self.points:
            raise TooFew(asked=points, left=self.points)

    @method
    def twice(self, points: int) -> Flow[int]:
        yield from self.redeem(points)
        return (yield from self.redeem(1000))

    @method
    def sly(self, how: str) -> Flow[int]:
        yield from sleep(0)
        return self.points

    @sly.validator
    def check_sly(self, how: str) -> None:
        if how == "attribute":
            self.points += 1
        elif how == "inside":
            self.held["ada"].append(1)
        elif how == "command":
            dispatch(double(1))
        elif how == "inline":
            dispatch(inline(double.fn, 1))
        elif how == "exit":
            raise SystemExit(3)
        elif how == "random":
            uuid4()
        elif how == "answer":
            return False  # type: ignore[return-value]  # that is the point
        else:
            assert now()
        return None

    @query
    def leave(self) -> None:
        raise SystemExit(4)

    @query
    def balance(self) -> tuple[int, dict[str, list[int]]]:
        return self.points, self.held


class Gold(Loyalty):
    """Has another opinion of what is enough, and its own way to redeem."""

    def check_redeem(self, points: int, *, why: str) -> None:
        if not why:
            raise LookupError("gold wants a reason")

    @method
    def redeem(self, points: int, *, why: str = "") -> Flow[int]:
        yield from sleep(0)
        return points


ada = Loyalty.by_id("ada")


@pytest.fixture
def handle(serve, client):
    serve(Loyalty, Gold, double, caller)
    return client.start(Loyalty.run(10), id="ada")


@workflow
def caller(points: int) -> Flow[str]:
    try:
        return str((yield from ada.redeem(points)))
    except TooFew as few:
        return f"too few: {few.asked} of {few.left}"


def test_a_refusal_is_the_callers_and_leaves_no_trace(handle, client):
    with pytest.raises(TooFew) as raised:
        client.run(ada.redeem(11), timeout=20)

    assert (raised.value.asked, raised.value.left) == (11, 10)
    assert client.run(ada.redeem(2), timeout=20) == 6
    assert events(handle.history()) == ["Started", "MethodCalled", "TaskCompleted"]


def test_a_workflow_that_calls_catches_the_refusal_by_its_class(handle, client):
    assert client.run(caller(11), timeout=20) == "too few: 11 of 10"
    assert client.run(caller(3), timeout=20) == "4"
    assert events(handle.history()) == ["Started", "MethodCalled", "TaskCompleted"]


def test_a_refused_call_may_be_made_again_under_its_id(handle, client):
    with pytest.raises(TooFew):
        client.run(ada.redeem(11).options(id="c"), timeout=20)

    assert client.run(ada.redeem(1).options(id="c"), timeout=20) == 8
    assert client.run(ada.redeem(1000).options(id="c"), timeout=20) == 8  # it is not looked at once more


def test_what_a_method_calls_through_self_is_not_validated(handle, client):
    assert client.run(ada.twice(3), timeout=20) == 10 - 6 - 2000


def test_a_start_and_what_follows_it_in_history_are_not_validated(serve, client):
    worker = serve(Loyalty, double)
    handle = client.start(Loyalty.run(10), id="ada")
    client.run(ada.redeem(4), timeout=20)
    worker.close()
    serve(Loyalty, double)

    assert client.run(ada.balance(), timeout=20) == (2, {"ada": []})
    assert client.run(ada.redeem(2), timeout=20) == -2
    client.run(ada.over.send(True), timeout=20)
    assert handle.result(20) == -2


@pytest.mark.parametrize("how", ["attribute", "inside", "command", "inline", "random"])
def test_a_validator_may_only_read(handle, client, how):
    with pytest.raises(ReadOnly):
        client.run(ada.sly(how), timeout=20)

    assert client.run(ada.balance(), timeout=20) == (10, {"ada": []})
    assert client.run(ada.sly(""), timeout=20) == 10
    assert "MethodCalled" not in events(handle.history())[:-2]


def test_a_validator_that_answers_is_told_to_raise(handle, client):
    with pytest.raises(ProtocolError, match="raises what it has against a call"):
        client.run(ada.sly("answer"), timeout=20)


def test_a_validator_or_a_query_that_exits_ends_nobody_s_process(handle, client):
    with pytest.raises(RemoteError, match="SystemExit: 3"):
        client.run(ada.sly("exit"), timeout=20)
    with pytest.raises(RemoteError, match="SystemExit: 4"):
        client.run(ada.leave(), timeout=20)

    assert client.run(ada.balance(), timeout=20) == (10, {"ada": []})


def test_a_subclass_overrides_a_validator_by_its_name_and_keeps_it_for_an_override(handle, client):
    client.start(Gold.run(10), id="gold")
    with pytest.raises(LookupError, match="gold wants a reason"):
        client.run(Gold.by_id("gold").redeem(1000), timeout=20)

    assert client.run(Gold.by_id("gold").redeem(1000, why="so"), timeout=20) == 1000


def test_what_cannot_be_called_is_not_validated(handle, client):
    with pytest.raises(UnknownWorkflow):
        client.run(Loyalty.by_id("bob").redeem(1000), timeout=20)
    with pytest.raises(DecodeError):
        client.run(ada.redeem("many"), timeout=20)  # type: ignore[arg-type]  # that is the point


class Restless(Workflow):
    """Its first method fails by what the call of another sets free, once."""

    fails, closed = True, False

    @method
    def run(self) -> Flow[str]:
        self.wait = dispatch(sleep(days=1))
        yield from settle(self.wait)
        if Restless.fails:
            raise ValueError("not yet")
        return "well"

    @method
    def release(self) -> None:
        self.wait.cancel()

    @release.validator
    def check_release(self) -> None:
        if Restless.closed:
            raise LookupError("closed")


def test_a_call_that_was_accepted_is_not_validated_anew_by_a_retry(serve, client):
    worker = serve(Restless)
    Restless.fails, Restless.closed = True, False
    handle = client.start(Restless.run(), id="r")
    client.start(Restless.by_id("r").release())
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    Restless.fails, Restless.closed = False, True
    handle.retry(timeout=20)

    assert handle.result(20) == "well"
    worker.close()
    serve(Restless)
    assert client.get("r", Restless.run).result(20) == "well"
    with pytest.raises(WorkflowFinished):
        client.run(Restless.by_id("r").release(), timeout=20)

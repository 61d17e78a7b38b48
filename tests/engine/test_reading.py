"""Reading: validators refuse calls that come for the first time, and change nothing."""

from msgspec import Raw

from dsl import Flow, Workflow, dispatch, method, query, settle, sleep
from infinitic.engine.instance import Refusal
from infinitic.events import Caller, MethodCalled
from infinitic.history import Answer
from tests.engine.driver import Driver

FIRST, SECOND = (Caller("other", name, "r", "m0.0") for name in ("a", "b"))


class Till(Workflow):
    closed = fails = False
    asked = 0

    def __init__(self) -> None:
        self.coins = [1]
        self.secret = object()

    @method
    def run(self) -> Flow[str]:
        self.wait = dispatch(sleep(days=1))
        yield from settle(self.wait)
        if Till.fails:
            raise ValueError("not yet")
        return "well"

    @method
    def put(self, coin: int) -> Flow[int]:
        yield from sleep(1)
        self.coins.append(coin)
        return len(self.coins)

    @put.validator
    def check_put(self, coin: int) -> None:
        if coin == 13:
            self.coins.append(coin)
        elif coin == 14:
            self.secret = object()
        elif coin < 0 or Till.closed:
            raise LookupError(f"no {coin}")

    @method
    def release(self) -> None:
        self.wait.cancel()

    @release.validator
    def check_release(self) -> None:
        Till.asked += 1
        if Till.closed:
            raise LookupError("closed")

    @query
    def count(self) -> int:
        return len(self.coins)


def called(driver, coin, caller=None, id="c"):
    return driver.apply(MethodCalled(id, "put", Raw(b'{"coin":%d}' % coin), caller))


def test_a_refused_call_makes_no_turn_and_may_come_again():
    driver = Driver(Till.run())
    refused = called(driver, -1)

    assert isinstance(refused, Refusal)
    assert (refused.status, str(refused.error), refused.spoilt) == ("refused", "no -1", False)
    assert len(driver.turns) == 1
    assert not isinstance(called(driver, 1), Refusal)


def test_an_instance_that_a_validator_changed_is_to_be_given_up():
    for coin in (13, 14):
        refused = called(Driver(Till.run()), coin)

        assert isinstance(refused, Refusal)
        assert (type(refused.error).__name__, refused.spoilt) == ("ReadOnly", True)


def test_what_was_accepted_is_not_validated_on_replay_nor_by_a_retry(monkeypatch):
    monkeypatch.setattr(Till, "fails", True)
    driver = Driver(Till.run())
    called(driver, 1)
    monkeypatch.setattr(Till, "asked", 0)
    driver.call("r", "release")
    assert (driver.instance.end.status, Till.asked) == ("failed", 1)
    monkeypatch.setattr(Till, "closed", True)

    assert driver.replayed().end.status == "failed"
    monkeypatch.setattr(Till, "fails", False)
    driver.retry()
    assert driver.instance.calls[""].status == "completed"
    assert driver.instance.calls["r"].status == "completed"
    driver.fire("m1.0")
    assert (driver.instance.status, Till.asked) == ("completed", 1)


def test_every_workflow_that_makes_a_call_while_it_runs_is_told_once():
    driver = Driver(Till.run())
    called(driver, 1, FIRST)

    assert called(driver, 1, FIRST) is None
    assert called(driver, 1, SECOND).commands == ()
    assert called(driver, 1, SECOND) is None
    ended = driver.fire("m1.0")
    assert ended.sends == tuple(Answer("c", "completed", Raw(b"2"), caller=one) for one in (FIRST, SECOND))
    assert called(driver, 1, Caller("other", "c", "r", "m0.0")) is None  # the record knows the answer


def test_a_call_whose_answer_is_forgotten_is_refused():
    driver = Driver(Till.run())
    called(driver, 1)
    driver.fire("m1.0")
    del driver.instance.calls["c"]
    refused = called(driver, 1)

    assert isinstance(refused, Refusal)
    assert str(refused.error) == "Till 'wf' had this call before, and has forgotten its answer"

"""A task alone: what a client encoded goes out as it came, and the answer comes back as it is."""

from msgspec import Raw

from infinitic.engine.alone import alone
from infinitic.events import TaskCompleted
from infinitic.history import TaskIssued
from tests.engine.driver import Driver

ARGUMENTS = Raw(b'{"$codec":"other", "data":"x"}')
OPTIONS = {"retry": {"max_attempts": 2}, "timeout": 5_000_000}


def test_arguments_options_and_answer_pass_through_untouched_and_replay_alike():
    driver = Driver(alone("Hotels", "book", ARGUMENTS, OPTIONS))
    [issued] = driver.turns[0].commands
    driver.apply(TaskCompleted("", issued.position, Raw(b'{"$codec":"other", "data":"y"}')))

    assert issued == TaskIssued("m0.0", "Hotels", "book", ARGUMENTS, OPTIONS)
    assert bytes(driver.instance.end.value) == b'{"$codec":"other", "data":"y"}'


def test_the_task_s_failure_fails_it_with_all_attempts():
    driver = Driver(alone("Hotels", "book", ARGUMENTS, {}))
    driver.fail("m0.0", LookupError("no"))

    assert driver.instance.end.status == "failed"
    assert driver.instance.end.error.type == "dsl.errors:TaskFailed"
    assert [number for number, *_ in driver.instance.end.error.fields["attempts"]] == [1]

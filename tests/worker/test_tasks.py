"""Task attempts: from the message to its answer, and what the retry policies say."""

import pytest
from msgspec import Raw
from msgspec.json import decode, encode

from dsl import DoNotRetry, Retry, RetryIn, current_task, task
from dsl.context import TASK
from dsl.policies import Retry as Policy
from infinitic.engine.issuing import task_options
from infinitic.errors import DecodeError, EncodeError
from infinitic.events import AnyEvent, AttemptFailed, TaskCompleted
from infinitic.messages import Delivery, Message, Outgoing, TaskRequest, encode_payload
from infinitic.serialization import Serializer, error_value, rebuild
from infinitic.topics import service_topic, workflow_topic
from infinitic.worker.registry import Registry
from infinitic.worker.tasks import Attempt, TaskStep, retry_of
from tests.worker.given import NOON, Clock


@pytest.fixture(autouse=True)
def no_task_afterwards():
    """What begins an attempt here leaves none to the tests that follow."""
    before = TASK.set(None)
    yield
    TASK.reset(before)


class Odd(ValueError):
    """An error of the test's own."""


@task(retry=Retry(max_attempts=3, initial=2, factor=3, jitter=0), timeout=7)
def halve(number: int) -> float:
    return number / 2


@task
def plain(number: int = 1) -> int:
    return number


CODEC = Serializer()
STEP = TaskStep(Registry([], [halve, plain], codec=CODEC), CODEC, Clock(), "me")


def delivery(name="halve", arguments=None, attempt=1, deaths=0, **fields):
    request = TaskRequest(name, fields.pop("task", name), Raw(encode(arguments or {"number": 5})), **fields)
    message = Message(
        "task", "t1", "trip", "w", "r", "m0.0", attempt, headers={"h": "1"}, payload=encode_payload(request)
    )
    return Delivery(service_topic(name), message, 1, deaths)


def attempt(**fields) -> Attempt:
    made = STEP.attempt(delivery(**fields))
    assert isinstance(made, Attempt)
    return made


def event_of(outgoing: Outgoing):
    assert (outgoing.topic, outgoing.key) == (workflow_topic("trip"), "w")
    message = outgoing.message
    assert (message.workflow, message.workflow_id, message.run, message.position) == (
        "trip",
        "w",
        "r",
        "m0.0",
    )
    assert message.headers == {"h": "1"}
    return decode(message.payload, type=AnyEvent)


def failed(error, **fields) -> AttemptFailed:
    event = event_of(STEP.failed(attempt(**fields), error))
    assert isinstance(event, AttemptFailed)
    return event


def test_an_attempt_that_returns_is_answered_with_its_value():
    one = attempt()
    STEP.begin(one)
    event = event_of(STEP.succeeded(one, one.call()))

    assert event == TaskCompleted("", "m0.0", event.value, 1, "me", NOON, NOON)
    assert bytes(event.value) == b"2.5"


def test_a_delay_grows_by_the_policy_of_the_task_until_there_are_no_more_attempts():
    delays = [failed(Odd("no"), attempt=number).retry_in for number in (1, 2, 3)]

    assert delays == [2_000_000, 6_000_000, None]


def test_attempts_before_a_retry_by_hand_do_not_count():
    assert failed(Odd("no"), attempt=5, uncounted=4).retry_in == 2_000_000


def test_without_any_policy_there_are_five_attempts_after_half_a_second():
    delays = [failed(Odd("no"), name="plain", attempt=number).retry_in for number in (1, 4, 5)]

    assert delays[0] is not None
    assert 450_000 <= delays[0] <= 550_000
    assert delays[1] is not None
    assert delays[2] is None


def options(call):
    return task_options(call.given)


def test_what_the_call_says_goes_first():
    mine = options(halve(5).options(retry=Retry(max_attempts=2, initial=9, jitter=0), timeout=1))

    assert failed(Odd("no"), attempt=1, options=mine).retry_in == 9_000_000
    assert failed(Odd("no"), attempt=2, options=mine).retry_in is None
    assert attempt(options=mine).timeout == 1
    assert attempt().timeout == 7
    assert attempt(name="plain").timeout is None


@pytest.mark.parametrize(
    ("retry", "error", "again"),
    [
        (Retry(retry_on=Odd), Odd(), True),
        (Retry(retry_on=ValueError), Odd(), True),
        (Retry(retry_on=Odd), ValueError(), False),
        (Retry(never_on=ValueError), Odd(), False),
        (Retry(never_on=Odd), ValueError(), True),
        (Retry(retry_on=ValueError, never_on=Odd), Odd(), False),
        (Retry(), Odd(), True),
        (Retry(), DoNotRetry(), False),
    ],
)
def test_a_policy_that_travelled_matches_errors_by_name(retry, error, again):
    import random

    travelled = options(plain().options(retry=retry))["retry"]
    policy = retry_of(decode(encode(travelled)), error)

    assert (policy.delay(1, error, random.Random(1)) is not None) == again
    assert (retry.delay(1, error, random.Random(1)) is not None) == again


def test_a_task_may_decide_itself():
    later = RetryIn(3)
    later.__cause__ = Odd("busy")
    never = DoNotRetry("enough")

    assert (failed(later).retry_in, failed(later).error.name) == (3_000_000, "Odd")
    assert (failed(never).retry_in, failed(never).error.name) == (None, "DoNotRetry")
    assert failed(RetryIn(3), attempt=3).retry_in is None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_is_a_failure_like_any_other(error):
    assert failed(error).retry_in == 2_000_000
    assert failed(error).error.name == type(error).__name__


def test_what_cannot_be_encoded_is_never_retried():
    one = attempt()
    event = event_of(STEP.succeeded(one, object()))

    assert isinstance(event, AttemptFailed)
    assert event.retry_in is None
    assert isinstance(rebuild(event.error), EncodeError)


@pytest.mark.parametrize("arguments", [{"nummer": 5}, {"number": "five"}, {"number": None}])
def test_arguments_that_do_not_fit_are_answered_at_once_and_never_retried(arguments):
    made = STEP.attempt(delivery(arguments=arguments))
    assert isinstance(made, Outgoing)
    event = event_of(made)

    assert isinstance(event, AttemptFailed)
    assert event.retry_in is None
    assert isinstance(rebuild(event.error), DecodeError)
    assert "halve(number: int)" in event.error.message


def test_a_task_that_is_not_there_is_answered_with_those_that_are():
    made = STEP.attempt(delivery(task="third"))
    assert isinstance(made, Outgoing)

    assert "has no task 'third' (it has: halve)" in event_of(made).error.message


@pytest.mark.parametrize(
    "payload",
    [
        b'{"service":1}',
        b'{"service":"\xff","name":"halve"}',
        b'{"service":"halve","name":"halve","arguments":{"number":5},"options":{"timeout":"soon"}}',
        b'{"service":"halve","name":"halve","arguments":{"number":5},"options":{"retry":7}}',
        b'{"service":"halve","name":"halve","arguments":{"number":5},"options":{"retry":{"factor":"x"}}}',
        b'{"service":"halve","name":"halve","arguments":{"number":5},"options":{"retry":{"retry_on":7}}}',
    ],
    ids=["type", "bytes", "timeout", "retry", "factor", "errors"],
)
def test_a_message_that_cannot_be_read_is_answered_too(payload):
    broken = Message("task", "t1", "trip", "w", "r", "m0.0", 1, headers={"h": "1"}, payload=Raw(payload))
    made = STEP.attempt(Delivery(service_topic("halve"), broken, 1))
    assert isinstance(made, Outgoing)

    assert event_of(made).retry_in is None


def test_what_has_killed_three_workers_is_not_run_again():
    assert isinstance(STEP.attempt(delivery(deaths=2)), Attempt)
    made = STEP.attempt(delivery(deaths=3))
    assert isinstance(made, Outgoing)
    event = event_of(made)

    assert (event.error.name, event.retry_in) == ("WorkerLost", None)


def test_a_task_knows_of_itself_and_of_the_attempt_before():
    one = attempt(attempt=2, tags=("a",), meta={"k": 1}, previous=error_value(Odd("first")))
    STEP.begin(one)
    about = current_task()

    assert (about.id, about.name, about.attempt, about.workflow_id, about.workflow) == (
        "t1",
        "halve",
        2,
        "w",
        "trip",
    )
    assert (about.tags, about.meta, repr(about.previous)) == (frozenset({"a"}), {"k": 1}, "Odd('first')")


def test_a_policy_survives_its_way_through_json():
    policy = Policy(max_attempts=7, initial=0.25, factor=1.5, maximum=9, jitter=0.5)
    again = retry_of(decode(encode(options(plain().options(retry=policy))["retry"])), Odd())

    assert again == policy

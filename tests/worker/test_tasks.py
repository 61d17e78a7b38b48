"""Task attempts: from the message to its answer, and what the retry policies say."""

import pytest
from msgspec import Raw
from msgspec.json import decode, encode
from msgspec.structs import replace

from dsl import Cancelled, DoNotRetry, Retry, RetryIn, current_task, task
from dsl.context import TASK
from dsl.policies import Retry as Policy
from infinitic.engine.issuing import task_options
from infinitic.errors import DecodeError, EncodeError
from infinitic.events import AnyEvent, AttemptFailed, Heartbeat, TaskCompleted, TaskStarted
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


@task(delegated=True)
def asked(number: int) -> float | None:
    return None


STEP = TaskStep(Registry([], [halve, plain, asked], codec=CODEC), CODEC, Clock(), "me")


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


def test_a_delegated_attempt_that_returns_says_that_somebody_else_will_answer():
    one = attempt(name="asked", attempt=2)
    STEP.begin(one)

    assert event_of(STEP.succeeded(one, None)) == TaskStarted("", "m0.0", 2, "me", NOON, delegated=True)
    assert isinstance(event_of(STEP.failed(one, ValueError("no"))), AttemptFailed)


def test_what_a_delegated_attempt_returns_is_ignored_with_a_warning(caplog):
    one = attempt(name="asked")
    STEP.succeeded(one, None)
    assert caplog.messages == []

    STEP.succeeded(one, 0.5)

    assert caplog.messages == [
        "asked is delegated: what its function returned is ignored, and it waits for client.complete('t1', …)"
    ]


# --- what an attempt says while it runs, and what it is not allowed any more ---


@task(heartbeat=5, timeout=9, retry=Retry(max_attempts=2, initial=0))
def watched(number: int) -> int:
    return number


@task(retry=Retry(max_attempts=9, decide=lambda attempt, error: attempt / 4 if attempt < 3 else None))
def decided(number: int) -> int:
    return number


@task(retry=Retry(decide=lambda attempt, error: "soon"))  # type: ignore[arg-type,return-value]  # what the test is about
def undecided(number: int) -> int:
    return number


WATCHED = TaskStep(Registry([], [watched, decided, undecided], codec=CODEC), CODEC, Clock(), "me")


def watched_attempt(name="watched", **fields) -> Attempt:
    made = WATCHED.attempt(delivery(name, **fields))
    assert isinstance(made, Attempt)
    return made


def test_an_attempt_tells_that_it_began_and_that_it_goes_on():
    one = watched_attempt(attempt=3)
    WATCHED.begin(one)
    one.pulse.heartbeat({"page": 2})

    assert event_of(WATCHED.started(one, one.heartbeat)) == TaskStarted("", "m0.0", 3, "me", NOON, 5_000_000)
    beat = event_of(WATCHED.heartbeat(one))
    assert (type(beat), beat.attempt, bytes(beat.details)) == (Heartbeat, 3, b'{"page":2}')


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, (5, True)), ({"options": {"heartbeat": 1_000_000}}, (1, True))],
)
def test_the_heartbeat_is_the_calls_before_the_tasks(fields, expected):
    one = watched_attempt(**fields)

    assert (one.heartbeat, one.is_watched) == expected
    assert (attempt().heartbeat, attempt().is_watched, attempt(watched=True).is_watched) == (None, False, True)


def test_a_task_knows_what_the_attempts_before_said_last():
    one = watched_attempt(details=Raw(b'{"page":2}'))
    WATCHED.begin(one)

    assert current_task().details == {"page": 2}
    assert not current_task().cancelled
    one.pulse.cancelled = True
    assert current_task().cancelled
    with pytest.raises(Cancelled):
        current_task().heartbeat()


def test_what_broke_a_limit_says_which_and_how_long_it_was():
    one = watched_attempt()
    WATCHED.begin(one)
    one.pulse.heartbeat(7)
    told = [event_of(WATCHED.overran(one, limit)) for limit in ("timeout", "heartbeat")]

    assert [(one.error.message, one.timed_out, one.limit, bytes(one.details)) for one in told] == [
        ("watched took longer than its timeout of 9 s", True, "", b"7"),
        ("watched said nothing for longer than its heartbeat of 5 s", True, "heartbeat", b"7"),
    ]


def test_what_nobody_wants_any_more_does_not_begin():
    one = watched_attempt()
    one.pulse.cancelled = True

    with pytest.raises(Cancelled):
        WATCHED.begin(one)


def test_after_one_that_fell_silent_the_policy_is_asked_before_the_next_runs():
    silent = error_value(TimeoutError("silence"))
    assert isinstance(WATCHED.attempt(delivery("watched", attempt=2, lost=True, previous=silent)), Attempt)
    refused = WATCHED.attempt(delivery("watched", attempt=3, lost=True, previous=silent))
    assert isinstance(refused, Outgoing)
    event = event_of(refused)

    assert (event.attempt, event.retry_in, event.timed_out, event.limit, event.began) == (3, None, True, "heartbeat", 0)
    assert (event.error.summary, event.worker) == ("TimeoutError: silence", "me")


def test_an_attempt_that_waited_too_long_for_a_worker_does_not_begin():
    options = {"queue_timeout": 1_000_000}
    late = delivery("watched", options=options)
    fresh = replace(late, message=replace(late.message, at=NOON - 3_000_000))
    assert isinstance(WATCHED.attempt(fresh), Attempt)
    refused = WATCHED.attempt(replace(late, message=replace(late.message, at=NOON - 3_000_001)))
    assert isinstance(refused, Outgoing)
    event = event_of(refused)

    assert (event.limit, event.timed_out, event.began, event.retry_in) == ("queue_timeout", True, 0, None)
    assert event.error.message == "no worker began watched within its queue_timeout of 1 s"


def test_an_attempt_that_ran_when_its_process_died_has_not_waited_for_a_worker():
    late = delivery("watched", options={"queue_timeout": 1_000_000})
    late = replace(late, message=replace(late.message, at=NOON - 3_000_001), suspect=True)

    assert isinstance(WATCHED.attempt(late), Attempt)


def test_a_function_of_the_policy_decides():
    failures = [WATCHED.failed(watched_attempt("decided", attempt=number), Odd("no")) for number in (1, 2, 3)]

    assert [event_of(one).retry_in for one in failures] == [250_000, 500_000, None]


def test_a_function_that_gives_no_delay_ends_the_attempts_and_the_error_says_so():
    event = event_of(WATCHED.failed(watched_attempt("undecided"), Odd("no")))

    assert event.retry_in is None
    assert event.error.notes == (
        "the retry policy could not decide: TypeError: Retry() takes seconds or a timedelta, not 'soon'",
    )


def test_a_policy_of_another_language_whose_first_delay_is_over_its_longest_is_taken_as_it_is_meant():
    assert retry_of({"initial": 90, "maximum": 60}, ValueError()).initial == 60


class RateLimited(RetryIn):
    """An error class of one's own that knows its delay."""

    def __init__(self) -> None:
        super().__init__(7, "too fast")


def test_an_error_class_of_ones_own_may_know_its_delay():
    assert failed(RateLimited()).retry_in == 7_000_000

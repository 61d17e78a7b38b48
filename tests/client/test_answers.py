"""Replies and state records as values, errors and sentences."""

import pytest

from dsl import (
    RemoteError,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from infinitic.client.answers import (
    call_status,
    check_done,
    error_of,
    of_run,
    outcome,
    too_long,
    value_of,
)
from infinitic.client.awaited import Awaited
from infinitic.client.calls import repeat_of
from infinitic.events import CancelRequested, ErrorValue, TerminateRequested
from infinitic.messages import Message, Outgoing, Reply
from infinitic.records import CallRecord, StateRecord, Wait
from infinitic.serialization import error_value
from tests.client.given import raw

BROKE = error_value(ValueError("broke"))
NOON = 1_800_000_000_000_000


def reply(status, error=None):
    return Reply("trip-42", status, error=error)


def record(status="running", **fields):
    return StateRecord("trip", "trip-42", "r1", status, **fields)


def run(**facts):
    return Awaited("trip", "trip-42", label="trip", **facts)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (reply("failed", BROKE), WorkflowFailed("trip", "trip-42", ValueError("broke"))),
        (reply("timed_out", BROKE), WorkflowTimedOut("trip", "trip-42", ValueError("broke"))),
        (reply("cancelled"), WorkflowCancelled("trip", "trip-42")),
        (reply("unknown"), UnknownWorkflow("trip", "trip-42")),
        (reply("finished"), WorkflowFinished("trip", "trip-42", "finished")),
        (
            reply("finished", error_value(WorkflowFinished("trip", "trip-42", "failed"))),
            WorkflowFinished("trip", "trip-42", "failed"),
        ),
        (
            reply("exists", error_value(WorkflowExists("other", "trip-42", "running"))),
            WorkflowExists("other", "trip-42", "running"),
        ),
        (reply("refused", BROKE), ValueError("broke")),
    ],
)
def test_each_status_is_an_error_of_its_own(told, error):
    made = error_of(told, "trip", "trip")

    assert (type(made), str(made)) == (type(error), str(error))


def test_a_failure_has_what_was_raised_as_its_cause():
    made = error_of(reply("failed", BROKE), "trip", "trip")

    assert isinstance(made, WorkflowFailed)
    assert made.__cause__ is made.error
    assert repr(made.__cause__) == "ValueError('broke')"


def test_a_refusal_never_ends_the_process():
    made = error_of(reply("refused", error_value(KeyboardInterrupt("stop"))), "trip", "trip")

    assert (type(made), str(made)) == (RemoteError, "KeyboardInterrupt: stop")


def test_a_failure_without_a_reason_says_so():
    assert str(error_of(reply("failed"), "trip", "trip")) == "trip 'trip-42' failed: no reason was given"


def test_what_was_received_answers_none():
    assert value_of(reply("received"), "trip", "trip", None) is None


@pytest.mark.parametrize(
    ("event", "status"), [(CancelRequested("c"), "cancelled"), (TerminateRequested("t"), "terminated")]
)
def test_what_was_done_before_is_no_error(event, status):
    def ended(how):
        return reply("finished", error_value(WorkflowFinished("trip", "trip-42", how)))

    check_done(event, ended(status), "trip", "trip")
    with pytest.raises(WorkflowFinished):
        check_done(event, ended("completed"), "trip", "trip")


# --- records ---


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (record(), None),
        (record("suspended", reason="another code"), None),
        (record("continued"), None),
        (record("completed", value=raw(5)), Reply("trip-42", "completed", "", "r1", raw(5))),
        (record("failed", error=BROKE), Reply("trip-42", "failed", "", "r1", error=BROKE)),
        (record("failed", error=BROKE, timed_out=True), Reply("trip-42", "timed_out", "", "r1", error=BROKE)),
        (record("cancelled"), Reply("trip-42", "cancelled", "", "r1")),
        (record("terminated"), Reply("trip-42", "terminated", "", "r1")),
        (
            record(calls=(CallRecord("", "run", "completed", raw(5)),)),  # other methods run on
            Reply("trip-42", "completed", "", "r1", raw(5)),
        ),
    ],
)
def test_a_record_tells_how_the_run_ended(kept, told):
    assert of_run(kept) == told


def test_no_record_means_not_yet_for_what_was_sent_here_and_unknown_for_the_rest():
    assert outcome(None, run(own=True)) is None
    assert outcome(None, run(own=False)) == Reply("trip-42", "unknown")


def test_a_record_of_another_workflow_means_exists_or_unknown():
    kept = StateRecord("other", "trip-42", "r1")
    told = [outcome(kept, run(own=own)) for own in (True, False)]

    assert [one and one.status for one in told] == ["exists", "unknown"]
    assert [str(error_of(one, "trip", "trip")) for one in told if one] == [
        str(WorkflowExists("other", "trip-42", "running")),
        str(UnknownWorkflow("trip", "trip-42")),
    ]


def test_a_record_tells_how_a_call_ended_and_which_starts_it_has_seen():
    kept = record(calls=(CallRecord("c1", "redeem", "failed", error=BROKE),), starts=("s1",), open_calls=("c2",))
    told = [outcome(kept, run(call_id=id)) for id in ("c1", "s1", "c2", "c3")]

    assert told == [
        Reply("trip-42", "failed", "c1", "r1", error=BROKE),
        Reply("trip-42", "received", "s1", "r1"),
        None,
        None,
    ]


def test_the_status_of_a_call_is_its_own():
    kept = record("completed", calls=(CallRecord("c1", "redeem", "failed"),), open_calls=("c2",))

    assert [call_status(kept, id) for id in ("c1", "c2", "c3")] == ["failed", "running", "completed"]


# --- sentences ---


def said(kept, *, known=True, trouble=None, unserved=False, **facts):
    return too_long(run(**facts), 60, kept, known=known, trouble=trouble, unserved=unserved)


def test_a_timeout_says_what_is_waited_for():
    refused = ErrorValue("builtins:ConnectionError", "refused\nby the server")
    waits = (
        Wait("m0.1", "task", "Hotels.book", attempt=3, next_at=NOON, error=refused),
        Wait("m0.2", "receive", "confirmed"),
        Wait("m0.3", "timer", "timer", next_at=NOON),
    )

    assert said(record(waits=waits, waiting=5)) == (
        "trip 'trip-42' has not ended within 60 s, and goes on; it waits for "
        "task Hotels.book (attempt 3, due 2027-01-15T08:00:00+00:00, last error ConnectionError: refused), "
        "receive confirmed, a timer (due 2027-01-15T08:00:00+00:00) and 2 more"
    )


def test_a_timeout_says_why_an_instance_is_suspended():
    kept = record("suspended", reason="history says otherwise")

    assert said(kept).endswith("and goes on; it is suspended: history says otherwise")


def test_a_timeout_of_what_nobody_took_up_asks_for_the_worker():
    assert said(None).endswith("no worker has taken it up yet: does one run that serves trip?")


def test_a_timeout_says_when_no_worker_is_there():
    waits = record(waits=(Wait("m0.2", "receive", "confirmed"),), waiting=1)

    assert said(None, unserved=True).endswith("and goes on; no worker serves trip just now")
    assert said(waits, unserved=True).endswith("it waits for receive confirmed; no worker serves trip just now")


def test_a_timeout_without_a_storage_claims_nothing():
    assert said(None, known=False) == "trip 'trip-42' has not ended within 60 s, and goes on"


def test_a_timeout_says_that_the_answer_may_not_have_been_heard():
    assert said(None, trouble=OSError("gone")).endswith("what is heard of it is uncertain just now: gone")


def test_a_timeout_of_a_message_says_that_it_stays_sent():
    again = repeat_of(Outgoing("workflow:trip", "trip-42", Message("event", "s1")))

    assert said(record(), call_id="s1", again=again) == "trip: 'trip-42' did not answer within 60 s; it stays sent"

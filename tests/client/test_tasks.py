"""What is sent for the completion of a task, what is refused before, and what the answers mean."""

import pytest
from msgspec import Raw

from dsl import InvalidId
from infinitic.client.calls import Writer
from infinitic.client.tasks import completion, failure, was_first
from infinitic.errors import EncodeError, UnknownWorkflow
from infinitic.events import AttemptFailed, TaskCompleted
from infinitic.ids import task_id
from infinitic.messages import Delivery, Reply, event_of
from infinitic.serialization import Serializer

AT = 1_800_000_000_000_000
RUN = f"{1:032x}"
ID = task_id("trip", "t-1", RUN, "m0.3")
WRITER = Writer("me", Serializer(), lambda: AT)


def sent(request):
    message = request.outgoing.message
    place = (request.outgoing.topic, request.outgoing.key, message.workflow, message.workflow_id, message.run)
    assert place == ("workflow:trip", "t-1", "trip", "t-1", RUN)
    assert (message.position, message.reply_to, message.at) == ("m0.3", "me", AT)
    return event_of(Delivery("", message))


def test_a_completion_is_an_answer_of_nobody_s_attempt():
    request = completion(WRITER, ID, {"a": 1})

    assert sent(request) == TaskCompleted(request.answer_id, "m0.3", Raw(b'{"a":1}'), 0, "me", AT, AT, "me")


def test_a_failure_is_for_good():
    request = failure(WRITER, ID, ValueError("no"))
    event = sent(request)

    assert isinstance(event, AttemptFailed)
    assert (event.id, event.attempt, event.retry_in, event.reply_to) == (request.answer_id, 0, None, "me")
    assert event.error.summary == "ValueError: no"


@pytest.mark.parametrize(
    "id", ["", "x", "WyJ0cmlwIl0", task_id("no name", "t", RUN, "m0.0"), task_id("w", " ", RUN, "m")]
)
def test_what_is_no_task_id_is_refused_before_anything_is_sent(id):
    for make in (lambda: completion(WRITER, id, 1), lambda: failure(WRITER, id, ValueError())):
        with pytest.raises(InvalidId, match="cannot be a task id"):
            make()


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(EncodeError):
        completion(WRITER, ID, object())
    with pytest.raises(TypeError, match="takes an exception"):
        failure(WRITER, ID, "no")  # type: ignore[arg-type]  # a mistake that is told


def test_the_answer_tells_whether_it_was_the_first():
    request = completion(WRITER, ID, 1)

    assert was_first(Reply("t-1", "received", request.answer_id), request) is True
    assert was_first(Reply("t-1", "answered", request.answer_id), request) is False
    with pytest.raises(UnknownWorkflow):
        was_first(Reply("t-1", "unknown", request.answer_id), request)

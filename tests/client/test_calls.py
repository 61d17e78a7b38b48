"""What is sent for a call, and what is refused before anything is sent."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from attrs import frozen

from dsl import InvalidId, Retry, gather, sleep
from infinitic import messages
from infinitic.client.calls import Given, Writer, check_call, name_of, repeat_of
from infinitic.engine.outputs import ROUTER
from infinitic.errors import DecodeError, EncodeError, UntrustedPayload
from infinitic.events import CancelRequested, MethodCalled, Retried, SignalReceived, Started
from infinitic.messages import Delivery, event_of
from infinitic.serialization import PickleCodec, Serializer
from tests.client.given import Hotels, Loyalty, Receipt, confirmed, raw, trip

AT = 1_800_000_000_000_000


@pytest.fixture
def writer():
    return Writer("me", Serializer(), lambda: AT)


def event(request):
    return event_of(Delivery("", request.outgoing.message))


def envelope(request):
    sent = request.outgoing.message
    return (
        request.outgoing.topic,
        request.outgoing.key,
        sent.kind,
        sent.workflow,
        sent.workflow_id,
        sent.reply_to,
    )


# --- messages ---


def test_a_start_carries_its_arguments_by_name_and_all_options(writer):
    call = trip("Oslo", nights=3).options(id="trip-42", tags=["b"], meta={"by": "ann"}, timeout=60)
    request = writer.start(call, Given.checked(None, ["a"], {"n": 1}, "fail"))

    assert event(request) == Started(
        id=request.answer_id,
        workflow="trip",
        run=request.run,
        arguments=raw({"city": "Oslo", "nights": 3}),
        tags=("a", "b"),
        meta={"by": "ann", "n": 1},
        reply_to="me",
        if_exists="fail",
        timeout=60_000_000,
        sent=AT,
    )
    assert envelope(request) == ("workflow:trip", "trip-42", "event", "trip", "trip-42", "me")
    assert (request.outgoing.message.at, request.outgoing.message.sender) == (AT, "me")


def test_a_method_of_a_class_starts_an_instance_by_its_name(writer):
    started = event(writer.start(Loyalty.run(weeks=4)))

    assert (started.workflow, started.method, started.arguments) == ("Loyalty", "run", raw({"weeks": 4}))


def test_each_start_without_an_id_gets_one_of_its_own(writer):
    ids = {writer.start(trip("Oslo")).workflow_id for _ in range(100)}

    assert len(ids) == 100


def test_a_method_call_has_the_id_that_was_given(writer):
    request = writer.method(Loyalty.by_id("ada").redeem(3).options(id="once"))

    assert event(request) == MethodCalled("once", "redeem", raw({"points": 3}), reply_to="me")
    assert envelope(request) == ("workflow:Loyalty", "ada", "event", "Loyalty", "ada", "me")


@pytest.mark.parametrize(("answered", "reply_to"), [(True, "me"), (False, "")])
def test_a_signal_asks_for_an_answer_only_when_somebody_waits(writer, answered, reply_to):
    request = writer.signal(Loyalty.by_id("ada").bonus.send(5), "Loyalty", answered=answered)

    assert event(request) == SignalReceived(request.answer_id, "bonus", raw(5), reply_to)
    assert envelope(request) == ("workflow:Loyalty", "ada", "event", "Loyalty", "ada", reply_to)


def test_a_signal_may_be_given_an_id_by_its_options_or_when_it_is_sent(writer):
    send = Loyalty.by_id("ada").bonus.send(5)

    by_option = writer.signal(send.options(id="once"), "Loyalty", answered=True)
    assert event(by_option) == SignalReceived("once", "bonus", raw(5), "me")
    assert event(writer.signal(send, "Loyalty", Given("once"), answered=True)) == event(by_option)
    with pytest.raises(ValueError, match="give one"):
        writer.signal(send.options(id="once"), "Loyalty", Given("twice"), answered=True)


def test_a_signal_to_an_instance_of_an_unknown_workflow_goes_to_the_router(writer):
    request = writer.signal(confirmed.by_id("trip-42").send("yes"), "", answered=True)

    assert envelope(request) == ("workflow:infinitic.router", "trip-42", "event", ROUTER, "trip-42", "me")


def test_a_query_goes_to_its_instance(writer):
    request = writer.query(Loyalty.by_id("ada").balance("euro"))
    payload = msgspec.json.decode(request.outgoing.message.payload, type=messages.Query)

    assert payload == messages.Query("balance", raw({"currency": "euro"}))
    assert envelope(request) == ("workflow:Loyalty", "ada", "query", "Loyalty", "ada", "me")


def test_a_cancellation_and_a_retry_name_whom_to_answer(writer):
    cancelled = writer.operation(CancelRequested("c-1", "once"), "Loyalty", "ada", "Loyalty.redeem")
    retried = writer.operation(Retried("r-1"), "trip", "trip-42", "trip")

    assert event(cancelled) == CancelRequested(cancelled.answer_id, "once", reply_to="me")
    assert event(retried) == Retried(retried.answer_id, reply_to="me")


def test_a_repeat_is_the_same_message_and_says_that_it_is_one(writer):
    request = writer.method(Loyalty.by_id("ada").redeem(3))
    repeat = repeat_of(request.outgoing)

    assert repeat.message.headers == {"again": "1"}
    assert msgspec.structs.replace(repeat.message, headers={}) == request.outgoing.message


def test_meta_travels_as_plain_json(writer):
    meta = {"when": datetime(2027, 1, 15, tzinfo=UTC), "length": timedelta(hours=1)}
    started = event(writer.start(trip("Oslo").options(meta=meta)))

    assert started.meta == {"when": "2027-01-15T00:00:00Z", "length": "PT3600S"}


def test_results_are_decoded_by_what_the_definition_declares(writer):
    assert writer.start(trip("Oslo")).decode(raw(Receipt("a", 5))) == Receipt("a", 5)


# --- refusals ---


@frozen
class Card:
    number: int


def test_an_argument_of_the_wrong_type_is_refused_where_the_call_is_made(writer):
    call = trip("Oslo", nights="three")  # type: ignore[arg-type]  # that is the test

    with pytest.raises(
        DecodeError, match=r"trip\(city: str, nights: int = 1\): Expected `int`, got `str` - at `\$.nights`"
    ):
        writer.start(call)


def test_an_argument_that_json_cannot_hold_is_refused_with_its_path(writer):
    call = trip(lambda: "Oslo")  # type: ignore[arg-type]  # that is the test

    with pytest.raises(EncodeError, match=r"a value of type function cannot be sent.* - at `\$.city`"):
        writer.start(call)


def test_a_signal_that_the_channel_does_not_take_is_refused(writer):
    with pytest.raises(DecodeError, match=r"Loyalty.bonus.send\(…\): Expected `int`, got `str`"):
        writer.signal(Loyalty.by_id("ada").bonus.send("5"), "Loyalty", answered=True)  # type: ignore[arg-type]


def test_meta_that_json_cannot_hold_is_refused_with_its_path(writer):
    with pytest.raises(EncodeError, match=r"at `\$.meta.card`"):
        writer.start(trip("Oslo").options(meta={"card": object()}))


def test_two_different_ids_are_refused(writer):
    with pytest.raises(ValueError, match=r"has the id 'a' by its options, and 'b' by id=: give one"):
        writer.start(trip("Oslo").options(id="a"), Given(id="b"))


def test_the_same_id_twice_is_one_id(writer):
    assert writer.start(trip("Oslo").options(id="a"), Given(id="a")).workflow_id == "a"


@pytest.mark.parametrize("options", [{"tags": ["a"]}, {"meta": {"a": 1}}, {"if_exists": "fail"}])
def test_what_only_a_start_takes_is_refused_elsewhere(writer, options):
    given = Given.checked(None, **({"tags": (), "meta": None, "if_exists": "attach"} | options))

    with pytest.raises(TypeError, match="starts nothing: tags, meta and if_exists are for a start"):
        writer.method(Loyalty.by_id("ada").redeem(3), given)


def test_an_unknown_choice_names_the_known_ones():
    with pytest.raises(ValueError, match="if_exists is one of 'attach', 'fail', 'restart', not 'replace'"):
        Given.checked(None, (), None, "replace")


def test_an_id_that_cannot_be_one_is_refused():
    with pytest.raises(InvalidId):
        Given.checked("", (), None, "attach")


def test_a_task_is_sent_as_the_start_of_the_workflow_that_runs_it_alone(writer):
    call = Hotels.book("Oslo", nights=2).options(
        tags=["vip"], meta={"who": "ada"}, timeout=5, retry=Retry(max_attempts=2)
    )
    request = writer.task(call, Given.checked("b-1", ["more"], None, "attach"))
    sent = msgspec.json.decode(event(request).arguments)

    assert request.label == "Hotels.book"
    assert event(request) == Started(
        id=request.answer_id,
        workflow="infinitic.task",
        run=request.run,
        arguments=event(request).arguments,
        tags=("more", "vip"),
        meta={"who": "ada"},
        reply_to="me",
        sent=AT,
    )
    assert sent["options"].pop("retry")["max_attempts"] == 2
    assert sent == {
        "service": "Hotels",
        "name": "book",
        "arguments": {"city": "Oslo", "nights": 2},
        "options": {"timeout": 5_000_000},
    }


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (sleep(5), "sleep(5 s) is for workflow code: client.start(…) takes the call of a workflow"),
        (gather(trip("Oslo")), "is for workflow code"),
        (
            Loyalty.by_id("ada").balance(),
            "Loyalty.balance(…) is a query, which is answered at once: client.run(…)",
        ),
        (trip, "trip is a definition: call it, as in client.start(trip(…))"),
        (Loyalty, "Loyalty.run is a definition: call it, as in client.start(Loyalty.run(…))"),
        (Loyalty.run, "Loyalty.run is a definition: call it"),
        (Hotels.book, "Hotels.book is a definition: call it, as in client.start(Hotels.book(…))"),
        (5, "takes the call of a workflow, a task, a method or a send, not 5"),
    ],
)
def test_what_no_client_can_carry_is_refused_with_advice(call, says):
    with pytest.raises(TypeError) as refused:
        check_call(call, "start")

    assert says in str(refused.value)


def test_a_workflow_is_named_by_its_function_class_method_or_name():
    assert [name_of(one) for one in (trip, Loyalty, Loyalty.run, "trip", Hotels.book)] == [
        "trip",
        "Loyalty",
        "Loyalty",
        "trip",
        "infinitic.task",
    ]


@pytest.mark.parametrize("thing", [5, Loyalty.balance, Loyalty.by_id("ada")])
def test_what_names_no_workflow_is_refused(thing):
    with pytest.raises(TypeError, match="a workflow is named by its function, class, method or name"):
        name_of(thing)


# --- codecs ---


def test_a_codec_carries_what_json_cannot_hold():
    keys = {"k": b"0123456789abcdef"}
    writer = Writer("me", Serializer([PickleCodec(keys, "k")]), lambda: AT)
    stranger = PickleCodec({"k": b"another-key-of-theirs"}, "k")
    request = writer.start(trip(object()))  # type: ignore[arg-type]  # a codec takes any value

    with pytest.raises(UntrustedPayload):
        stranger.decode(event(request).arguments)

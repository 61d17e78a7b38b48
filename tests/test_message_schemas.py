"""The JSON Schemas say what the types say, and every message that travels is as they say."""

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator, ValidationError
from msgspec import Struct
from msgspec.structs import fields

from infinitic import Client, Worker, WorkflowFailed, events, messages
from infinitic.message_schemas import documents
from infinitic.message_schemas.words import OF_FIELDS
from infinitic.messages import encode_message
from infinitic.transports.memory import MemoryTransport
from samples.booking.services import GrandHotels, NorthFlights, RedCars
from samples.booking.workflow import booking, paid
from tests.scenarios.given import PATIENCE
from tests.simulation.running import run

STRUCTS = [
    one
    for module in (events, messages)
    for one in vars(module).values()
    if isinstance(one, type) and issubclass(one, Struct) and one.__module__ == module.__name__
]
HERE = {"Outgoing", "Delivery"}
"""What no message holds."""
EVENTS = {one.__struct_config__.tag for one in get_args(events.AnyEvent)}

ANSWER = {
    "kind": "event",
    "id": "",
    "workflow": "trips",
    "workflow_id": "trip-42",
    "run": "5b1f2e0c6d9a4a7e8f3b2c1d0e9f8a7b",
    "position": "m0.0",
    "attempt": 1,
    "at": 1_800_000_000_000_000,
    "payload": {"kind": "completed", "id": "", "position": "m0.0", "value": {"room": 7}},
}


@pytest.fixture(scope="module")
def validators():
    return {name: Draft202012Validator(schema) for name, schema in documents().items()}


@pytest.fixture
def sent(monkeypatch):
    """Whatever is sent, as it travels."""
    bodies: list[bytes] = []
    publish = MemoryTransport.publish

    def watched(transport, batch):
        bodies.extend(encode_message(outgoing.message) for outgoing in batch)
        publish(transport, batch)

    monkeypatch.setattr(MemoryTransport, "publish", watched)
    return bodies


def kinds(bodies):
    """How often what was sent; of events what happened."""
    told = [json.loads(body) for body in bodies]
    return Counter(one["payload"]["kind"] if one["kind"] == "event" else one["kind"] for one in told)


def check(validators, bodies):
    for body in dict.fromkeys(bodies):
        message = json.loads(body)
        validators[message["kind"]].validate(message)
        if message["kind"] == "event" and message["payload"]["kind"] in ("completed", "attempt_failed"):
            validators["answer"].validate(message)


def test_the_files_are_what_the_types_say():
    place = files("infinitic.message_schemas")
    kept = {one.name: one.read_text(encoding="utf-8") for one in place.iterdir() if one.name.endswith(".json")}

    # python -m infinitic.message_schemas writes them
    assert {name: json.loads(text) for name, text in kept.items()} == {
        f"{name}.json": schema for name, schema in documents().items()
    }


def test_every_schema_is_one():
    for schema in documents().values():
        Draft202012Validator.check_schema(schema)


def test_every_field_that_travels_has_a_word():
    own = {one.__name__: {field.name for field in fields(one)} - inherited(one) for one in STRUCTS}

    assert {name: set(said) for name, said in OF_FIELDS.items()} == {
        name: its for name, its in own.items() if name not in HERE
    }


def inherited(kind):
    return {field.name for base in kind.__mro__[1:] if base in STRUCTS for field in fields(base)}


def test_what_a_sample_sends_is_as_the_schemas_say(validators, sent):
    place = "memory://schemas"
    with Worker(place, workflows=[booking], services=[RedCars, NorthFlights, GrandHotels]), Client(place) as client:
        handle = client.start(booking("Oslo"), id="oslo")
        client.run(paid.by_id("oslo").send("card 4242"))
        handle.result(timeout=PATIENCE)
        with pytest.raises(WorkflowFailed):
            client.run(booking("Atlantis"), timeout=PATIENCE)

    check(validators, sent)
    assert {"started", "task", "completed", "attempt_failed", "signal", "reply"} <= set(kinds(sent))


def test_what_a_troubled_world_sends_is_as_the_schemas_say(validators, sent):
    """Kills, sweeps and repeats bring about every message that there is."""
    for seed in range(15):
        run(seed)

    check(validators, sent)
    assert set(kinds(sent)) == (set(documents()) | EVENTS) - {"event", "answer"}


@pytest.mark.parametrize("name", ["workflow", "workflow_id", "run", "position", "attempt", "payload"])
def test_an_answer_that_lacks_something_is_found_out(validators, name):
    validators["answer"].validate(ANSWER)

    with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
        validators["answer"].validate({key: value for key, value in ANSWER.items() if key != name})


def test_the_examples_of_the_readme_are_as_the_schemas_say(validators):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    examples = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)]

    check(validators, [json.dumps(one).encode() for one in examples if "kind" in one])

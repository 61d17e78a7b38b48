"""A service worker that uses none of our code serves a workflow over Pulsar; what it gets wrong stops nobody."""

import ast
import json
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pulsar
import pytest
from jsonschema import Draft202012Validator

from dsl import Flow, Service, task, workflow
from dsl.errors import TaskFailed
from infinitic.events import AttemptFailed
from infinitic.message_schemas import documents
from infinitic.transports.pulsar.connecting import connect
from infinitic.transports.pulsar_settings import read_settings
from tests.scenarios.given import Stage
from tests.servers.found import server
from tests.transports import foreign_worker, on_pulsar

FOREIGN = Path(__file__).with_name("foreign_worker.py")
PATIENCE = 20.0
PATIENCE_MS = 20_000
EARLIEST = pulsar.InitialPosition.Earliest
NO_MESSAGE = "it is no message of ours: "


class Shapes(Service):
    @task
    def area(self, width: int, height: int) -> int:
        raise NotImplementedError

    @task
    def flaky(self, succeeds_at: int) -> int:
        raise NotImplementedError

    @task
    def impossible(self) -> None:
        raise NotImplementedError

    @task
    def unheard_of(self) -> None:
        raise NotImplementedError


@workflow
def measuring(width: int) -> Flow[int]:
    return (yield from Shapes.area(width, height=7))


@workflow
def insisting() -> Flow[int]:
    return (yield from Shapes.flaky(succeeds_at=3))


@workflow
def dreaming(known: bool) -> Flow[str]:
    try:
        yield from Shapes.impossible() if known else Shapes.unheard_of()
    except TaskFailed as failure:
        return str(failure.error)
    return "done"


@pytest.fixture
def url():
    return on_pulsar.fresh(server("pulsar"), partitions=4)


@pytest.fixture
def stage(url):
    """A worker of the workflows alone, and a client."""
    with Stage({"transport": url, "storage": f"memory://{uuid.uuid4().hex}"}) as made:
        made.serve(measuring, insisting, dreaming)
        yield made


@pytest.fixture
def settings(url):
    return read_settings(url, {}, "default")


@pytest.fixture
def first(url, stage):
    """A workflow that waits for a task; its topic is made before, as an operator does (`infinitic topics`)."""
    on_pulsar.admin(url, "PUT", "/persistent/{namespace}/service%3AShapes/partitions", 4)
    earliest = {"ledgerId": -1, "entryId": -1}
    on_pulsar.admin(url, "PUT", "/persistent/{namespace}/service%3AShapes/subscription/infinitic", earliest)
    return stage.client.start(measuring(6), id="first")


@pytest.fixture
def foreign(first, settings):
    place = f"{settings.tenant}/{settings.namespace}"
    started = subprocess.Popen([sys.executable, "-I", str(FOREIGN), settings.service_url, place])
    yield started
    started.terminate()
    started.wait()


def test_the_foreign_worker_imports_none_of_our_code():
    tree = ast.parse(FOREIGN.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}

    assert imported == {"json", "os", "pulsar", "sys", "time"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_a_task_is_served(stage, first, foreign):
    assert first.result(timeout=PATIENCE) == 42
    assert stage.client.run(measuring(2), timeout=PATIENCE) == 14


def test_a_failed_attempt_is_followed_by_the_next(stage, foreign):
    handle = stage.client.start(insisting(), id="i")

    assert handle.result(timeout=PATIENCE) == 3
    failed = [turn.event for turn in handle.history() if isinstance(turn.event, AttemptFailed)]
    assert [(one.attempt, one.error.summary, one.retry_in, one.worker) for one in failed] == [
        (1, "ValueError: attempt 1 is too early", 1_000, "foreign"),
        (2, "ValueError: attempt 2 is too early", 1_000, "foreign"),
    ]


@pytest.mark.parametrize(("known", "message"), [(True, "no such shape"), (False, "Shapes has no task 'unheard_of'")])
def test_a_task_that_fails_for_good_raises_in_the_workflow(stage, foreign, known, message):
    assert stage.client.run(dreaming(known), timeout=PATIENCE) == f"GiveUp: {message}"


@pytest.fixture
def broken(first, settings):
    """A foreign worker that answers its one task by whatever it is given; and what is put away meanwhile."""
    place = f"persistent://{settings.tenant}/{settings.namespace}"
    with closing(connect(settings)) as client:
        yield Broken(client, place)


class Broken:
    def __init__(self, client, place):
        self.client, self.place = client, place
        tasks = client.subscribe(f"{place}/service:Shapes", "infinitic", initial_position=EARLIEST)
        came = tasks.receive(timeout_millis=PATIENCE_MS)
        tasks.acknowledge(came)
        self.answer = foreign_worker.answer(json.loads(came.data()))
        self.producer = client.create_producer(f"{place}/workflow:measuring", message_router=foreign_worker.partition)

    def send(self, body):
        self.producer.send(body, partition_key="first")

    def put_away(self, count):
        """What is on the dead topic: its bytes, and the facts beside them."""
        reader = self.client.subscribe(f"{self.place}/workflow:measuring:dead", "look", initial_position=EARLIEST)
        found = [reader.receive(timeout_millis=PATIENCE_MS) for _ in range(count)]
        return [(one.data(), one.properties()) for one in found]


def test_what_a_foreign_worker_answers_is_as_the_schema_says(broken):
    Draft202012Validator(documents()["answer"]).validate(broken.answer)


def test_a_malformed_answer_is_put_away_with_the_reason_and_stops_nobody(first, broken):
    right = json.dumps(broken.answer).encode()
    wrong = json.dumps(broken.answer | {"payload": {"kind": "completed", "position": 7}}).encode()
    for body in (b"\xff\x00 no JSON", b'{"done": 42}', wrong, right):
        broken.send(body)

    assert first.result(timeout=PATIENCE) == 42
    bytes_, object_, event = broken.put_away(3)
    topic = {"topic": "workflow:measuring"}
    assert bytes_ == (
        b"\xff\x00 no JSON",
        topic | {"reason": NO_MESSAGE + "JSON is malformed: invalid character (byte 0)"},
    )
    assert object_ == (b'{"done": 42}', topic | {"reason": NO_MESSAGE + "Object missing required field `kind`"})
    told = json.loads(event[0])
    assert told["headers"] == {"reason": "the payload is no event: Expected `str`, got `int` - at `$.position`"}
    assert told["payload"] == {"kind": "completed", "position": 7}

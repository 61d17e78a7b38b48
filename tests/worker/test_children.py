"""Tasks in children: what becomes of those that kill them, of those beside, and of all when it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from dsl.errors import WorkerLost
from infinitic.client import Client
from infinitic.clock import system_clock
from infinitic.errors import WorkflowCancelled, WorkflowFailed
from infinitic.events import Heartbeat, TaskCompleted, TaskStarted
from infinitic.messages import Delivery, Message, Outgoing, TaskRequest, encode_payload, event_of
from infinitic.serialization import Serializer
from infinitic.transports.memory import MemoryTransport
from infinitic.worker import Worker
from infinitic.worker.applying import DEATHS
from infinitic.worker.children import ChildPool
from infinitic.worker.children_deaths import Instances, instances_among
from infinitic.worker.children_pipes import (
    DOWN,
    UP,
    Back,
    Deaths,
    Drain,
    Frames,
    Notes,
    Over,
    Run,
    Up,
    framed,
    noted,
    notes_file,
)
from infinitic.worker.registry import Registry
from infinitic.worker.tasks import TaskStep
from infinitic.worker.work import Finished, Said
from tests.scenarios.given import until
from tests.worker import brood
from tests.worker.brood import (
    CHILD,
    SERVICES,
    WORKFLOWS,
    beside,
    copy,
    crowd,
    doubled,
    many,
    notes,
    one_deadly,
    perilous,
    thrices,
    toil,
    too_late,
    waiting,
)

HOUSE = Path(__file__).parents[2]
ANSWER = Outgoing("workflow:trip", "trip-42", Message("event", "e1", headers={"a": "ü"}, payload=Raw(b'{ "n":\n1}')))


class House:
    """Workflows in this process, their tasks in children."""

    def __init__(self, url: str, processes: int) -> None:
        self.pool = ChildPool(CHILD, processes)
        self._stack = ExitStack()
        self._stack.enter_context(Worker(url, workflows=WORKFLOWS))
        services = Worker(url, services=SERVICES, concurrency=3)
        services.make_runner = self.pool.runner
        self._stack.enter_context(services)
        self.client = self._stack.enter_context(Client(url))

    @property
    def children(self) -> set[int]:
        return {one.process.pid for one in self.pool.supervisor.children if one.ready}

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def house(tmp_path):
    """`house(processes)`."""
    with ExitStack() as stack:
        yield lambda processes: stack.enter_context(closing(House(f"memory://{tmp_path.name}", processes)))


@pytest.fixture
def gate(tmp_path):
    """Where `held` tasks wait: `begun` and `over` are FIFOs."""
    for name in ("held.begun", "held.over"):
        os.mkfifo(tmp_path / name)
    return tmp_path / "held"


def begun(gate: Path, count: int) -> list[int]:
    """The processes of so many tasks that have begun."""
    # open at both ends: with its last writer the pipe would end, and who opens it just then could write to nobody
    pipe = os.open(f"{gate}.begun", os.O_RDWR)
    try:
        text = b""
        while text.count(b"\n") < count:
            text += os.read(pipe, 4096)
    finally:
        os.close(pipe)
    return [int(pid) for pid in text.split()]


class Opened:
    """Lets all go that wait at a gate, now and later."""

    def __init__(self, gate: Path) -> None:
        # both ends are here: whoever comes to write `begun` or to read `over` waits for nobody
        self._begun = os.open(f"{gate}.begun", os.O_RDWR)
        self._over = threading.Thread(target=self._open, args=(f"{gate}.over",), daemon=True)
        self._over.start()

    @staticmethod
    def _open(path: str) -> None:
        with suppress(OSError):  # it outlives the test, whose folder goes
            while True:
                os.close(os.open(path, os.O_WRONLY))  # returns when somebody reads: an end of file is what that needs

    def close(self) -> None:
        os.close(self._begun)


# --- tasks that kill ---


@pytest.mark.parametrize(("processes", "how"), [(1, "kill"), (2, "exit")])
def test_a_task_that_kills_its_process_three_times_alone_fails(house, tmp_path, processes, how):
    client = house(processes).client
    doomed = client.start(one_deadly(str(tmp_path / "doomed"), 1_000, how))
    spared = client.start(one_deadly(str(tmp_path / "spared"), DEATHS - 1, how))
    others = [client.start(crowd(20)) for _ in range(5)]

    with pytest.raises(WorkflowFailed) as raised:
        doomed.result(60)
    assert isinstance(raised.value.error, WorkerLost)
    assert spared.result(60) == DEATHS
    assert [one.result(60) for one in others] == [list(range(20))] * 5
    # once it was not suspect yet, and may not have come to note it
    assert len(notes(tmp_path / "doomed")) in (DEATHS, DEATHS + 1)


def test_a_task_whose_process_died_runs_again_with_the_details_of_its_last_heartbeat(house):
    one = house(1)
    handle = one.client.start(copy())
    until(lambda: any(isinstance(turn.event, Heartbeat) for turn in handle.history()))
    [pid] = one.children
    os.kill(pid, signal.SIGKILL)

    assert handle.result(20) == "attempt 1 from {'page': 7}"


def test_what_ran_beside_a_death_runs_again_and_nothing_that_had_not_begun_is_suspect(house, tmp_path, gate):
    one = house(1)
    handle = one.client.start(beside(str(gate), 5))
    [pid] = set(begun(gate, 3))
    os.kill(pid, signal.SIGKILL)
    with closing(Opened(gate)):
        assert handle.result(60) == [0, 1, 2, 3, 4]

    beside_whom = [line.split() for line in Path(f"{gate}.runs").read_text().splitlines()]
    again = [int(beside) for runner, beside in beside_whom if runner != str(pid)]
    assert (len(beside_whom), again[:3], len(again)) == (8, [1, 1, 1], 5)


# --- the pool ---


def test_children_share_the_work(house):
    one = house(2)
    assert one.client.run(many(2_000), timeout=60) == list(range(2_000))

    handle = one.client.start(many(50))
    handle.result(60)
    workers = {turn.event.worker for turn in handle.history() if isinstance(turn.event, TaskCompleted)}
    assert {int(worker.rpartition(":")[2]) for worker in workers} <= one.children


def test_a_task_that_nobody_wants_is_cancelled_in_its_child(house, tmp_path):
    one = house(2)
    handle = one.client.start(waiting(str(tmp_path / "endless")))
    until((tmp_path / "endless.begun").exists)
    handle.cancel()
    with pytest.raises(WorkflowCancelled):
        handle.result(60)

    [pid] = until(lambda: notes(tmp_path / "endless.cancelled"))
    assert pid in one.children


def test_a_def_task_that_nobody_wants_is_interrupted_in_its_child_and_what_it_said_has_come(house, tmp_path):
    one = house(2)
    handle = one.client.start(toil(str(tmp_path / "toil")))
    until((tmp_path / "toil.begun").exists)
    until(lambda: any(isinstance(turn.event, TaskStarted) for turn in handle.history()))
    handle.cancel()
    with pytest.raises(WorkflowCancelled):
        handle.result(60)

    [pid] = until(lambda: notes(tmp_path / "toil.cancelled"))
    assert pid in one.children


def asked(number: int, path: Path) -> Delivery:
    """A `held` task, that ran when its process died."""
    arguments = Raw(json.dumps({"path": str(path), "number": number}).encode())
    message = Message("task", f"t{number}", "w", "w", "r", f"m0.{number}", 1, at=system_clock())
    message = replace(message, payload=encode_payload(TaskRequest("held", "held", arguments)))
    return Delivery("service:held", message, number, suspect=True)


@pytest.fixture
def pool():
    """A pool of one child, and what it says."""
    said: list[Finished | Said] = []
    codec = Serializer()
    step = TaskStep(Registry((), SERVICES, codec=codec), codec, system_clock, "pool")
    pool = ChildPool(CHILD, 1)
    yield pool.runner(step, 3, lambda *those: said.extend(those)), said
    pool.stop()


def ends(said: list[Finished | Said]) -> list[tuple[str, str]]:
    return [
        (one.task.message.id, type(event_of(Delivery("", one.result.message))).__name__)
        for one in said
        if isinstance(one, Finished)
    ]


def test_a_task_that_nobody_wants_does_not_begin_where_it_waits_for_a_child(pool, gate):
    pool, said = pool
    pool.submit([asked(1, gate), asked(2, gate)])
    begun(gate, 1)
    pool.cancel("t2")
    with closing(Opened(gate)):
        until(lambda: len(said) == 2)

    assert ends(said) == [("t2", "AttemptFailed"), ("t1", "TaskCompleted")]


def test_a_task_that_nobody_wants_does_not_run_again_when_its_child_died(pool, gate):
    pool, said = pool
    pool.submit([asked(1, gate)])
    [pid] = begun(gate, 1)
    pool.cancel("t1")
    os.kill(pid, signal.SIGKILL)
    until(lambda: said)

    assert ends(said) == [("t1", "AttemptFailed")]


def test_a_timeout_holds_in_a_child(house):
    with pytest.raises(WorkflowFailed, match="longer than its timeout"):
        house(1).client.run(too_late(), timeout=60)


def test_a_batch_is_gathered_in_a_child_though_it_is_larger_than_its_concurrency(house):
    assert house(1).client.run(thrices(60), timeout=60) == [[3 * number, 30] for number in range(60)]


class Paper:
    """What a child says to its supervisor, kept."""

    def __init__(self) -> None:
        self.notes = Notes(notes_file())
        self.said: list[Up] = []

    def send(self, *frames: Up) -> None:
        self.said += frames


def test_a_child_that_gathers_says_at_once_for_how_many_more_there_is_room():
    paper = Paper()
    code = brood.served(paper)
    request = TaskRequest("thrice", "thrice", Raw(b'{"number": 1}'))
    message = Message("task", "t", "w", "w", "r", "m0.0", 1, payload=encode_payload(request))

    code.told([Run(1, "service:thrice", message)])

    assert paper.said == [Back((), 3 + 29)]
    code.close()


def test_calls_whose_batch_killed_a_child_run_again_one_by_one(house):
    assert house(1).client.run(perilous(), timeout=60) == [0, 1, 2]


def test_messages_that_no_pipe_has_room_for_arrive(house):
    words = ["x" * 300_000] * 5

    assert house(1).client.run(doubled(words), timeout=60) == ["x" * 600_000] * 5


# --- ends ---


class Apart:
    """A supervisor in a process of its own, with a task that is held in a child."""

    def __init__(self, folder: Path, gate: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(brood.__file__), "supervisor", str(folder)],
            cwd=HOUSE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.gate = gate
        [self.child] = begun(gate, 1)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def apart(tmp_path, gate):
    with closing(Apart(tmp_path, gate)) as made:
        yield made


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_in_children_finish(apart, number):
    os.killpg(apart.process.pid, number)  # as a terminal or a container does: to the children too
    with closing(Opened(apart.gate)):
        out, _ = apart.process.communicate(timeout=60)

    assert (out.splitlines()[1:], apart.process.returncode) == (["[0]"], 0)
    assert is_gone(apart.child)


def test_children_end_with_their_supervisor(apart):
    apart.process.kill()

    until(lambda: is_gone(apart.child))


def test_a_second_signal_ends_children_too(apart):
    apart.process.terminate()
    assert "stopping" in apart.process.stdout.readline()
    apart.process.terminate()

    assert apart.process.wait(60) == 130
    until(lambda: is_gone(apart.child))


# --- pipes and notes ---


def test_frames_arrive_whole_however_the_bytes_come():
    down = [Run(7, "service:pay", Message("task", "t", payload=Raw(b'{"a":1}')), 2, True), Deaths({"ü": 3}), Drain()]
    up = [Over(7, ANSWER, 12), Back((1, 2), 3)]
    for sent, decoder in ((down, DOWN), (up, UP)):
        data = b"".join(map(framed, sent))
        for size in (1, 3, len(data)):
            frames = Frames(decoder)
            came = [one for at in range(0, len(data), size) for one in frames.of(data[at : at + size])]
            assert came == sent


def test_notes_tell_what_is_under_way():
    descriptor = notes_file()
    made = Notes(descriptor)
    longest = "=" + "ü" * 127 + "x"
    for one in ("1", "2", longest, "2"):
        made.began(one)
    made.ended("1")
    made.ended("nobody")
    made.began("3")

    assert sorted(noted(descriptor)) == ["2", "3", longest]
    assert instances_among(noted(descriptor)) == [longest[1:]]
    os.close(descriptor)


# --- deaths by workflow code ---


def events(*ids: str, kind: str = "event") -> list[Outgoing]:
    return [Outgoing("workflow:trip", id, Message(kind, f"e-{id}", "trip", id)) for id in ids]


def test_deaths_are_put_into_the_deliveries_of_their_instance_until_one_is_done_with():
    transport, applied = MemoryTransport(), []
    descriptor = notes_file()
    instances = Instances(Notes(descriptor), applied.append)
    consumer = instances.around(transport.subscribe(["workflow:trip"], lambda: None))
    instances.learn({"a": 3, "b": 1})
    transport.publish(events("a", "b", "c"))
    came = consumer.receive(10)

    assert {one.message.workflow_id: one.deaths for one in came} == {"a": 3, "b": 1, "c": 0}
    for one in came:
        consumer.began(one)
    assert sorted(instances_among(noted(descriptor))) == ["a", "b", "c"]
    for one in came:
        consumer.ended(one)
    assert noted(descriptor) == []
    consumer.ack(came)
    assert sorted(applied) == ["a", "b"]
    transport.publish(events("a", "b"))
    assert [one.deaths for one in consumer.receive(10)] == [0, 0]
    os.close(descriptor)


def test_a_question_that_is_answered_forgives_no_death():
    transport, applied = MemoryTransport(), []
    descriptor = notes_file()
    instances = Instances(Notes(descriptor), applied.append)
    consumer = instances.around(transport.subscribe(["workflow:trip"], lambda: None))
    instances.learn({"a": 2})
    transport.publish(events("a", kind="query"))
    consumer.ack(consumer.receive(10))
    transport.publish(events("a"))
    consumer.nack(consumer.receive(10))

    assert ([one.deaths for one in consumer.receive(10)], applied) == ([2], [])
    instances.learn({"a": 0})
    transport.publish(events("a"))
    assert [one.deaths for one in consumer.receive(10)] == [0]
    os.close(descriptor)

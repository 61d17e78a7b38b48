"""The supervisor: what it starts anew, what it gives up, and what it counts over a broker, which counts nothing."""

import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dsl.errors import WorkerLost
from infinitic.client import Client
from infinitic.errors import OperatorError, RegistrationError, StorageError, WorkflowFailed
from infinitic.worker.applying import DEATHS
from infinitic.worker.supervisor import Supervisor
from tests.crash.given import until
from tests.servers.found import server
from tests.transports.on_pulsar import fresh
from tests.worker import brood
from tests.worker.brood import FICKLE, crowd, fatal, notes, one_deadly

OTHERS = 5


@contextmanager
def fickle(folder: Path, *lives: str, count: int = 1) -> Iterator[Supervisor]:
    """A supervisor of children of which each life goes as a word says."""
    (folder / "lives").write_text(" ".join(lives))
    with Supervisor((*FICKLE, str(folder / "lives")), count, gave_up=(folder / "gave_up").touch) as made:
        yield made


def pids(supervisor: Supervisor) -> set[int]:
    return {one.process.pid for one in supervisor.children if one.ready}


def deaths(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of each death, without the process id."""
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    return [f"{line.partition(' (pid')[0]}{line.partition(')')[2]}" for line in lines]


def test_one_that_dies_is_replaced_with_a_line_in_the_log(tmp_path, caplog):
    with fickle(tmp_path, count=2) as supervisor:
        before = pids(supervisor)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(pids(supervisor) - before) == 2, "two others to serve")

    assert sorted(deaths(caplog)) == [f"process {one} was killed by SIGKILL; another is started" for one in (1, 2)]
    assert pids(supervisor) == set()


@pytest.mark.parametrize(
    ("life", "error"),
    [
        ("code", RegistrationError("the code is broken", "Mend it.")),
        ("storage", StorageError("the storage is away", "Wait.")),
        ("exit", OperatorError("Process 1 of 1 ended with code 7 before it was at work", "")),
    ],
)
def test_what_keeps_the_first_from_serving_is_raised(tmp_path, caplog, life, error):
    with pytest.raises(type(error)) as raised, fickle(tmp_path, life):
        pytest.fail("it serves")

    assert (raised.value.message, deaths(caplog)) == (error.message, [])


def test_code_that_can_be_served_no_more_ends_all(tmp_path):
    with fickle(tmp_path, "serve", "code") as supervisor:
        os.kill(*pids(supervisor), signal.SIGKILL)
        until((tmp_path / "gave_up").exists, "it to give up")

        assert str(supervisor.error) == "the code is broken. Mend it."
        assert pids(supervisor) == set()


def test_one_that_cannot_serve_just_now_is_tried_again(tmp_path, caplog):
    with fickle(tmp_path, "serve", "storage", "exit") as supervisor:
        before = pids(supervisor)
        os.kill(*before, signal.SIGKILL)
        until(lambda: pids(supervisor) - before, "another to serve")

    assert deaths(caplog) == [
        "process 1 was killed by SIGKILL; another is started",
        "process 1 ended with code 1: the storage is away. Wait.; another is started",
        "process 1 ended with code 7; another is started",
    ]
    assert supervisor.error is None


def test_one_that_talks_nonsense_is_replaced(tmp_path, caplog):
    with fickle(tmp_path, "serve", "babble") as supervisor:
        os.kill(*pids(supervisor), signal.SIGKILL)
        until(lambda: len(deaths(caplog)) == 2 and pids(supervisor), "a third to serve")

    assert deaths(caplog) == ["process 1 was killed by SIGKILL; another is started"] * 2


# --- over a broker ---


@pytest.fixture
def broker(tmp_path, monkeypatch):
    """A client over a broker and a storage, and `infinitic worker` in two processes beside it."""
    transport, storage = fresh(server("pulsar")), server("redis")
    monkeypatch.setenv("INFINITIC_NAMESPACE", f"supervisor_{uuid.uuid4().hex[:12]}")
    command = [sys.executable, "-m", "infinitic", "worker", str(brood.__file__), "--processes", "2"]
    urls = ["--transport", transport, "--storage", storage]
    with (
        Client(transport=transport, storage=storage) as client,
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*command, "--concurrency", "3", *urls], stderr=log) as process,
    ):
        yield client
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()


def test_over_a_broker_a_task_that_kills_its_processes_fails_alone(broker, tmp_path):
    doomed = broker.start(one_deadly(str(tmp_path / "doomed"), 1_000, "kill"))
    spared = broker.start(one_deadly(str(tmp_path / "spared"), DEATHS - 1, "exit"))
    others = [broker.start(crowd(10)) for _ in range(OTHERS)]

    with pytest.raises(WorkflowFailed) as raised:
        doomed.result(100)
    assert isinstance(raised.value.error, WorkerLost)
    assert spared.result(100) == DEATHS
    assert [one.result(100) for one in others] == [list(range(10))] * OTHERS
    assert len(notes(tmp_path / "doomed")) in (DEATHS, DEATHS + 1)


def test_over_a_broker_a_workflow_that_kills_its_processes_is_suspended_alone(broker, tmp_path):
    broker.start(fatal(str(tmp_path / "doomed"), 1_000))
    spared = broker.start(fatal(str(tmp_path / "spared"), DEATHS - 1))
    others = [broker.start(crowd(10)) for _ in range(OTHERS)]

    # what it survives is not kept when another instance of its batch ends the process before the commit
    assert spared.result(100) >= DEATHS
    assert [one.result(100) for one in others] == [list(range(10))] * OTHERS
    until(lambda: broker.count(fatal, status="suspended") == 1, "the doomed one to be suspended")
    [record] = broker.find(fatal, status="suspended")
    assert f"killed its worker {DEATHS} times" in record.reason
    assert len(notes(tmp_path / "doomed")) in (DEATHS, DEATHS + 1)  # in company it may have died once before

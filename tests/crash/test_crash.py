"""Worker processes are killed at any instant: nothing is lost, nothing is doubled, nothing is left behind."""

import random
import signal
import time
from contextlib import closing

import pytest

from dsl.errors import WorkerLost
from infinitic.client import Client
from infinitic.errors import WorkflowFailed
from infinitic.events import AttemptFailed
from tests.crash.given import PATIENCE, check_history, histories, leftovers, until, workers_of
from tests.crash.town import answer_of, beside, confirmed, dying, fatal, journey, lasting, resigning


def test_killed_workers_lose_and_double_nothing(fleet, client, storage, path, count):
    kills, each = count(30, 400), 16
    instances = kills * each
    chance = random.Random(5)
    fleet.keep_up(3)
    handles = []
    for kill in range(kills):
        until(lambda: fleet.serving >= 2, "two to serve")
        numbers = range(kill * each, (kill + 1) * each)
        handles += [client.start(journey(number), id=f"j{number}") for number in numbers]
        for number in numbers:
            if number % 5 == 0:
                client.start(confirmed.by_id(f"j{number}").send(7 * number))
        time.sleep(chance.uniform(0, 0.4))  # not to wait for anything: to let them get somewhere
        fleet.kill(chance.choice(fleet.running))
        fleet.keep_up(3)

    assert [handle.result(90) for handle in handles] == [answer_of(number) for number in range(instances)]
    found = histories(storage)
    assert len(found) == instances + instances // 2
    for turns in found.values():
        check_history(turns)
        assert not any(isinstance(turn.event, AttemptFailed) for turn in turns)
    assert len(workers_of(found)) >= kills // 4  # else the kills met nobody at work
    until(lambda: client.count(status="completed") == len(found), "all to be completed")
    client.close()
    until(lambda: fleet.serving == 3, "all to serve")
    assert fleet.stop() == [0, 0, 0]
    assert leftovers(path) == {}


def test_a_task_that_kills_its_process_each_time_fails_and_takes_nobody_with_it(fleet, client, tmp_path, path):
    deaths, lives = tmp_path / "deaths", tmp_path / "lives"
    innocents = [client.start(beside(str(lives), 6), id=f"i{number}") for number in range(3)]
    doomed = client.start(dying(str(deaths), 1_000), id="doomed")
    spared = client.start(dying(str(tmp_path / "spared"), 2), id="spared")

    def over():
        fleet.keep_up(2)
        return client.count(status="running") == 0 and client.count() == 5

    until(over, "all to end")

    with pytest.raises(WorkflowFailed) as raised:
        doomed.result(10)
    assert isinstance(raised.value.error, WorkerLost)
    assert [handle.result(10) for handle in innocents] == [list(range(6))] * 3
    assert spared.result(10) == 3
    assert 3 <= len(deaths.read_text().splitlines()) <= 6
    client.close()
    fleet.keep_up(2)
    until(lambda: fleet.serving == 2, "all to serve")
    assert fleet.stop() == [0, 0]
    assert leftovers(path) == {}


def test_workflow_code_that_kills_its_process_suspends_its_instance_only(fleet, client, tmp_path):
    others = [client.start(journey(number), id=f"j{number}") for number in (1, 2, 4)]
    client.start(fatal(str(tmp_path / "deaths"), 1_000), id="fatal")

    def over():
        fleet.keep_up(2)
        return client.count(status="running") == 0 and client.count(fatal, status="suspended") == 1

    until(over, "the deadly one to be suspended")

    assert [handle.result(10) for handle in others] == [answer_of(number) for number in (1, 2, 4)]
    [record] = client.find(fatal)
    assert "killed its worker 3 times" in record.reason
    deaths = len((tmp_path / "deaths").read_text().splitlines())
    assert deaths == 3


def test_a_worker_that_is_asked_to_end_drains(fleet, client, tmp_path, path):
    fleet.keep_up(1)
    note = tmp_path / "note"
    handle = client.start(lasting(str(note)), id="l")
    until(note.exists, "the task to begin")

    assert fleet.stop(signal.SIGTERM) == [0]
    assert handle.result(5) == "to the end"
    assert len(note.read_text().splitlines()) == 1


def test_a_worker_hears_a_signal_that_another_thread_got(fleet, client):
    worker = fleet.start()
    handle = client.start(resigning(), id="r")

    assert worker.wait(PATIENCE) == 0
    assert handle.result(5) == "gone"


def test_all_workers_die_at_once_and_others_go_on(fleet, path, storage):
    with closing(Client(f"sqlite:///{path}")) as client:
        handles = [client.start(journey(number), id=f"j{number}") for number in range(30)]
        for number in range(0, 30, 5):
            client.start(confirmed.by_id(f"j{number}").send(7 * number))
        for _ in range(4):
            fleet.keep_up(2)
            time.sleep(0.5)  # not to wait for anything: to let them get somewhere
            fleet.close()
        fleet.keep_up(2)

        assert [handle.result(60) for handle in handles] == [answer_of(number) for number in range(30)]
    for turns in histories(storage).values():
        check_history(turns)

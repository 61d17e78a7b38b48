"""`infinitic worker`: what it finds in modules and says of it, and how it stops."""

import os
import signal
import sys

import pytest

from dsl import Channel, Service, Workflow, method, task, workflow
from infinitic.cli.modules import Found, definitions, imported, load
from infinitic.cli.serving import worker as command
from tests.cli import trips as module
from tests.cli.conftest import READY

BLOCKING = """
from infinitic import task, workflow

@task(timeout=60)
def wait() -> str:
    with open("begun", "w") as begun:
        begun.write("now")
    with open("over") as over:
        return over.read()

@workflow
def waiting():
    return (yield from wait())
"""


def test_a_worker_says_what_it_serves_and_what_it_skips(url, worker):
    lines = worker("trips", "--name", "anna", "--concurrency", "2").said

    assert lines[0].startswith("infinitic 0.1.0 on sqlite:////")
    assert lines[1:] == [
        "  workflows Loyalty (redeem, run), branches, careless, hasty, many, monthly, parent, payment, trip",
        "  services  Hotels (book), charge",
        "  skipped   Cars: a contract that nothing here implements",
        "worker anna is at work; Ctrl-C lets running tasks finish, and stops it",
    ]


def test_a_worker_serves_files_and_several_modules(infinitic, url, folder, worker):
    (folder / "more").mkdir()
    (folder / "more" / "shared.py").write_text("NAME = 'Oslo'\n")
    source = "from infinitic import workflow\nfrom shared import NAME\n\n@workflow\ndef city():\n    return NAME\n"
    (folder / "more" / "cities.py").write_text(source)
    worker("trips.py", "more/cities.py")

    assert infinitic("start", "city", "--wait").out == "Oslo\n"
    assert infinitic("start", "payment", "card=visa", "--wait").out == "receipt for 500\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_tasks_finish(infinitic, folder, worker, number):
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking")
    infinitic("start", "waiting", "--id", "w-1")
    (folder / "begun").read_text()
    serving.process.send_signal(number)
    stopping = serving.process.stderr.readline()
    (folder / "over").write_text("done")
    _, rest = serving.process.communicate(timeout=60)

    assert "stopping: waiting for the tasks that run" in stopping
    assert serving.process.returncode == 0
    assert rest.splitlines()[-1].endswith("has stopped")
    assert infinitic("result", "w-1", "--timeout", "0").out == "done\n"


def test_a_second_signal_ends_it_at_once(infinitic, folder, worker):
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking")
    infinitic("start", "waiting", "--id", "w-1")
    (folder / "begun").read_text()
    serving.process.send_signal(signal.SIGTERM)
    assert "stopping" in serving.process.stderr.readline()

    assert serving.stop() == 130


def test_logs_are_one_line_each_and_more_when_asked_for(infinitic, folder, worker):
    source = "from infinitic import logger, workflow\n\n@workflow\ndef talk():\n    logger.info('%s', 'hello')\n"
    (folder / "talking.py").write_text(source)
    talking = worker("talking", "-v")
    infinitic("start", "talk", "--id", "t-1", "--wait")
    talking.stop()

    assert READY in talking.said[2]
    assert [line.partition(" ")[2] for line in talking.said if "hello" in line] == ["talk t-1: hello"]


# --- modules ---


class Base(Workflow):
    done = Channel(str)


class Taxis(Service):
    @task
    def call(self, city: str) -> str:
        raise NotImplementedError


class RedTaxis(Taxis):
    def __init__(self, fleet: int = 1) -> None:
        self.fleet = fleet

    def call(self, city: str) -> str:
        return f"{self.fleet} red"


class Trips(Base):
    @method
    def run(self) -> int:
        return 1


@workflow
def ride() -> int:
    return 1


@task
def pay(cents: int) -> int:
    return cents


def test_implementations_go_before_contracts():
    assert definitions([Taxis, RedTaxis]) == Found((), (RedTaxis,))
    assert definitions([Taxis]) == Found((), (), ("Taxis",))


def test_an_instance_goes_before_its_class():
    red = RedTaxis(7)

    assert definitions([Taxis, RedTaxis, red]) == Found((), (red,))


def test_workflows_without_methods_and_bases_are_no_definitions():
    assert definitions([Workflow, Service, Base, Trips, ride, pay, "text", 5]) == Found((Trips, ride), (pay,))


def test_what_two_modules_share_is_served_once(folder):
    (folder / "again.py").write_text("from trips import payment, charge\n")
    found, alone = load(["trips", "again"]), load(["trips"])

    assert [one.name for one in found.workflows if hasattr(one, "name")].count("payment") == 1
    assert len(found.services) == len(alone.services)


def test_a_file_in_a_package_is_imported_as_part_of_it(folder):
    (folder / "acme").mkdir()
    (folder / "acme" / "__init__.py").write_text("")
    (folder / "acme" / "names.py").write_text("NAME = 'acme'\n")
    (folder / "acme" / "flows.py").write_text("from acme.names import NAME\n")

    assert imported("acme/flows.py").__name__ == "acme.flows"
    assert imported("acme.flows").NAME == "acme"
    for name in ("acme", "acme.names", "acme.flows"):
        del sys.modules[name]


def test_the_sample_module_holds_what_the_help_says():
    found = definitions(vars(module).values())

    assert found.contracts == ("Cars",)
    assert [one.__name__ for one in found.services] == ["AcmeHotels", "charge"]
    assert command.name == "worker"
